"""Positions as vectors that are added to the tokens.

The sinusoidal code of position ``n`` is a clock with ``dim / 2`` hands, each slower
than the one before::

    code(n)_2i = sin(n w_i)    code(n)_2i+1 = cos(n w_i)    w_i = base^(-2 i / dim)

A learned code is a table with a row for each position. An empty slot (-1) gets zeros.

Source: Vaswani et al., arXiv 1706.03762, section 3.5.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn


def _refuse_negative(pos: Tensor) -> None:
    if pos.device.type == "cpu" and pos.numel() and int(pos.min()) < -1:
        raise ValueError(f"pos goes down to {int(pos.min())}, needs -1 or more")


def naive_sinusoidal(position: int, dim: int, *, base: float = 1e4) -> np.ndarray:
    """Return the code ``[dim]`` of one position, as it is defined."""
    code = np.zeros(dim)
    for i in range(dim // 2):
        angle = position * base ** (-2 * i / dim)
        code[2 * i], code[2 * i + 1] = math.sin(angle), math.cos(angle)
    return code


def sinusoidal(
    pos: Tensor, dim: int, *, base: float = 1e4, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return the codes of positions.

    Args:
        pos: whole numbers ``[L]`` or ``[B, L]``; -1 marks an empty slot.
        dim: numbers in a code, even.
        base: the slowest hand turns about ``base`` times as slowly as the first.
        dtype: of the codes; the angles are computed in float64.

    Returns:
        ``[..., L, dim]``, zeros for empty slots.

    Raises:
        ValueError: ``dim`` is odd, or a position (on the CPU) below -1.
    """
    _refuse_negative(pos)
    if dim % 2:
        raise ValueError(f"dim is {dim}, needs an even number")
    index = torch.arange(0, dim, 2, device=pos.device, dtype=torch.float64)
    angle = pos.unsqueeze(-1).double() * base ** (-index / dim)
    code = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)
    return code.masked_fill(pos.unsqueeze(-1) < 0, 0.0).to(dtype)


class LearnedPositions(nn.Module):
    """A table of codes, one for each position up to ``max_seq_len``."""

    def __init__(self, max_seq_len: int, dim: int) -> None:
        """Start with small random codes.

        Args:
            max_seq_len: how many positions there are.
            dim: numbers in a code.
        """
        super().__init__()
        self.weight = nn.Parameter(torch.randn(max_seq_len, dim) * 0.02)

    def forward(self, pos: Tensor) -> Tensor:
        """Return the codes ``[..., L, dim]`` of ``pos``; zeros for empty slots.

        Raises:
            ValueError: on the CPU, a position lies beyond the table or below -1; a GPU
                has its own error.
        """
        _refuse_negative(pos)
        size = len(self.weight)
        if pos.device.type == "cpu" and pos.numel() and int(pos.max()) >= size:
            raise ValueError(
                f"pos goes up to {int(pos.max())}, the table to {size - 1}"
            )
        empty = (pos < 0).unsqueeze(-1)
        return self.weight[pos.clamp_min(0)].masked_fill(empty, 0.0)
