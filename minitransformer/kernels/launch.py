"""What a kernel needs of its inputs, said before it is launched.

Triton compiles a kernel for a GPU, or, where ``TRITON_INTERPRET=1`` is set before the
kernel's module is imported, runs it program by program in NumPy on the CPU. The
interpreter knows float32 and float16; its bfloat16 products are wrong.
"""

from collections.abc import Sequence

import torch
import triton
from torch import Tensor

INTERPRETED = triton.knobs.runtime.interpret
"""Whether the kernels of this process run in the interpreter."""

DTYPES = (torch.float16, torch.float32) + (() if INTERPRETED else (torch.bfloat16,))


def check_inputs(*, dtypes: Sequence[torch.dtype] = DTYPES, **tensors: Tensor) -> None:
    """Raise unless a kernel can run on these tensors.

    Args:
        dtypes: the types that the kernel takes.
        tensors: its inputs by name, of any shape; all on one device, of one type, the
            numbers of the last axis side by side in memory.

    Raises:
        ValueError: an input is on the CPU and the kernel compiled, or they differ in
            device or type, or the last axis is strided.
    """
    first, *_ = tensors
    for name, x in tensors.items():
        if not INTERPRETED and x.device.type != "cuda":
            raise ValueError(
                f"{name} is on {x.device}, a compiled kernel needs it on a GPU (or set "
                "TRITON_INTERPRET=1 before the import, to run it in the interpreter)"
            )
        if x.device != tensors[first].device:
            raise ValueError(
                f"{name} is on {x.device}, {first} on {tensors[first].device}"
            )
        if x.dtype not in dtypes:
            wanted = ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
            raise ValueError(f"{name} has {x.dtype}, needs one of {wanted}")
        if x.dtype != tensors[first].dtype:
            raise ValueError(
                f"{name} has {x.dtype}, {first} has {tensors[first].dtype}"
            )
        if x.ndim and x.shape[-1] > 1 and x.stride(-1) != 1:
            raise ValueError(
                f"{name} has stride {x.stride(-1)} in its last axis, needs 1: call "
                ".contiguous() first"
            )


def as_rows(x: Tensor) -> Tensor:
    """Return ``[..., n]`` as ``[rows, n]``, without a copy where memory allows it."""
    return x.reshape(-1, x.shape[-1])


def processors(device: torch.device) -> int:
    """Return how many programs run side by side: a GPU's processors, 2 on a CPU."""
    if device.type != "cuda":
        return 2
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


def check_forward_only(kernel: str, **tensors: Tensor) -> None:
    """Raise unless a kernel without a backward pass can run on these tensors.

    Args:
        kernel: what an error calls it.
        tensors: its inputs by name, of any shape.

    Raises:
        ValueError: an input is empty, or needs a gradient while they are recorded.
    """
    for name, x in tensors.items():
        if x.requires_grad and torch.is_grad_enabled():
            raise ValueError(f"{name} needs a gradient, {kernel} has none")
        if x.numel() == 0:
            raise ValueError(f"{name} has shape {tuple(x.shape)}, needs numbers")
