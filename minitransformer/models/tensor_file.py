"""Read a file of tensors, as the package ``safetensors`` writes it, with torch alone.

After eight bytes that hold its length ``n`` comes a header in JSON, then the numbers::

    n (uint64)   {"name": {"dtype", "shape", "data_offsets": [begin, end]}, ...}   bytes

Nothing in it is code, so a file of unknown origin can be read; it may be cut off or
lie about sizes, which is found out before a number is used.

Source: the format of https://github.com/huggingface/safetensors.
"""

import json
import math
import os
from pathlib import Path

import torch
from torch import Tensor

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def read_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Return the tensors of a file by name, on the CPU, in their shapes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is cut off, or is no file of tensors.
    """
    content = bytearray(Path(path).read_bytes())
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > len(content) - 8:
        raise ValueError(f"the header needs {size} bytes, {len(content)} are there")
    try:
        header = json.loads(content[8 : 8 + size])
        header.pop("__metadata__", None)
        entries = [
            (name, DTYPES[x["dtype"]], tuple(map(int, x["shape"])), begin, end)
            for name, x in header.items()
            for begin, end in [map(int, x["data_offsets"])]
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the header is no list of tensors: {error!r}") from error
    return {
        name: _cut(content, name, dtype, shape, (8 + size, begin, end))
        for name, dtype, shape, begin, end in entries
    }


def _cut(
    content: bytearray,
    name: str,
    dtype: torch.dtype,
    shape: tuple[int, ...],
    place: tuple[int, int, int],
) -> Tensor:
    start, begin, end = place
    count, width = math.prod(shape), torch.empty(0, dtype=dtype).element_size()
    if min((begin, *shape)) < 0 or end - begin != count * width:
        raise ValueError(
            f"{name} {shape} takes {count * width} bytes, not {begin}:{end}"
        )
    if start + end > len(content):
        raise ValueError(f"{name} ends at byte {start + end} of {len(content)}")
    if not count:
        return torch.empty(shape, dtype=dtype)
    flat = torch.frombuffer(
        content, dtype=torch.uint8, count=end - begin, offset=start + begin
    )
    return flat.clone().view(dtype).view(shape)
