"""Attention for a few queries on many keys: the keys are split among programs.

When a model writes, it has one query a sequence, and a program for each head would
leave most of a GPU idle. So every program takes a part of the keys, for all query heads
that share them, and hands back its output and ``lse``; the parts are merged as any
parts of a softmax are::

    lse = log sum exp(lse_i)        out = sum exp(lse_i - lse) out_i

The keys may lie in one tensor, or in pages of a pool, named by a table for each
sequence, as in ``caches.paged``: the same kernel, another way to find a row.

Sources: Dao et al., Flash-Decoding (2023); Kwon et al., arXiv 2309.06180, for pages.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from minitransformer.kernels.flash_attention import check_shapes, position_rows
from minitransformer.kernels.flash_scores import INF, LOG2E
from minitransformer.kernels.launch import check_forward_only, check_inputs
from minitransformer.kernels.tiles import decoding_tile

MOST_QUERIES = 64


@triton.jit
def _part(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, q_pos_ptr, kv_pos_ptr, table_ptr, counts_ptr,
    k_batch, k_head, k_row, v_batch, v_head, v_row, kv_heads, q_len, kv_len, pages,
    part, scale, GROUP: tl.constexpr, ROWS: tl.constexpr, BN: tl.constexpr,
    E: tl.constexpr, PAGE: tl.constexpr, POS: tl.constexpr, CAUSAL: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Attend to one part of the keys, for the queries that share their head."""
    split, parts = tl.program_id(0), tl.num_programs(0)
    b, kv_head = tl.program_id(1) // kv_heads, tl.program_id(1) % kv_heads
    rows = tl.arange(0, ROWS)  # member of the group, then query
    inside = rows < GROUP * q_len
    head = tl.program_id(1) * GROUP + rows // q_len
    at = head * q_len + rows % q_len
    dims = tl.arange(0, E)
    q = tl.load(q_ptr + at[:, None] * E + dims, mask=inside[:, None], other=0.0)
    length = kv_len
    if PAGE > 0:
        length = tl.load(counts_ptr + b)
    q_idx = rows % q_len + length - q_len
    if POS:
        q_idx = tl.load(q_pos_ptr + b * q_len + rows % q_len, mask=inside, other=-1)
    peak = tl.full([ROWS], -INF, tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    acc = tl.zeros([ROWS, E], tl.float32)
    for n in tl.range(split * part, tl.minimum((split + 1) * part, length), BN):
        cols = n + tl.arange(0, BN)
        there = cols < length
        if PAGE > 0:
            page = tl.load(table_ptr + b * pages + cols // PAGE, mask=there, other=0)
            k_at = page.to(tl.int64) * k_batch + kv_head * k_head + cols % PAGE * k_row
            v_at = page.to(tl.int64) * v_batch + kv_head * v_head + cols % PAGE * v_row
        else:
            k_at = b.to(tl.int64) * k_batch + kv_head * k_head + cols * k_row
            v_at = b.to(tl.int64) * v_batch + kv_head * v_head + cols * v_row
        k = tl.load(k_ptr + k_at[:, None] + dims, mask=there[:, None], other=0.0)
        s = tl.dot(q, k.T, input_precision=PRECISION) * (scale * LOG2E)
        kv_idx = cols
        if POS:
            kv_idx = tl.load(kv_pos_ptr + b * kv_len + cols, mask=there, other=-1)
        seen = there[None, :] & inside[:, None]
        if POS:
            seen = seen & (q_idx >= 0)[:, None] & (kv_idx >= 0)[None, :]
        if CAUSAL:
            seen = seen & (kv_idx[None, :] <= q_idx[:, None])
        s = tl.where(seen, s, -INF)
        new = tl.maximum(peak, tl.max(s, 1))
        shift = tl.where(new == -INF, 0.0, new)
        p = tl.math.exp2(s - shift[:, None])
        kept = tl.math.exp2(peak - shift)
        total = total * kept + tl.sum(p, 1)
        v = tl.load(v_ptr + v_at[:, None] + dims, mask=there[:, None], other=0.0)
        acc = tl.dot(p.to(v.dtype), v, acc * kept[:, None], input_precision=PRECISION)
        peak = new
    empty = total == 0.0
    total = tl.where(empty, 1.0, total)
    lse = tl.where(empty, -INF, peak / LOG2E + tl.log(total))
    at = at * parts + split
    tl.store(lse_ptr + at, lse, mask=inside)
    acc = acc / total[:, None]
    tl.store(out_ptr + at[:, None] * E + dims, acc, mask=inside[:, None])


@triton.jit
def _merge(
    outs_ptr, sums_ptr, out_ptr, lse_ptr, parts,
    PARTS: tl.constexpr, BLOCK: tl.constexpr, E: tl.constexpr,
):  # fmt: skip
    """Merge the parts of one query, ``BLOCK`` of them at a time."""
    row, dims = tl.program_id(0).to(tl.int64), tl.arange(0, E)
    every = tl.arange(0, PARTS)
    sums = tl.load(sums_ptr + row * parts + every, mask=every < parts, other=-INF)
    peak = tl.max(sums, 0)
    peak = tl.where(peak == -INF, 0.0, peak)
    total = tl.sum(tl.exp(sums - peak), 0)
    acc = tl.zeros([E], tl.float32)
    for n in tl.range(0, parts, BLOCK):
        some = n + tl.arange(0, BLOCK)
        there, at = some < parts, row * parts + some
        weights = tl.exp(tl.load(sums_ptr + at, mask=there, other=-INF) - peak)
        outs = tl.load(
            outs_ptr + at[:, None] * E + dims, mask=there[:, None], other=0.0
        )
        acc += tl.sum(weights[:, None] * outs, 0)
    empty = total == 0.0
    acc = acc / tl.where(empty, 1.0, total)
    lse = tl.where(empty, -INF, peak + tl.log(total))
    tl.store(out_ptr + row * E + dims, acc)
    tl.store(lse_ptr + row, lse)


def merge(outs: Tensor, sums: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Merge what parts of the keys gave; a part without keys has ``-inf`` as ``lse``.

    Args:
        outs: ``[..., parts, E]``, float32; E a power of 2.
        sums: ``[..., parts]``, the ``lse`` of each part, float32.
        dtype: of the output.

    Returns:
        The output ``[..., E]`` and its ``lse`` ``[...]`` in float32; zeros and ``-inf``
        where no part has keys.
    """
    *shape, parts, head_dim = outs.shape
    out = outs.new_empty((*shape, head_dim), dtype=dtype)
    lse = outs.new_empty(shape)
    size = triton.next_power_of_2(parts)
    _merge[(lse.numel(),)](
        outs, sums, out, lse, parts,
        PARTS=size, BLOCK=min(size, 16), E=head_dim, num_warps=2,
    )  # fmt: skip
    return out, lse


def _run(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    kv_len: int,
    scale: float | None,
    causal: bool,
    return_lse: bool,
    q_pos: Tensor | None = None,
    kv_pos: Tensor | None = None,
    table: Tensor | None = None,
    counts: Tensor | None = None,
) -> Any:
    (batch, heads, q_len, head_dim), kv_heads = query.shape, key.shape[1]
    scale = head_dim**-0.5 if scale is None else scale
    tile = decoding_tile(batch * kv_heads, kv_len)
    parts = max(triton.cdiv(kv_len, tile.part), 1)
    group = heads // kv_heads
    outs = query.new_empty((batch, heads, q_len, parts, head_dim), dtype=torch.float32)
    sums = query.new_empty((batch, heads, q_len, parts), dtype=torch.float32)
    _part[(parts, batch * kv_heads)](
        query.contiguous(),
        key,
        value,
        outs,
        sums,
        q_pos,
        kv_pos,
        table,
        counts,
        *key.stride()[:3],
        *value.stride()[:3],
        kv_heads,
        q_len,
        kv_len,
        0 if table is None else table.shape[1],
        tile.part,
        scale,
        GROUP=group,
        ROWS=max(16, triton.next_power_of_2(group * q_len)),
        BN=tile.columns,
        E=head_dim,
        PAGE=0 if table is None else key.shape[2],
        POS=q_pos is not None,
        CAUSAL=causal,
        PRECISION="ieee" if query.dtype == torch.float32 else "tf32",
        num_warps=tile.warps,
        num_stages=tile.stages,
    )
    out, lse = merge(outs, sums, value.dtype)
    return (out, lse) if return_lse else out


def _check(query: Tensor, key: Tensor, value: Tensor) -> None:
    check_inputs(query=query, key=key, value=value)
    check_forward_only("decoding", query=query, key=key, value=value)
    rows = query.shape[1] // max(key.shape[1], 1) * query.shape[2]
    if rows > MOST_QUERIES:
        raise ValueError(
            f"query has {rows} rows for each key head, needs at most {MOST_QUERIES}"
        )


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    q_pos: Tensor | None = None,
    kv_pos: Tensor | None = None,
    return_lse: bool = False,
    scale: float | None = None,
    causal: bool = False,
) -> Any:
    """Let a few queries take a weighted mean of the values, forward only.

    Args:
        query: ``[B, H, L, E]``; ``L H / Hkv`` at most 64; E as in ``flash_attention``.
        key: ``[B, Hkv, S, E]``, where ``Hkv`` divides ``H``.
        value: ``[B, Hkv, S, E]``.
        q_pos: where each query stands, ``[L]`` or ``[B, L]``; -1 marks an empty slot.
            By default the last query stands on the last key.
        kv_pos: the same for the keys, ``[S]`` or ``[B, S]``.
        return_lse: also return the logarithm of the sum of exponentials of each row.
        scale: what products are multiplied by; ``1/sqrt(E)`` by default.
        causal: whether a query sees only keys at or before its position.

    Returns:
        The output ``[B, H, L, E]``; with ``return_lse`` also the ``lse`` ``[B, H, L]``
        in float32, -inf where a query may see no key.

    Raises:
        ValueError: an input is not on a GPU (and the kernels not interpreted), does not
            fit, is empty, or needs a gradient.
    """
    _check(query, key, value)
    check_shapes(query, key, value)
    q_pos, kv_pos = position_rows(query, key, q_pos, kv_pos)
    return _run(
        query,
        key,
        value,
        kv_len=key.shape[2],
        scale=scale,
        causal=causal,
        return_lse=return_lse,
        q_pos=q_pos,
        kv_pos=kv_pos,
    )


def paged_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    table: Tensor,
    counts: Tensor,
    return_lse: bool = False,
    scale: float | None = None,
) -> Any:
    """Let the last tokens of sequences look at keys that lie in pages; causally.

    Args:
        query: ``[B, H, L, E]``, the last ``L`` tokens of each sequence.
        key: ``[pages, Hkv, page size, E]``, the pool; the page size a power of 2.
        value: ``[pages, Hkv, page size, E]``.
        table: ``[B, n]``, the pages of each sequence in order.
        counts: ``[B]``, tokens of each sequence, at most ``n`` pages full.
        return_lse: see :func:`attention`.
        scale: see :func:`attention`.

    Returns:
        As :func:`attention`.

    Raises:
        ValueError: as :func:`attention`; or the table or the counts do not fit.
    """
    _check(query, key, value)
    check_shapes(query[:1], key[:1], value[:1])
    batch, page = query.shape[0], key.shape[2]
    if page & (page - 1):
        raise ValueError(f"key has pages of {page} tokens, needs a power of 2")
    if table.ndim != 2 or table.shape[0] != batch:
        raise ValueError(f"table has shape {tuple(table.shape)}, needs ({batch}, n)")
    if tuple(counts.shape) != (batch,):
        raise ValueError(f"counts has shape {tuple(counts.shape)}, needs ({batch},)")
    if counts.device.type == "cpu" and int(counts.max()) > table.shape[1] * page:
        raise ValueError(
            f"counts has {int(counts.max())}, table {table.shape[1]} pages of {page}"
        )
    return _run(
        query,
        key,
        value,
        kv_len=table.shape[1] * page,
        scale=scale,
        causal=True,
        return_lse=return_lse,
        table=table.to(query.device, torch.int32).contiguous(),
        counts=counts.to(query.device, torch.int32).contiguous(),
    )
