"""FlashAttention's forward pass for Hopper GPUs, each group of warps with its own work.

What ``flash_forward`` computes, for those who want the last tenth of the speed. Triton
chooses when to load and when to wait; its lower language, Gluon, lets us say so::

    1 warp      loads queries, keys and values, as far ahead as there is memory
    4 warps     attend for the first 64 rows of queries
    4 warps     attend for the second 64 rows, at their own pace

Each of the attending groups starts the product of the next block of keys, and that of
the weights and the values of this block, and computes the softmax of the next block
while the second product runs. A pair of barriers for each place in memory says when it
is full and when it is empty again. Blocks are visited from the last to the first, so
that those at the edge of a mask come first and the long loop knows no mask.

A tile of 128 rows begins with loads that nothing hides, and ends with a store. Where
tiles are short, that counts. Then programs are *persistent*: one for each processor,
which takes tile after tile, and the loading warp is at the next tile while the others
end this one. Under a causal mask tiles differ in length; every second round is dealt
in the opposite order, so that who had the longer tile gets the shorter one.

Only what is common is here: all keys or a causal mask, half precision. The backward
pass is that of ``flash_backward``.

Source: Shah et al., arXiv 2407.08608 (FlashAttention-3), sections 3.1 and 3.2; the two
groups take turns there by a barrier of their own, which is left out here: with it, the
kernel was slower.
"""

from typing import Any

import torch
import triton
from torch import Tensor
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from minitransformer.kernels.descriptors import strides
from minitransformer.kernels.flash_attention import attend
from minitransformer.kernels.launch import INTERPRETED
from minitransformer.kernels.tiles import PROCESSORS, hopper_persistent

ROWS = 64  # of queries, for each of the two groups of four warps
LOG2E, LN2 = 1.4426950408889634, gl.constexpr(0.6931471805599453)
INF = gl.constexpr(float("inf"))
BEFORE_3_7 = not hasattr(tma, "async_load")
_load = tma.async_copy_global_to_shared if BEFORE_3_7 else tma.async_load
_store = tma.async_copy_shared_to_global if BEFORE_3_7 else tma.async_store


@gluon.jit
def _rounds(tiles, PERSISTENT: gl.constexpr):
    """Return how many tiles this program takes."""
    pid, programs = gl.program_id(0), gl.num_programs(0)
    rounds = tiles // programs
    at = pid
    if PERSISTENT:
        at = gl.where(rounds % 2 == 0, pid, programs - 1 - pid)
    return rounds + gl.where(at < tiles % programs, 1, 0)


@gluon.jit
def _tile(
    i, blocks_q, heads, q_len, kv_len, ROWS: gl.constexpr, BN: gl.constexpr,
    CAUSAL: gl.constexpr, PERSISTENT: gl.constexpr,
):  # fmt: skip
    """Return the tile of round ``i``: b, h, first row, blocks of keys, and whole ones.

    The tiles of a head come one after the other, the longest first.
    """
    pid, programs = gl.program_id(0), gl.num_programs(0)
    at = pid
    if PERSISTENT:
        at = gl.where(i % 2 == 0, pid, programs - 1 - pid)
    tile = i * programs + at
    head = tile // blocks_q
    start = (blocks_q - 1 - tile % blocks_q) * 2 * ROWS
    end, full = kv_len, kv_len // BN
    if CAUSAL:
        offset = kv_len - q_len
        end = gl.maximum(gl.minimum(kv_len, start + 2 * ROWS + offset), 0)
        full = gl.maximum(gl.minimum(start + offset + 1, kv_len), 0) // BN
    return head // heads, head % heads, start, gl.cdiv(end, BN), full


@gluon.jit
def _load_tiles(
    q_desc, k_desc, v_desc, q_tiles, k_tiles, v_tiles, q_full, q_empty, k_full, k_empty,
    v_full, v_empty, tiles, blocks_q, heads, kv_heads, q_len, kv_len,
    ROWS: gl.constexpr, BN: gl.constexpr, STAGES: gl.constexpr, PLACES: gl.constexpr,
    CAUSAL: gl.constexpr, PERSISTENT: gl.constexpr,
):  # fmt: skip
    """Fill the places for queries, keys and values, each as soon as it is empty."""
    step = 0
    for i in range(0, _rounds(tiles, PERSISTENT)):
        b, h, start, blocks, _ = _tile(
            i, blocks_q, heads, q_len, kv_len, ROWS, BN, CAUSAL, PERSISTENT
        )
        kv_head = h // (heads // kv_heads)
        for group in gl.static_range(2):
            place = (i % PLACES) * 2 + group
            mbarrier.wait(q_empty.index(place), ((i // PLACES) & 1) ^ 1)
            mbarrier.expect(q_full.index(place), q_desc.block_type.nbytes)
            at = [b, h, start + ROWS * group, 0]
            _load(q_desc, at, q_full.index(place), q_tiles.index(place))
        for j in range(0, blocks):
            n = (blocks - 1 - j) * BN
            stage, phase = step % STAGES, (step // STAGES) & 1
            mbarrier.wait(k_empty.index(stage), phase ^ 1)
            mbarrier.expect(k_full.index(stage), k_desc.block_type.nbytes)
            _load(k_desc, [b, kv_head, n, 0], k_full.index(stage), k_tiles.index(stage))
            mbarrier.wait(v_empty.index(stage), phase ^ 1)
            mbarrier.expect(v_full.index(stage), v_desc.block_type.nbytes)
            _load(v_desc, [b, kv_head, n, 0], v_full.index(stage), v_tiles.index(stage))
            step += 1


@gluon.jit
def _softmax(
    s, peak, total, n, rows, kv_len, offset, scale, LAYOUT: gl.constexpr,
    BN: gl.constexpr, MASK: gl.constexpr, CAUSAL: gl.constexpr,
):  # fmt: skip
    """Take in a block of scores: weights, peak, total, and what is kept of before."""
    if MASK:
        cols = n + gl.arange(0, BN, gl.SliceLayout(0, LAYOUT))
        seen = gl.expand_dims(cols, 0) < kv_len
        if CAUSAL:
            at = gl.expand_dims(rows, 1) + offset
            seen = seen & (gl.expand_dims(cols, 0) <= at)
        s = gl.where(seen, s, -INF)
    new = gl.maximum(peak, gl.max(s, 1) * scale)
    shift = new
    if MASK:
        shift = gl.where(new == -INF, 0.0, new)
    p = gl.exp2(s * scale - gl.expand_dims(shift, 1))
    kept = gl.exp2(peak - shift)
    return p, new, total * kept + gl.sum(p, 1), kept


@gluon.jit
def _step(
    step, n, q, k_tiles, v_tiles, k_full, k_empty, v_full, v_empty, acc, p, peak, total,
    rows, kv_len, offset, scale, S_LAYOUT: gl.constexpr, P_LAYOUT: gl.constexpr,
    BN: gl.constexpr, E: gl.constexpr, STAGES: gl.constexpr, MASK: gl.constexpr,
    CAUSAL: gl.constexpr,
):  # fmt: skip
    """Score the block at ``n`` while the one before is multiplied with its values."""
    stage, before = step % STAGES, (step - 1) % STAGES
    mbarrier.wait(k_full.index(stage), (step // STAGES) & 1)
    k = k_tiles.index(stage).reshape([BN, E]).permute((1, 0))
    s = gl.zeros([p.shape[0], BN], gl.float32, S_LAYOUT)
    s = warpgroup_mma(q, k, s, use_acc=False, is_async=True)
    mbarrier.wait(v_full.index(before), ((step - 1) // STAGES) & 1)
    v = v_tiles.index(before).reshape([BN, E])
    acc = warpgroup_mma(p, v, acc, is_async=True)
    s = warpgroup_mma_wait(1, deps=(s,))
    mbarrier.arrive(k_empty.index(stage), count=1)
    weights, peak, total, kept = _softmax(
        s, peak, total, n, rows, kv_len, offset, scale, S_LAYOUT, BN, MASK, CAUSAL
    )
    acc, p = warpgroup_mma_wait(0, deps=(acc, p))
    mbarrier.arrive(v_empty.index(before), count=1)
    kept = gl.convert_layout(kept, gl.SliceLayout(1, acc.type.layout))
    acc = acc * gl.expand_dims(kept, 1)
    return acc, gl.convert_layout(weights.to(v.dtype), P_LAYOUT), peak, total


@gluon.jit
def _attend_tiles(
    out_desc, lse_ptr, q_tiles, q_full, q_empty, k_tiles, v_tiles, k_full, k_empty,
    v_full, v_empty, tiles, blocks_q, heads, q_len, kv_len, scale, ROWS: gl.constexpr,
    BN: gl.constexpr, E: gl.constexpr, STAGES: gl.constexpr, PLACES: gl.constexpr,
    CAUSAL: gl.constexpr, PERSISTENT: gl.constexpr, GROUP: gl.constexpr,
):  # fmt: skip
    """Attend for the first or the second half of the rows of every tile."""
    S_LAYOUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BN, 16])
    O_LAYOUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, E, 16])
    P_LAYOUT: gl.constexpr = gl.DotOperandLayout(0, O_LAYOUT, 2)
    offset = kv_len - q_len
    step = 0
    for i in range(0, _rounds(tiles, PERSISTENT)):
        b, h, start, blocks, full = _tile(
            i, blocks_q, heads, q_len, kv_len, ROWS, BN, CAUSAL, PERSISTENT
        )
        start = start + GROUP * ROWS
        rows = start + gl.arange(0, ROWS, gl.SliceLayout(1, S_LAYOUT))
        peak = gl.full([ROWS], -INF, gl.float32, gl.SliceLayout(1, S_LAYOUT))
        total = gl.zeros([ROWS], gl.float32, gl.SliceLayout(1, S_LAYOUT))
        acc = gl.zeros([ROWS, E], gl.float32, O_LAYOUT)
        place = (i % PLACES) * 2 + GROUP
        q_tile = q_tiles.index(place)
        q = q_tile.reshape([ROWS, E])
        mbarrier.wait(q_full.index(place), (i // PLACES) & 1)
        if blocks > 0:
            mbarrier.wait(k_full.index(step % STAGES), (step // STAGES) & 1)
            k = k_tiles.index(step % STAGES).reshape([BN, E]).permute((1, 0))
            s = gl.zeros([ROWS, BN], gl.float32, S_LAYOUT)
            s = warpgroup_mma(q, k, s, use_acc=False, is_async=True)
            s = warpgroup_mma_wait(0, deps=(s,))
            mbarrier.arrive(k_empty.index(step % STAGES), count=1)
            weights, peak, total, _ = _softmax(
                s, peak, total, (blocks - 1) * BN, rows, kv_len, offset, scale,
                S_LAYOUT, BN, True, CAUSAL,
            )  # fmt: skip
            p = gl.convert_layout(weights.to(q.dtype), P_LAYOUT)
            masked = gl.maximum(blocks - full, 1)
            for j in range(1, masked):
                acc, p, peak, total = _step(
                    step + j, (blocks - 1 - j) * BN, q, k_tiles, v_tiles, k_full,
                    k_empty, v_full, v_empty, acc, p, peak, total, rows, kv_len, offset,
                    scale, S_LAYOUT, P_LAYOUT, BN, E, STAGES, True, CAUSAL,
                )  # fmt: skip
            for j in range(masked, blocks):
                acc, p, peak, total = _step(
                    step + j, (blocks - 1 - j) * BN, q, k_tiles, v_tiles, k_full,
                    k_empty, v_full, v_empty, acc, p, peak, total, rows, kv_len, offset,
                    scale, S_LAYOUT, P_LAYOUT, BN, E, STAGES, False, CAUSAL,
                )  # fmt: skip
            step += blocks
            last = (step - 1) % STAGES
            mbarrier.wait(v_full.index(last), ((step - 1) // STAGES) & 1)
            v = v_tiles.index(last).reshape([BN, E])
            acc = warpgroup_mma(p, v, acc, is_async=True)
            acc, p = warpgroup_mma_wait(0, deps=(acc, p))
            mbarrier.arrive(v_empty.index(last), count=1)
        empty = total == 0.0
        total = gl.where(empty, 1.0, total)
        lse = gl.where(empty, -INF, peak * LN2 + gl.log(total))
        gl.store(lse_ptr + (b * heads + h) * q_len + rows, lse, mask=rows < q_len)
        inverse = gl.convert_layout(1.0 / total, gl.SliceLayout(1, O_LAYOUT))
        q.store((acc * gl.expand_dims(inverse, 1)).to(q.dtype))  # its memory is free
        fence_async_shared()
        _store(out_desc, [b, h, start, 0], q_tile)
        tma.store_wait(0)
        mbarrier.arrive(q_empty.index(place), count=1)


@gluon.jit
def _forward(
    q_desc, k_desc, v_desc, out_desc, lse_ptr, tiles, blocks_q, heads, kv_heads, q_len,
    kv_len, scale, ROWS: gl.constexpr, BN: gl.constexpr, E: gl.constexpr,
    CAUSAL: gl.constexpr, STAGES: gl.constexpr, PERSISTENT: gl.constexpr,
):  # fmt: skip
    PLACES: gl.constexpr = 2 if PERSISTENT else 1  # for the queries of a tile
    dtype: gl.constexpr = q_desc.dtype
    q_tiles = gl.allocate_shared_memory(
        dtype, [2 * PLACES, 1, 1, ROWS, E], q_desc.layout
    )
    k_tiles = gl.allocate_shared_memory(dtype, [STAGES, 1, 1, BN, E], k_desc.layout)
    v_tiles = gl.allocate_shared_memory(dtype, [STAGES, 1, 1, BN, E], v_desc.layout)
    BARRIER: gl.constexpr = mbarrier.MBarrierLayout()
    q_full = gl.allocate_shared_memory(gl.int64, [2 * PLACES, 1], BARRIER)
    q_empty = gl.allocate_shared_memory(gl.int64, [2 * PLACES, 1], BARRIER)
    k_full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], BARRIER)
    k_empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], BARRIER)
    v_full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], BARRIER)
    v_empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], BARRIER)
    for place in gl.static_range(2 * PLACES):
        mbarrier.init(q_full.index(place), count=1)
        mbarrier.init(q_empty.index(place), count=1)
    for stage in gl.static_range(STAGES):
        mbarrier.init(k_full.index(stage), count=1)
        mbarrier.init(v_full.index(stage), count=1)
        mbarrier.init(k_empty.index(stage), count=2)  # both groups have read it
        mbarrier.init(v_empty.index(stage), count=2)
    fence_async_shared()
    gl.warp_specialize(
        [
            (_attend_tiles, (
                out_desc, lse_ptr, q_tiles, q_full, q_empty, k_tiles, v_tiles, k_full,
                k_empty, v_full, v_empty, tiles, blocks_q, heads, q_len, kv_len, scale,
                ROWS, BN, E, STAGES, PLACES, CAUSAL, PERSISTENT, 0,
            )),
            (_attend_tiles, (
                out_desc, lse_ptr, q_tiles, q_full, q_empty, k_tiles, v_tiles, k_full,
                k_empty, v_full, v_empty, tiles, blocks_q, heads, q_len, kv_len, scale,
                ROWS, BN, E, STAGES, PLACES, CAUSAL, PERSISTENT, 1,
            )),
            (_load_tiles, (
                q_desc, k_desc, v_desc, q_tiles, k_tiles, v_tiles, q_full, q_empty,
                k_full, k_empty, v_full, v_empty, tiles, blocks_q, heads, kv_heads,
                q_len, kv_len, ROWS, BN, STAGES, PLACES, CAUSAL, PERSISTENT,
            )),
        ],
        [4, 1],  # warps of the second and the third
        [240, 24],  # their registers
    )  # fmt: skip


def _descriptor(x: Tensor, rows: int) -> TensorDescriptor:
    block = [1, 1, rows, x.shape[3]]
    dtype = gl.bfloat16 if x.dtype == torch.bfloat16 else gl.float16
    layout = gl.NVMMASharedLayout.get_default_for(block, dtype)
    return TensorDescriptor(x, list(x.shape), strides(x), block, layout)


def hopper_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    tensors: tuple[Tensor | None, Tensor | None, Tensor | None],
    scale: float,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """Launch the kernel.

    Arguments and results are those of
    :func:`~minitransformer.kernels.flash_forward.flash_forward`.
    """
    (batch, heads, q_len, head_dim), (kv_heads, kv_len) = query.shape, key.shape[1:3]
    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    lse = torch.empty(query.shape[:3], dtype=torch.float32, device=query.device)
    blocks_q = triton.cdiv(q_len, 2 * ROWS)
    tiles = blocks_q * batch * heads
    persistent = hopper_persistent(head_dim, kv_len)
    _forward[(min(tiles, PROCESSORS) if persistent else tiles,)](
        _descriptor(query, ROWS),
        _descriptor(key, 128),
        _descriptor(value, 128),
        _descriptor(out, ROWS),
        lse,
        tiles,
        blocks_q,
        heads,
        kv_heads,
        q_len,
        kv_len,
        scale * LOG2E,
        ROWS=ROWS,
        BN=128,
        E=head_dim,
        CAUSAL=options["CAUSAL"],
        STAGES=2 if head_dim == 128 else 3,
        PERSISTENT=persistent,
        num_warps=4,
    )
    return out, lse


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    return_lse: bool = False,
    scale: float | None = None,
    causal: bool = False,
) -> Any:
    """Let every query take a weighted mean of the values.

    Arguments and results are those of
    :func:`minitransformer.kernels.flash_attention.attention`; it takes float16 and
    bfloat16, ``E`` of 64 or 128, and neither positions nor other masks.

    Raises:
        ValueError: as there; or the GPU is not a Hopper, or the type or E another.
    """
    if INTERPRETED or query.device.type != "cuda":
        raise ValueError(f"query is on {query.device}, needs a compiled Hopper kernel")
    if torch.cuda.get_device_capability(query.device)[0] != 9:
        name = torch.cuda.get_device_name(query.device)
        raise ValueError(f"query is on {name}, needs a Hopper GPU")
    if query.dtype not in (torch.float16, torch.bfloat16) or query.shape[-1] not in (
        64,
        128,
    ):
        raise ValueError(
            f"query has {query.dtype} and head_dim {query.shape[-1]}, needs float16 or "
            "bfloat16 and 64 or 128"
        )
    return attend(
        hopper_forward,
        query,
        key,
        value,
        return_lse=return_lse,
        scale=scale,
        causal=causal,
    )
