"""Attention whose scores come from 8-bit integers, forward only.

The matrix unit multiplies int8 twice as fast as half precision. Each block of rows of
queries and keys is rounded to whole numbers from -127 to 127 with a scale of its own::

    q8 = round(q / sq)    sq = max |q| / 127        s = scale sq sk (q8 k8^T)

Keys often share a large mean, in a few channels, that would take all the steps of such
a scale. Every query's scores may be shifted without changing its softmax, so the mean
of the keys comes off first; only the ``lse`` needs it back::

    q (k - mean)^T = q k^T - q mean^T        lse = lse' + scale q mean^T

Weights and values are multiplied as in ``flash_forward``, in half precision.

Source: Zhang et al., arXiv 2410.02367 (SageAttention). There queries have a scale for
each row of a warp, and the product with the values adds up in float16.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from minitransformer.kernels.descriptors import aligned, descriptor
from minitransformer.kernels.flash_attention import check_shapes
from minitransformer.kernels.flash_scores import INF, LOG2E, keys_of
from minitransformer.kernels.launch import (
    INTERPRETED,
    check_forward_only,
    check_inputs,
)
from minitransformer.kernels.tiles import FlashTile, int8_tile

LIFT = 8  # weights in float8 go up to 2 ** 8: below 2 ** -17 of the peak they are 0
GREATEST = {torch.int8: 127.0, torch.float8_e4m3fn: 448.0}
IN_INTERPRETER = tl.constexpr(INTERPRETED)


@triton.jit
def to_type(x, dtype: tl.constexpr):
    """Round float32 to another float; the interpreter's own way loses carries."""
    if IN_INTERPRETER and dtype == tl.float8e4nv:
        bits = x.to(tl.int32, bitcast=True)  # keep 4 bits of 24, ties to even
        bits = (bits + 0x7FFFF + ((bits >> 20) & 1)) & -0x100000
        fixed = (x + 24576.0) - 24576.0  # below 2 ** -6 steps are of 2 ** -9
        x = tl.where(tl.abs(x) < 0.015625, fixed, bits.to(tl.float32, bitcast=True))
    return x.to(dtype)


@triton.jit
def _round(
    x_desc, mean_ptr, whole_desc, scale_ptr, heads, length, blocks, greatest,
    ROWS: tl.constexpr, E: tl.constexpr, SMOOTH: tl.constexpr,
):  # fmt: skip
    """Round a block of rows to eight bits, its mean row taken off."""
    block, head = tl.program_id(0), tl.program_id(1)
    b, h = head // heads, head % heads
    rows = block * ROWS + tl.arange(0, ROWS)
    x = x_desc.load([b, h, block * ROWS, 0]).reshape(ROWS, E).to(tl.float32)
    if SMOOTH:
        x = x - tl.load(mean_ptr + head * E + tl.arange(0, E))[None, :]
        x = tl.where((rows < length)[:, None], x, 0.0)
    step = tl.maximum(tl.max(tl.abs(x)) / greatest, 1e-30)
    x = x / step
    if whole_desc.dtype == tl.int8:
        x = tl.where(x >= 0, tl.floor(x + 0.5), tl.ceil(x - 0.5))
    x = to_type(x, whole_desc.dtype).reshape(1, 1, ROWS, E)
    whole_desc.store([b, h, block * ROWS, 0], x)
    tl.store(scale_ptr + head * blocks + block, step)


@triton.jit
def _walk(
    acc, total, peak, q, q_scale, k_desc, v_desc, k_scale_ptr, b, kv_head, at, rows,
    offset, kv_len, lo, hi, BN: tl.constexpr, E: tl.constexpr, CAUSAL: tl.constexpr,
    MASK: tl.constexpr, TURNED: tl.constexpr, LIFT: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Walk over the keys from ``lo`` to ``hi``; weights are up to ``2 ** LIFT``."""
    for n in tl.range(lo, hi, BN):
        k = k_desc.load([b, kv_head, n, 0]).reshape(BN, E)
        s = tl.dot(q, k.T).to(tl.float32)
        scale = q_scale * tl.load(k_scale_ptr + at + n // BN)
        if MASK:
            cols = n + tl.arange(0, BN)
            seen = (cols < kv_len)[None, :]
            if CAUSAL:
                seen = seen & (cols[None, :] <= rows[:, None] + offset)
            s = tl.where(seen, s, -INF)
        new = tl.maximum(peak, tl.max(s, 1) * scale)
        shift = tl.where(new == -INF, 0.0, new) if MASK else new
        p = tl.math.exp2(s * scale - (shift - LIFT)[:, None])
        kept = tl.math.exp2(peak - shift)
        total = total * kept + tl.sum(p, 1)
        if TURNED:
            v = v_desc.load([b, kv_head, 0, n]).reshape(E, BN).T
        else:
            v = v_desc.load([b, kv_head, n, 0]).reshape(BN, E)
        p = to_type(p, v.dtype)
        acc = tl.dot(p, v, acc * kept[:, None], input_precision=PRECISION)
        peak = new
    return acc, total, peak


@triton.jit
def _forward(
    q_desc, k_desc, v_desc, out_desc, lse_ptr, q_scale_ptr, k_scale_ptr, v_scale_ptr,
    heads, kv_heads, q_len, kv_len, scale, BM: tl.constexpr, BN: tl.constexpr,
    E: tl.constexpr, CAUSAL: tl.constexpr, TURNED: tl.constexpr, LIFT: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    block = tl.num_programs(0) - 1 - tl.program_id(0)
    start = block * BM
    b, h = tl.program_id(1) // heads, tl.program_id(1) % heads
    kv_head = h // (heads // kv_heads)
    at = (b * kv_heads + kv_head) * tl.cdiv(kv_len, BN)
    rows = start + tl.arange(0, BM)
    offset = kv_len - q_len
    q = q_desc.load([b, h, start, 0]).reshape(BM, E)
    step = tl.load(q_scale_ptr + tl.program_id(1) * tl.num_programs(0) + block)
    q_scale = step * scale * LOG2E
    peak = tl.full([BM], -INF, tl.float32)
    total = tl.zeros([BM], tl.float32)
    acc = tl.zeros([BM, E], tl.float32)
    bounds = keys_of(start, offset, kv_len, BM, BN, CAUSAL, 0, False)
    for part in tl.static_range(1, 3):
        acc, total, peak = _walk(
            acc, total, peak, q, q_scale, k_desc, v_desc, k_scale_ptr, b, kv_head, at,
            rows, offset, kv_len, bounds[part], bounds[part + 1], BN, E, CAUSAL,
            part == 2, TURNED, LIFT, PRECISION,
        )  # fmt: skip
    empty = total == 0.0
    total = tl.where(empty, 1.0, total)
    lse = tl.where(empty, -INF, (peak - LIFT) / LOG2E + tl.log(total))
    tl.store(lse_ptr + tl.program_id(1) * q_len + rows, lse, mask=rows < q_len)
    acc = acc / total[:, None]
    if TURNED:
        acc = acc * tl.load(v_scale_ptr + b * kv_heads + kv_head)
    acc = acc.to(out_desc.dtype)
    out_desc.store([b, h, start, 0], acc.reshape(1, 1, BM, E))


def rounded(
    x: Tensor, mean: Tensor | None, rows: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return ``x`` less its mean in eight bits, and the scales of blocks of rows.

    Args:
        x: ``[B, H, L, E]``.
        mean: ``[B, H, E]``, or None to take nothing off.
        rows: of a block, which has one scale.
        dtype: ``torch.int8`` or ``torch.float8_e4m3fn``.

    Returns:
        Numbers ``[B, H, L, E]`` and scales ``[B, H, ceil(L / rows)]``, float32.
    """
    batch, heads, length, head_dim = x.shape
    blocks = triton.cdiv(length, rows)
    whole = torch.empty(x.shape, dtype=dtype, device=x.device)
    scales = torch.empty((batch, heads, blocks), dtype=torch.float32, device=x.device)
    _round[(blocks, batch * heads)](
        descriptor(x, rows),
        mean,
        descriptor(whole, rows),
        scales,
        heads,
        length,
        blocks,
        GREATEST[dtype],
        ROWS=rows,
        E=head_dim,
        SMOOTH=mean is not None,
        num_warps=4,
    )
    return whole, scales


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
    """Let every query take a weighted mean of the values, with rounded scores.

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
        The output ``[B, H, L, E]``; with ``return_lse`` also the ``lse`` ``[B, H, L]``
        in float32, -inf where a query may see no key.

    Raises:
        ValueError: an input is not on a GPU (and the kernels not interpreted), has
            another type, shape or head_dim than the kernel takes, is empty, or needs a
            gradient.
    """
    check(query, key, value, scale, "int8 attention")
    tile = int8_tile(query.shape[3], query.dtype)
    inputs = query, key, aligned(value)
    return attend(
        inputs, tile, torch.int8, None, return_lse, scale, causal=causal, smooth=smooth
    )


def check(
    query: Tensor, key: Tensor, value: Tensor, scale: float | None, kernel: str
) -> None:
    """Refuse inputs that a kernel with eight bits cannot run on.

    Args:
        query: ``[B, H, L, E]``.
        key: ``[B, Hkv, S, E]``.
        value: ``[B, Hkv, S, Ev]``.
        scale: what the products are multiplied by, or None.
        kernel: what an error calls it.

    Raises:
        ValueError: they do not fit each other or the kernel, ``E`` is below 32, an
            input needs a gradient, or the scale is not above 0.
    """
    check_inputs(query=query, key=key, value=value)
    check_shapes(query, key, value)
    check_forward_only(kernel, query=query, key=key, value=value)
    if query.shape[3] < 32:  # the matrix unit sums 32 products of eight bits at once
        raise ValueError(f"head_dim is {query.shape[3]}, {kernel} needs at least 32")
    if scale is not None and not scale > 0:
        raise ValueError(f"scale is {scale}, needs to be above 0")


def attend(
    inputs: tuple[Tensor, Tensor, Tensor],
    tile: FlashTile,
    dtype: torch.dtype,
    v_scales: Tensor | None,
    return_lse: bool,
    scale: float | None,
    *,
    causal: bool,
    smooth: bool,
) -> Any:
    """Round queries and keys, and run the kernel.

    Args:
        inputs: query, key, and value as the kernel is to multiply it.
        tile: of the kernel.
        dtype: of the rounded queries and keys.
        v_scales: ``[B, Hkv]`` if the value is in float8, with its last axes swapped.
        return_lse: see :func:`attention`; so the others.
        scale: see there.
        causal: see there.
        smooth: see there.

    Returns:
        As :func:`attention`.
    """
    query, key, value = inputs
    (batch, heads, q_len, head_dim), (kv_heads, kv_len) = query.shape, key.shape[1:3]
    scale = head_dim**-0.5 if scale is None else scale
    mean = key.mean(dim=2, dtype=torch.float32) if smooth else None
    q8, q_scales = rounded(aligned(query), None, tile.rows, dtype)
    k8, k_scales = rounded(aligned(key), mean, tile.columns, dtype)
    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    lse = torch.empty(query.shape[:3], dtype=torch.float32, device=query.device)
    turned = v_scales is not None
    v_rows = head_dim if turned else tile.columns
    _forward[(triton.cdiv(q_len, tile.rows), batch * heads)](
        descriptor(q8, tile.rows),
        descriptor(k8, tile.columns),
        descriptor(value, v_rows, tile.columns if turned else None),
        descriptor(out, tile.rows),
        lse,
        q_scales,
        k_scales,
        v_scales,
        heads,
        kv_heads,
        q_len,
        kv_len,
        scale,
        BM=tile.rows,
        BN=tile.columns,
        E=head_dim,
        CAUSAL=causal,
        TURNED=turned,
        LIFT=LIFT if turned else 0,
        PRECISION="ieee" if query.dtype == torch.float32 else "tf32",
        num_warps=tile.warps,
        num_stages=tile.stages,
    )
    if not return_lse:
        return out
    if mean is not None:
        grouped = query.float().view(batch, kv_heads, -1, head_dim)
        lse = lse + scale * (grouped @ mean.unsqueeze(-1)).view(lse.shape)
    return out, lse
