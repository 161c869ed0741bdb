"""Decoding on a cache in few bits: the codes are read, not what they stand for.

One new token of each sequence looks at what ``caches.staircase`` keeps: stairs of
packed codes, the older the fewer bits, and the newest tokens as they came. A program
takes a part of one stair, for the query heads that share a key head. It loads words of
codes and makes numbers of them by their bits: in float16, a code in the fraction of 1.0
is ``1 + code / 2^k``, exactly, and one instruction takes two of these to ``n``. What is
linear stays out of the many numbers::

    n = (code - (2^b - 1) / 2) / 2^b               span = (high - low) 2^b / (2^b - 1)
    x' = middle + n span                           middle = (low + high) / 2
    q . x' = q . middle + (q span) . n             one group of keys a block
    sum p x' = sum p middle + sum (p span) n

where ``q span`` and ``p span`` are rounded to the type of the query, as ``x'`` would
be. That ``n`` is centred matters: a matrix unit cuts off the last bits of a sum at each
step, and a sum of codes, all positive, is hundreds of times its deviation.

Ends of keys are loaded once a group and channel, those of values once a token, so
memory hands out the bytes that the cache counts and no more. The parts of all stairs
are merged by their ``lse``, as in :mod:`~minitransformer.kernels.flash_decoding`.

Sources: Li, arXiv 2410.18441; Liu et al., 2402.02750; Dao et al., Flash-Decoding, 2023.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
import triton
import triton.language as tl
from torch import Tensor

from minitransformer.kernels.flash_attention import HEAD_DIMS
from minitransformer.kernels.flash_decoding import MOST_QUERIES, merge
from minitransformer.kernels.flash_scores import INF, LOG2E
from minitransformer.kernels.launch import check_forward_only, check_inputs
from minitransformer.kernels.tiles import staircase_tile

WHOLE = 16
BITS = (1, 2, 4, 8, WHOLE)
"""Bits whose codes never lie across two bytes; 16 are numbers as they came."""


class Packed(Protocol):
    """What the kernel reads of ``caches.quantized.Quantized``."""

    codes: Any
    ends: Any
    bits: Any


class Stair(NamedTuple):
    """Keys and values of one stair as the kernel takes them, side by side in memory."""

    key: Tensor
    value: Tensor
    ends: tuple[Tensor | None, ...]
    bits: int
    group: int
    tokens: int


@triton.jit
def _planes(
    words, BITS: tl.constexpr, CODES: tl.constexpr, FIRST: tl.constexpr,
    STEP: tl.constexpr,
):  # fmt: skip
    """Make numbers of every ``STEP``-th code of the halves of words: ``[..., 2, n]``.

    Where the bits are constants, a pair takes two or three instructions.
    """
    if STEP < CODES:
        even = _planes(words, BITS, CODES, FIRST, 2 * STEP)
        return tl.join(even, _planes(words, BITS, CODES, FIRST + STEP, 2 * STEP))
    else:
        AT: tl.constexpr = FIRST * BITS % 8 + 2
        MASK: tl.constexpr = (((1 << BITS) - 1) << AT) * 0x10001
        SCALE: tl.constexpr = 1 << (10 - BITS - AT)
        MIDDLE: tl.constexpr = SCALE + ((1 << BITS) - 1) / (2 << BITS)
        byte = words >> 6 if FIRST * BITS >= 8 else words << 2
        both = (byte & MASK) | 0x3C003C00
        low = both.to(tl.int16).to(tl.float16, bitcast=True)
        high = (both >> 16).to(tl.int16).to(tl.float16, bitcast=True)
        return tl.join(low, high) * SCALE - MIDDLE  # exact, one instruction a pair


@triton.jit
def _numbers(words, BITS: tl.constexpr, HALF: tl.constexpr):
    """Make numbers of words ``[n, w]`` of two halves: ``[n, w, codes of one, 2]``.

    Both codes of a pair lie side by side in a register, as a product wants them.
    """
    words = words.to(tl.int32)
    if HALF == 8:
        words = (words & 0xFF) | ((words & 0xFF00) << 8)
    CODES: tl.constexpr = HALF // BITS
    planes = _planes(words, BITS, CODES, 0, 1)
    planes = tl.reshape(planes, [words.shape[0], words.shape[1], 2, CODES])
    return tl.trans(planes, 0, 1, 3, 2)


@triton.jit
def _ends(
    k_low_ptr, k_high_ptr, v_low_ptr, v_high_ptr, n, row, there,
    BN: tl.constexpr, E: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """Load the ends of the group of keys at token ``n`` and of the values there."""
    keys = (row + n) // GROUP * E + tl.arange(0, E)
    values = row + n + tl.arange(0, BN)
    return (
        tl.load(k_low_ptr + keys),
        tl.load(k_high_ptr + keys),
        tl.load(v_low_ptr + values, mask=there, other=0.0),
        tl.load(v_high_ptr + values, mask=there, other=0.0),
    )


@triton.jit
def _stair(
    q_ptr, k_ptr, v_ptr, k_low_ptr, k_high_ptr, v_low_ptr, v_high_ptr, pos_ptr,
    out_ptr, lse_ptr, kv_heads, tokens, all_tokens, before, part, first, parts, scale,
    HEADS: tl.constexpr, ROWS: tl.constexpr, BN: tl.constexpr, E: tl.constexpr,
    BITS: tl.constexpr, GROUP: tl.constexpr, POS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Attend to one part of a stair, for the query heads that share a key head."""
    split, pair = tl.program_id(0), tl.program_id(1)
    rows, dims = tl.arange(0, ROWS), tl.arange(0, E)
    inside = rows < HEADS
    at = pair * HEADS + rows
    q = tl.load(q_ptr + at[:, None] * E + dims, mask=inside[:, None], other=0.0)
    wide = q.to(tl.float32) * (scale * LOG2E)
    row = pair.to(tl.int64) * tokens
    peak = tl.full([ROWS], -INF, tl.float32)
    total = tl.zeros([BN, ROWS], tl.float32)
    rest = tl.zeros([BN, ROWS], tl.float32)
    acc = tl.zeros([E, ROWS], tl.float32)
    STEP: tl.constexpr = BN if BITS == 16 else min(GROUP, BN)
    HALF: tl.constexpr = min(16, E * BITS // 2)
    CODES: tl.constexpr = max(HALF // BITS, 1)  # in half a word
    W: tl.constexpr = E // (2 * CODES)
    UNIT: tl.constexpr = 1.0 if BITS == 16 else (1 << BITS) / ((1 << BITS) - 1)
    there = tl.arange(0, BN) < STEP
    if BITS < 16:
        ends = _ends(
            k_low_ptr, k_high_ptr, v_low_ptr, v_high_ptr, split * part, row, there,
            BN, E, GROUP,
        )  # fmt: skip
    for n in tl.range(split * part, tl.minimum((split + 1) * part, tokens), STEP):
        cols = n + tl.arange(0, BN)
        if BITS == 16:
            there = cols < tokens
            places = (row + cols)[:, None] * E + dims
            k = tl.load(k_ptr + places, mask=there[:, None], other=0.0)
            v = tl.load(v_ptr + places, mask=there[:, None], other=0.0)
            s = tl.dot(k, q.T, input_precision=PRECISION) * (scale * LOG2E)
        else:
            places = (row + cols)[:, None] * W + tl.arange(0, W)
            k = tl.load(k_ptr + places, mask=there[:, None], other=0)
            v = tl.load(v_ptr + places, mask=there[:, None], other=0)
            k_low, k_high, v_low, v_high = ends
            ends = _ends(  # of the next block, so that nothing waits for them
                k_low_ptr, k_high_ptr, v_low_ptr, v_high_ptr,
                tl.minimum(n + STEP, tokens - STEP), row, there, BN, E, GROUP,
            )  # fmt: skip
            k_low, v_low = k_low.to(tl.float32), v_low.to(tl.float32)
            v_mid, v_span = (v_low + v_high) * 0.5, (v_high - v_low) * UNIT
            k = tl.trans(_numbers(k, BITS, HALF), 0, 2, 1, 3)
            k = tl.reshape(k, [BN, E]).to(q.dtype)
            v = tl.reshape(_numbers(v, BITS, HALF), [BN, E]).to(q.dtype)
            factor = (wide * ((k_high - k_low) * UNIT)).to(q.dtype)
            apart = tl.sum(wide * ((k_low + k_high) * 0.5), 1)
            factor = tl.reshape(factor, [ROWS, W, 2, CODES])
            factor = tl.reshape(tl.trans(factor, 0, 3, 1, 2), [ROWS, E])
            s = tl.dot(k, factor.T, input_precision=PRECISION)
            s += apart[None, :]
        seen = there
        if POS:
            place = pair // kv_heads * all_tokens + before + cols
            seen = seen & (tl.load(pos_ptr + place, mask=there, other=-1) >= 0)
        s = tl.where(seen[:, None], s, -INF)
        new = tl.maximum(peak, tl.max(s, 0))
        shift = tl.where(new == -INF, 0.0, new)
        p = tl.math.exp2(s - shift[None, :])
        kept = tl.math.exp2(peak - shift)
        total = total * kept[None, :] + p
        if BITS < 16:
            rest = rest * kept[None, :] + p * v_mid[:, None]
            p = p * v_span[:, None]
        acc = tl.dot(v.T, p.to(v.dtype), acc * kept[None, :], input_precision=PRECISION)
        peak = new
    total = tl.sum(total, 0)
    empty = total == 0.0
    total = tl.where(empty, 1.0, total)
    at = at * parts + first + split
    lse = tl.where(empty, -INF, peak / LOG2E + tl.log(total))
    tl.store(lse_ptr + at, lse, mask=inside)
    acc = (acc + tl.sum(rest, 0)[None, :]) / total[None, :]
    if BITS < 16:
        dims = dims // (2 * CODES) * (2 * CODES) + dims % 2 * CODES + dims // 2 % CODES
    tl.store(out_ptr + at[None, :] * E + dims[:, None], acc, mask=inside[None, :])


def _checked(query: Tensor, key: Packed, value: Packed) -> Stair:
    """Return a stair as the kernel takes it, or say what does not fit."""
    bits, (batch, _, _, head_dim) = key.bits, query.shape
    if bits not in BITS or bits != value.bits:
        raise ValueError(
            f"keys have {bits} bits, values {value.bits}, needs one of {BITS} for both"
        )
    shape, tokens = tuple(value.codes.shape), value.codes.shape[2]
    row = head_dim * bits // 8 if bits < WHOLE else head_dim
    kv_heads = shape[1]
    group = key.codes.shape[3] if key.codes.ndim == 5 else 1
    if bits < WHOLE and (group & (group - 1) or tokens % group):
        raise ValueError(f"group is {group}, needs a power of 2 that divides {tokens}")
    keys = tuple(key.codes.flatten(2, -2).shape)
    if not kv_heads or query.shape[1] % kv_heads:
        raise ValueError(f"keys have {kv_heads} heads, query {query.shape[1]}")
    for name, got in (("key", keys), ("value", shape)):
        if got != (batch, kv_heads, tokens, row):
            raise ValueError(
                f"codes of {name} have shape {got}, "
                f"needs {(batch, kv_heads, tokens, row)} for {bits} bits"
            )
    numbers = [*(key.ends or ()), *(value.ends or ())]
    names: tuple[str, ...] = ("k_low", "k_high", "v_low", "v_high")
    if bits == WHOLE:
        names, numbers = ("key", "value"), [key.codes, value.codes]
    elif {key.codes.dtype, value.codes.dtype} != {torch.uint8}:
        raise ValueError(f"codes have {key.codes.dtype}, needs uint8")
    check_inputs(query=query, **dict(zip(names, numbers, strict=True)))
    ends = [x.contiguous() for x in numbers] if bits < WHOLE else [None] * 4
    codes = key.codes.contiguous(), value.codes.contiguous()
    if bits < WHOLE:
        words = torch.int32 if row % 4 == 0 else torch.int16  # 16 channels of 1 bit
        codes = codes[0].view(words), codes[1].view(words)
    return Stair(*codes, tuple(ends), bits, group, tokens)


def attention(
    query: Tensor,
    stairs: Sequence[tuple[Packed, Packed]],
    *,
    kv_pos: Tensor | None = None,
    return_lse: bool = False,
    scale: float | None = None,
) -> Any:
    """Let the newest token of each sequence look at a cache in few bits; forward only.

    Args:
        query: ``[B, H, 1, E]``; E as in ``flash_attention``.
        stairs: keys and values of each, oldest first; ``cache.blocks()``, and behind
            them what waits, as 16 bits. A stair without tokens is left out.
        kv_pos: where the keys stand, ``[S]`` or ``[B, S]``; -1 marks an empty slot.
        return_lse: also return the logarithm of the sum of exponentials of each row.
        scale: what products are multiplied by; ``1/sqrt(E)`` by default.

    Returns:
        As ``flash_decoding.attention``: the output ``[B, H, 1, E]``, with
        ``return_lse`` also the ``lse`` ``[B, H, 1]`` in float32.

    Raises:
        ValueError: an input is not on a GPU (and the kernels not interpreted), does not
            fit, needs a gradient; bits are others than 1, 2, 4, 8 and 16, a group is no
            power of 2, or there is no token.
    """
    check_inputs(query=query)
    check_forward_only("decoding", query=query)
    if query.ndim != 4 or query.shape[2] != 1 or query.shape[3] not in HEAD_DIMS:
        raise ValueError(
            f"query has shape {tuple(query.shape)}, needs (B, H, 1, E), "
            f"E in {HEAD_DIMS}"
        )
    given = [_checked(query, k, v) for k, v in stairs if v.codes.shape[2]]
    if len({one.value.shape[1] for one in given}) != 1:
        raise ValueError(f"{len(given)} stairs hold tokens, need one or more alike")
    (batch, heads, _, head_dim), kv_heads = query.shape, given[0].value.shape[1]
    group, tokens = heads // kv_heads, sum(one.tokens for one in given)
    if group > MOST_QUERIES:
        raise ValueError(f"{group} heads share a key head, at most {MOST_QUERIES}")
    if kv_pos is not None:
        if tuple(kv_pos.shape) not in ((tokens,), (batch, tokens)):
            raise ValueError(
                f"kv_pos has shape {tuple(kv_pos.shape)}, needs ({batch}, {tokens})"
            )
        kv_pos = kv_pos.to(query.device, torch.int32).expand(batch, tokens).contiguous()
    tiles = [
        staircase_tile(batch * kv_heads, one.tokens, one.bits, query.dtype)
        for one in given
    ]
    counts = [triton.cdiv(s.tokens, t.part) for s, t in zip(given, tiles, strict=True)]
    parts = sum(counts)
    outs = query.new_empty((batch, heads, parts, head_dim), dtype=torch.float32)
    sums = query.new_empty((batch, heads, parts), dtype=torch.float32)
    before = first = 0
    for one, tile, count in zip(given, tiles, counts, strict=True):
        columns = tile.columns
        if one.bits < WHOLE:  # of one group; a product takes 16 at least
            columns = max(16, min(columns, one.group))
        _stair[(count, batch * kv_heads)](
            query.contiguous(), one.key, one.value, *one.ends, kv_pos, outs, sums,
            kv_heads, one.tokens, tokens, before, tile.part, first, parts,
            head_dim**-0.5 if scale is None else scale,
            HEADS=group, ROWS=triton.next_power_of_2(group), BN=columns,
            E=head_dim, BITS=one.bits, GROUP=one.group, POS=kv_pos is not None,
            PRECISION="ieee" if query.dtype == torch.float32 else "tf32",
            num_warps=tile.warps, num_stages=tile.stages, maxnreg=tile.registers,
        )  # fmt: skip
        before, first = before + one.tokens, first + count
    out, lse = merge(outs.unsqueeze(2), sums.unsqueeze(2), query.dtype)
    return (out, lse) if return_lse else out
