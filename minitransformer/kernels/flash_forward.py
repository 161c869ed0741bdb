"""The forward kernel of FlashAttention.

A program holds a block of queries and walks over blocks of keys and values, with a
running maximum ``peak``, sum ``total`` and weighted sum ``acc`` of each row::

    s = scale q k^T                  peak'  = max(peak, rowmax(s))
    p = exp(s - peak')               kept   = exp(peak - peak')
    total' = kept total + rowsum(p)  acc'   = kept acc + p v
    out = acc / total                lse    = peak + log(total)

Exponentials are powers of two. Blocks that no query may see are skipped, and only those
at the edge of a mask look at it. The longest rows of a causal mask start first.

Sources: Dao et al., arXiv 2205.14135; Dao, 2307.08691, for the order of the loops.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from minitransformer.kernels.descriptors import descriptor
from minitransformer.kernels.flash_scores import (
    INF,
    LOG2E,
    keys_of,
    positions,
    score,
    seen,
)
from minitransformer.kernels.tiles import flash_tiles


@triton.jit
def _attend(
    acc, total, peak, q, k_desc, v_desc, kv_pos_ptr, slope, b, h, kv_head, q_idx,
    kv_len, scale, lo, hi, BN: tl.constexpr, E: tl.constexpr, CAUSAL: tl.constexpr,
    WINDOW: tl.constexpr, POS: tl.constexpr, CAP: tl.constexpr, ALIBI: tl.constexpr,
    MOD: tl.constexpr, MASK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Walk over the keys from ``lo`` to ``hi``."""
    PLAIN: tl.constexpr = CAP == 0 and not ALIBI and MOD is None
    for n in tl.range(lo, hi, BN):
        k = k_desc.load([b, kv_head, n, 0]).reshape(BN, E)
        s = tl.dot(q, k.T, input_precision=PRECISION)
        if MASK or not PLAIN:
            cols = n + tl.arange(0, BN)
            kv_idx = positions(kv_pos_ptr, cols, kv_len, b, 0, POS)[None, :]
        if PLAIN and not MASK:  # the largest first, then one multiply-add each
            new = tl.maximum(peak, tl.max(s, 1) * scale)
            shift = new
            p = tl.math.exp2(s * scale - shift[:, None])
        else:
            if PLAIN:
                s = s * scale
            else:
                s = score(s, slope, b, h, q_idx, kv_idx, scale, CAP, ALIBI, MOD)
            if MASK:
                inside = (cols < kv_len)[None, :]
                s = tl.where(seen(q_idx, kv_idx, inside, CAUSAL, WINDOW, POS), s, -INF)
            new = tl.maximum(peak, tl.max(s, 1))
            shift = tl.where(new == -INF, 0.0, new)
            p = tl.math.exp2(s - shift[:, None])
        kept = tl.math.exp2(peak - shift)
        total = total * kept + tl.sum(p, 1)
        acc = acc * kept[:, None]
        v = v_desc.load([b, kv_head, n, 0]).reshape(BN, E)
        acc = tl.dot(p.to(v.dtype), v, acc, input_precision=PRECISION)
        peak = new
    return acc, total, peak


@triton.jit
def _forward(
    q_desc, k_desc, v_desc, out_desc, lse_ptr, q_pos_ptr, kv_pos_ptr, slopes_ptr,
    heads, kv_heads, q_len, kv_len, scale,
    BM: tl.constexpr, BN: tl.constexpr, E: tl.constexpr, CAUSAL: tl.constexpr,
    WINDOW: tl.constexpr, POS: tl.constexpr, CAP: tl.constexpr, ALIBI: tl.constexpr,
    MOD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    start = (tl.num_programs(0) - 1 - tl.program_id(0)) * BM  # the longest rows first
    b, h = tl.program_id(1) // heads, tl.program_id(1) % heads
    kv_head = h // (heads // kv_heads)
    rows = start + tl.arange(0, BM)
    offset = kv_len - q_len
    q_idx = positions(q_pos_ptr, rows, q_len, b, offset, POS)[:, None]
    slope = 0.0
    if ALIBI:
        slope = tl.load(slopes_ptr + h)
    q = q_desc.load([b, h, start, 0]).reshape(BM, E)
    peak = tl.full([BM], -INF, tl.float32)
    total = tl.zeros([BM], tl.float32)
    acc = tl.zeros([BM, E], tl.float32)
    bounds = keys_of(start, offset, kv_len, BM, BN, CAUSAL, WINDOW, POS)
    for part in tl.static_range(3):  # the keys at the left edge, within, at the right
        if part != 0 or WINDOW > 0:
            acc, total, peak = _attend(
                acc, total, peak, q, k_desc, v_desc, kv_pos_ptr, slope, b, h, kv_head,
                q_idx, kv_len, scale, bounds[part], bounds[part + 1], BN, E, CAUSAL,
                WINDOW, POS, CAP, ALIBI, MOD, part != 1, PRECISION,
            )  # fmt: skip
    empty = total == 0.0
    lse = tl.where(empty, -INF, peak / LOG2E + tl.log(tl.where(empty, 1.0, total)))
    acc = acc / tl.where(empty, 1.0, total)[:, None]
    tl.store(lse_ptr + tl.program_id(1) * q_len + rows, lse, mask=rows < q_len)
    out_desc.store([b, h, start, 0], acc.to(out_desc.dtype).reshape(1, 1, BM, E))


def flash_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    tensors: tuple[Tensor | None, Tensor | None, Tensor | None],
    scale: float,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """Launch the kernel on inputs that were checked.

    Args:
        query: ``[B, H, L, E]``.
        key: ``[B, Hkv, S, E]``.
        value: ``[B, Hkv, S, E]``.
        tensors: positions of queries ``[B, L]`` and of keys ``[B, S]``, slopes ``[H]``.
        scale: what products are multiplied by.
        options: the constants of the kernel, see ``flash_attention``.

    Returns:
        The output ``[B, H, L, E]`` and the lse ``[B, H, L]`` in float32.
    """
    (batch, heads, q_len, head_dim), (kv_heads, kv_len) = query.shape, key.shape[1:3]
    rows, columns, warps, stages = flash_tiles(head_dim, query.dtype).forward
    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    lse = torch.empty(query.shape[:3], dtype=torch.float32, device=query.device)
    plain = not (options["CAP"] or options["ALIBI"] or options["MOD"])
    _forward[(triton.cdiv(q_len, rows), batch * heads)](
        descriptor(query, rows),
        descriptor(key, columns),
        descriptor(value, columns),
        descriptor(out, rows),
        lse,
        *tensors,
        heads,
        kv_heads,
        q_len,
        kv_len,
        scale * LOG2E.value if plain else scale,
        BM=rows,
        BN=columns,
        E=head_dim,
        **options,
        num_warps=warps,
        num_stages=stages,
    )
    return out, lse
