"""Attention to listed blocks of keys: what is not listed costs nothing.

For every block of queries a list names the blocks of keys that it sees.
Each may carry a bias, which is added to all scores of the block. :func:`lists_of` turns
a map of blocks into lists: the blocks of a sparse pattern, or, for probabilistic
FlashAttention, those that were drawn with the probability ``p``, and ``-log p`` as the
bias, so that the drawn ones stand for all.

Only blocks at the edge of the causal mask or of the keys look at it. Lists are in
ascending order, so the blocks that are seen whole come first, and have a loop without a
mask of their own.

Sources: Dao et al., arXiv 2205.14135, section 3.3 (block-sparse); Li, 2410.18441, of
which the abstract was read (PrFlashAttention), see ``flash.probabilistic``.
"""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from minitransformer.kernels.descriptors import aligned, descriptor
from minitransformer.kernels.flash_attention import check_shapes
from minitransformer.kernels.flash_scores import INF, LOG2E
from minitransformer.kernels.launch import check_forward_only, check_inputs


class BlockLists(NamedTuple):
    """Which blocks of keys the blocks of queries see.

    Attributes:
        counts: ``[Hm, nq]``, how many; one map for each head, or one for all.
        blocks: ``[Hm, nq, nk]``, their numbers, ascending; what is beyond the count is
            not read.
        bias: ``[Hm, nq, nk]``, added to the scores of each, float32.
        size: rows and columns of a block, a power of 2, at least 16.
    """

    counts: Tensor
    blocks: Tensor
    bias: Tensor
    size: int


def lists_of(seen: Tensor, size: int, bias: Tensor | None = None) -> BlockLists:
    """Turn a map of blocks into lists.

    Args:
        seen: ``[nq, nk]`` or ``[Hm, nq, nk]``, true where a block is seen.
        size: rows and columns of a block, a power of 2, at least 16.
        bias: of the shape of ``seen``, what is added to all scores of a block.

    Raises:
        ValueError: the shape or the size is another.
    """
    if seen.ndim not in (2, 3):
        raise ValueError(f"seen has {seen.ndim} axes, needs (heads,) blocks, blocks")
    if size < 16 or size & (size - 1):
        raise ValueError(f"size is {size}, needs a power of 2, at least 16")
    if bias is not None and bias.shape != seen.shape:
        raise ValueError(
            f"bias has shape {tuple(bias.shape)}, seen has {tuple(seen.shape)}"
        )
    seen = seen.bool() if seen.ndim == 3 else seen.bool().unsqueeze(0)
    blocks = (~seen).to(torch.int8).argsort(dim=-1, stable=True)
    if bias is None:
        own = torch.zeros(seen.shape, dtype=torch.float32, device=seen.device)
    else:
        own = bias.reshape(seen.shape).float().gather(-1, blocks)
    counts = seen.sum(dim=-1)
    return BlockLists(counts.int(), blocks.int().contiguous(), own.contiguous(), size)


@triton.jit
def _seen_whole(blocks_ptr, count, limit, BLOCK: tl.constexpr):
    """Count the listed blocks below ``limit``."""
    whole = 0
    for first in range(0, count, BLOCK):
        at = first + tl.arange(0, BLOCK)
        number = tl.load(blocks_ptr + at, mask=at < count, other=limit)
        whole += tl.sum((number < limit).to(tl.int32), 0)
    return whole


@triton.jit
def _walk(
    acc, total, peak, q, k_desc, v_desc, blocks_ptr, bias_ptr, b, kv_head, rows, offset,
    kv_len, scale, lo, hi, SIZE: tl.constexpr, E: tl.constexpr, CAUSAL: tl.constexpr,
    MASK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Attend to the listed blocks from number ``lo`` to ``hi``."""
    for i in tl.range(lo, hi):
        n = tl.load(blocks_ptr + i) * SIZE
        bias = tl.load(bias_ptr + i) * LOG2E
        k = k_desc.load([b, kv_head, n, 0]).reshape(SIZE, E)
        s = tl.dot(q, k.T, input_precision=PRECISION) * scale + bias
        if MASK:
            cols = n + tl.arange(0, SIZE)
            seen = (cols < kv_len)[None, :]
            if CAUSAL:
                seen = seen & (cols[None, :] <= rows[:, None] + offset)
            s = tl.where(seen, s, -INF)
        new = tl.maximum(peak, tl.max(s, 1))
        shift = tl.where(new == -INF, 0.0, new)
        p = tl.math.exp2(s - shift[:, None])
        kept = tl.math.exp2(peak - shift)
        total = total * kept + tl.sum(p, 1)
        v = v_desc.load([b, kv_head, n, 0]).reshape(SIZE, E)
        acc = tl.dot(p.to(v.dtype), v, acc * kept[:, None], input_precision=PRECISION)
        peak = new
    return acc, total, peak


@triton.jit
def _forward(
    q_desc, k_desc, v_desc, out_desc, lse_ptr, counts_ptr, blocks_ptr, bias_ptr, heads,
    kv_heads, maps, q_len, kv_len, most, scale, SIZE: tl.constexpr, E: tl.constexpr,
    CAUSAL: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    block = tl.num_programs(0) - 1 - tl.program_id(0)  # the longest first
    b, h = tl.program_id(1) // heads, tl.program_id(1) % heads
    kv_head = h // (heads // kv_heads)
    at = (h % maps) * tl.num_programs(0) + block
    count = tl.load(counts_ptr + at)
    rows = block * SIZE + tl.arange(0, SIZE)
    offset = kv_len - q_len
    limit = kv_len // SIZE
    if CAUSAL:
        limit = tl.minimum(limit, tl.maximum(block * SIZE + offset + 1, 0) // SIZE)
    blocks_ptr += at * most
    bias_ptr += at * most
    whole = _seen_whole(blocks_ptr, count, limit, 128)
    q = q_desc.load([b, h, block * SIZE, 0]).reshape(SIZE, E)
    peak = tl.full([SIZE], -INF, tl.float32)
    total = tl.zeros([SIZE], tl.float32)
    acc = tl.zeros([SIZE, E], tl.float32)
    for part in tl.static_range(2):  # the blocks that are seen whole, and the others
        acc, total, peak = _walk(
            acc, total, peak, q, k_desc, v_desc, blocks_ptr, bias_ptr, b, kv_head, rows,
            offset, kv_len, scale, whole if part else 0, count if part else whole, SIZE,
            E, CAUSAL, part == 1, PRECISION,
        )  # fmt: skip
    empty = total == 0.0
    total = tl.where(empty, 1.0, total)
    lse = tl.where(empty, -INF, peak / LOG2E + tl.log(total))
    tl.store(lse_ptr + tl.program_id(1) * q_len + rows, lse, mask=rows < q_len)
    acc = (acc / total[:, None]).to(out_desc.dtype)
    out_desc.store([b, h, block * SIZE, 0], acc.reshape(1, 1, SIZE, E))


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    lists: BlockLists,
    return_lse: bool = False,
    scale: float | None = None,
    causal: bool = False,
) -> Any:
    """Let every query take a weighted mean of the values in the listed blocks.

    Args:
        query: ``[B, H, L, E]``; E is 16, 32, 64, 128 or 256.
        key: ``[B, Hkv, S, E]``, where ``Hkv`` divides ``H``.
        value: ``[B, Hkv, S, E]``.
        lists: see :func:`lists_of`; their blocks count rows and columns from 0.
        return_lse: also return the logarithm of the sum of exponentials of each row.
        scale: what products are multiplied by; ``1/sqrt(E)`` by default.
        causal: whether, within the blocks, a query sees only keys up to it; the last
            query stands on the last key.

    Returns:
        The output ``[B, H, L, E]``; with ``return_lse`` also the ``lse`` ``[B, H, L]``
        in float32, -inf where a query may see no key.

    Raises:
        ValueError: an input is not on a GPU (and the kernel not interpreted), does not
            fit, is empty, or needs a gradient.
    """
    check_inputs(query=query, key=key, value=value)
    check_shapes(query, key, value)
    check_forward_only("block-sparse attention", query=query, key=key, value=value)
    (batch, heads, q_len, head_dim), (kv_heads, kv_len) = query.shape, key.shape[1:3]
    size = lists.size
    wanted = (triton.cdiv(q_len, size), triton.cdiv(kv_len, size))
    maps, *blocks = lists.blocks.shape
    if tuple(blocks) != wanted or maps not in (1, heads):
        raise ValueError(
            f"lists has blocks {tuple(lists.blocks.shape)}, needs (1 or {heads}, "
            f"{wanted[0]}, {wanted[1]})"
        )
    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    lse = torch.empty(query.shape[:3], dtype=torch.float32, device=query.device)
    _forward[(wanted[0], batch * heads)](
        descriptor(aligned(query), size),
        descriptor(aligned(key), size),
        descriptor(aligned(value), size),
        descriptor(out, size),
        lse,
        *(x.to(query.device) for x in lists[:3]),
        heads,
        kv_heads,
        maps,
        q_len,
        kv_len,
        wanted[1],
        (head_dim**-0.5 if scale is None else scale) * LOG2E.value,
        SIZE=size,
        E=head_dim,
        CAUSAL=causal,
        PRECISION="ieee" if query.dtype == torch.float32 else "tf32",
        num_warps=8 if size >= 128 else 4,
        num_stages=2,
    )
    return (out, lse) if return_lse else out
