"""Tensors as tiles: what a kernel needs to load a block of rows in one instruction.

A descriptor names a tensor ``[B, H, L, E]`` by its sizes and strides; a kernel loads
and stores the block ``[1, 1, rows, E]`` that begins at given indices. On a Hopper GPU
the copy engine (TMA) does it: entries beyond the end of ``L`` read as zeros and are not
written. It wants addresses and strides in multiples of 16 bytes.
"""

import torch
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

ALIGNMENT = 16


def aligned(x: Tensor) -> Tensor:
    """Return ``x``, or a copy of it if the copy engine could not read its memory."""
    if x.data_ptr() % ALIGNMENT == 0 and x.stride(-1) == 1:
        steps = [x.stride(i) for i in range(x.ndim - 1) if x.shape[i] > 1]
        if all(s > 0 and s * x.element_size() % ALIGNMENT == 0 for s in steps):
            return x
    return x.clone(memory_format=torch.contiguous_format)


def strides(x: Tensor) -> list[int]:
    """Return the strides of an aligned tensor.

    That of an axis of size 1 is never taken and may be anything in a tensor; here it
    becomes what the axes after it take.
    """
    steps = list(x.stride())
    for i in reversed(range(x.ndim - 1)):
        if x.shape[i] == 1:
            steps[i] = x.shape[i + 1] * steps[i + 1]
    return steps


def descriptor(x: Tensor, rows: int, columns: int | None = None) -> TensorDescriptor:
    """Describe an aligned tensor ``[B, H, L, E]`` as blocks of ``rows`` rows.

    Args:
        x: the tensor.
        rows: of a block.
        columns: of a block; by default all of a row.
    """
    block = [1, 1, rows, columns or x.shape[3]]
    return TensorDescriptor(x, list(x.shape), strides(x), block)
