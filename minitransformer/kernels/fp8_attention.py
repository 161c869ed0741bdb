"""Attention with both products in 8-bit floats, forward only.

``e4m3`` has a sign, four bits of exponent and three of fraction: a number up to 448 is
kept to within a sixteenth of itself. On a Hopper GPU the matrix unit multiplies it
twice as fast as half precision, the weights by the values too. Queries and keys have a
scale for each block of rows, as in ``int8_attention``, and the mean of the keys is
taken off; values have one for each head::

    v8 = e4m3(v / sv)    sv = max |v| / 448        p8 = e4m3(2^8 exp(s - max s))

    out = sv (p8 v8) / (2^8 total)

A weight is at most 1. Lifted by 2^8 it stays below 448, and the least number of the
format, 2^-9, stands for 2^-17 of the greatest weight: what is smaller is dropped.

For this type the matrix unit wants both factors with the summed axis side by side in
memory, so the values are stored with their axes swapped while they are rounded.

Source: Shah et al., arXiv 2407.08608 (FlashAttention-3), section 3.3: scales for each
block; the rotation that spreads outliers is left to the caller.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from minitransformer.kernels.descriptors import aligned, descriptor
from minitransformer.kernels.int8_attention import GREATEST, attend, check, to_type
from minitransformer.kernels.launch import INTERPRETED
from minitransformer.kernels.tiles import fp8_tile

FLOAT8 = torch.float8_e4m3fn


@triton.jit
def _turn(x_desc, turned_desc, scale_ptr, heads, ROWS: tl.constexpr, E: tl.constexpr):
    """Round a block of rows by the scale of its head, and store it as columns."""
    block, head = tl.program_id(0), tl.program_id(1)
    b, h = head // heads, head % heads
    x = x_desc.load([b, h, block * ROWS, 0]).reshape(ROWS, E).to(tl.float32)
    x = to_type(x / tl.load(scale_ptr + head), turned_desc.dtype)
    turned_desc.store([b, h, 0, block * ROWS], x.T.reshape(1, 1, E, ROWS))


def turned(value: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Round values to float8, with their last axes swapped.

    Args:
        value: ``[B, H, S, E]``.
        rows: ``S`` is filled up with zeros to a multiple of it.

    Returns:
        The rounded values ``[B, H, E, S']`` and the scales of heads ``[B, H]``.
    """
    batch, heads, length, head_dim = value.shape
    blocks = triton.cdiv(length, rows)
    greatest = torch.linalg.vector_norm(value, torch.inf, dim=(2, 3))
    scales = (greatest.float() / GREATEST[FLOAT8]).clamp_min(1e-30)
    out = torch.empty(
        (batch, heads, head_dim, blocks * rows), dtype=FLOAT8, device=value.device
    )
    _turn[(blocks, batch * heads)](
        descriptor(aligned(value), rows),
        descriptor(out, head_dim, rows),
        scales,
        heads,
        ROWS=rows,
        E=head_dim,
        num_warps=4,
    )
    return out, scales


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    return_lse: bool = False,
    scale: float | None = None,
    causal: bool = False,
    smooth: bool = True,
) -> Any:
    """Let every query take a weighted mean of the values, all four factors in float8.

    Args:
        query: ``[B, H, L, E]``; E is 32, 64, 128 or 256.
        key: ``[B, Hkv, S, E]``, where ``Hkv`` divides ``H``.
        value: ``[B, Hkv, S, E]``.
        return_lse: also return the logarithm of the sum of exponentials of each row.
        scale: what products are multiplied by, above 0; ``1/sqrt(E)`` by default.
        causal: whether a query sees only keys up to it; the last query stands on the
            last key.
        smooth: whether the mean of the keys is taken off before they are rounded.

    Returns:
        The output ``[B, H, L, E]``, in the type of the query; with ``return_lse`` also
        the ``lse`` ``[B, H, L]`` in float32, -inf where a query may see no key.

    Raises:
        ValueError: as of ``int8_attention.attention``; or the GPU has no float8.
    """
    check(query, key, value, scale, "fp8 attention")
    if not INTERPRETED and torch.cuda.get_device_capability(query.device) < (8, 9):
        name = torch.cuda.get_device_name(query.device)
        raise ValueError(f"query is on {name}, needs a GPU with float8")
    tile = fp8_tile(query.shape[3])
    values, scales = turned(value, max(tile.columns, 16))
    inputs = query, key, values
    return attend(
        inputs, tile, FLOAT8, scales, return_lse, scale, causal=causal, smooth=smooth
    )
