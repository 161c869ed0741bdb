"""The smallest kernel: the sum of two vectors.

Each program adds one block of ``BLOCK`` numbers, the last one what is left::

    out_i = x_i + y_i        i = BLOCK * program + 0 .. BLOCK - 1,  i < n

It moves three numbers for one addition, so its speed is that of the memory.

Source: the Triton documentation, "Vector Addition".
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from minitransformer.kernels.launch import check_inputs

BLOCK = 4096


@triton.jit
def _add_kernel(x_ptr, y_ptr, out_ptr, size, BLOCK: tl.constexpr):
    """Add one block."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < size
    x = tl.load(x_ptr + i, mask=inside)
    y = tl.load(y_ptr + i, mask=inside)
    tl.store(out_ptr + i, x + y, mask=inside)


def add(x: Tensor, y: Tensor) -> Tensor:
    """Return ``x + y``.

    Args:
        x: any shape, contiguous.
        y: the shape of ``x``, contiguous.

    Raises:
        ValueError: the shapes differ, one is not contiguous, or the kernel cannot run
            on them (:func:`~minitransformer.kernels.launch.check_inputs`).
    """
    if x.shape != y.shape:
        raise ValueError(f"y has shape {tuple(y.shape)}, x has {tuple(x.shape)}")
    check_inputs(x=x, y=y)
    for name, each in (("x", x), ("y", y)):
        if not each.is_contiguous():
            raise ValueError(f"{name} is not contiguous: call .contiguous() first")
    out = torch.empty_like(x)
    if out.numel():
        programs = triton.cdiv(out.numel(), BLOCK)
        _add_kernel[(programs,)](x, y, out, out.numel(), BLOCK=BLOCK, num_warps=8)
    return out
