"""Attention a tile at a time: FlashAttention, forward and backward.

The scores of ``block_q`` queries and ``block_k`` keys are made, used and overwritten;
the whole matrix ``[L, S]`` never exists. In base 2, with ``z = s log2(e) q k^T``, a row
keeps its peak ``m``, its total ``l`` and an output ``o`` that is divided at the end::

    m' = max(m, max z)      p = 2^(z - m')      c = 2^(m - m')
    l' = c l + sum p        o' = c o + p v      out = o / l     lse = (m + log2 l) ln 2

The backward pass keeps ``out`` and ``lse`` and makes each tile again::

    p = 2^(z - lse log2(e))    D = rowsum(dout * out) - dlse    ds = p (dout v^T - D)
    dv += p^T dout             dq += s ds k                     dk += s ds^T q

Shapes and positions are those of :mod:`minitransformer.attention.core`. A tile of which
nothing may be seen is skipped: with a causal mask nearly half of them, with a sliding
window nearly all.

Sources: Dao et al., arXiv 2205.14135; Dao, 2307.08691. What differs from the papers:
all heads share one loop, each tile being a batch of matrix products, because Python is
slow and they are not; heads that share a key are one longer block of rows; and the
backward pass, too, has the queries outside: on one processor nobody else adds to
``dk`` and ``dv``, so that they can be added to in place.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from minitransformer.attention.core import MaskMod, check_shapes
from minitransformer.flash.backward_loops import flash2_backward
from minitransformer.flash.forward_loops import Seen, flash2_forward
from minitransformer.flash.memory import TwoLevelMemory
from minitransformer.flash.visible import Places, places, spans

LOG2_E = 1.4426950408889634


def naive_tiled_attention(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    *,
    q_pos: np.ndarray | None = None,
    kv_pos: np.ndarray | None = None,
    return_lse: bool = False,
    scale: float | None = None,
    mask_mod: MaskMod | None = None,
    block_q: int = 4,
    block_k: int = 4,
) -> Any:
    """Run the loop of FlashAttention-2 for one head after the other, in float64.

    Arguments, results and errors are those of :func:`tiled_attention`, for NumPy
    arrays.
    """
    check_shapes(query, key, value, q_pos, kv_pos)
    query, key, value = (np.asarray(x, dtype=np.float64) for x in (query, key, value))
    (batch, heads, length, _), kv_heads = query.shape, key.shape[1]
    out = np.empty((batch, heads, length, value.shape[3]))
    lse = np.empty((batch, heads, length))
    for b, h in np.ndindex(batch, heads):
        kv = h * kv_heads // heads
        out[b, h], lse[b, h] = flash2_forward(
            query[b, h],
            key[b, kv],
            value[b, kv],
            TwoLevelMemory(),
            block_q=block_q,
            block_k=block_k,
            scale=scale,
            seen=_seen(b, h, (length, key.shape[2]), q_pos, kv_pos, mask_mod),
        )
    return (out, lse) if return_lse else out


def naive_tiled_backward(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    grad_out: np.ndarray,
    *,
    q_pos: np.ndarray | None = None,
    kv_pos: np.ndarray | None = None,
    scale: float | None = None,
    mask_mod: MaskMod | None = None,
    block_q: int = 4,
    block_k: int = 4,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Derive the output of :func:`naive_tiled_attention`, one head after the other.

    Args:
        query: ``[B, H, L, E]``.
        key: ``[B, Hkv, S, E]``.
        value: ``[B, Hkv, S, Ev]``.
        grad_out: ``[B, H, L, Ev]``, the derivative of a number by the output.
        q_pos: see :func:`tiled_attention`.
        kv_pos: see :func:`tiled_attention`.
        scale: see :func:`tiled_attention`.
        mask_mod: see :func:`tiled_attention`.
        block_q: queries in a tile.
        block_k: keys in a tile.

    Returns:
        The derivatives of that number by query, key and value, in their shapes.

    Raises:
        ValueError: shapes do not fit.
    """
    given: dict[str, Any] = {"q_pos": q_pos, "kv_pos": kv_pos, "mask_mod": mask_mod}
    tiles: dict[str, Any] = {"scale": scale, "block_q": block_q, "block_k": block_k}
    out, lse = naive_tiled_attention(
        query, key, value, return_lse=True, **given, **tiles
    )
    if grad_out.shape != out.shape:
        raise ValueError(f"grad_out has shape {grad_out.shape}, out has {out.shape}")
    heads, kv_heads = query.shape[1], key.shape[1]
    grad_q, grad_k, grad_v = (np.zeros(x.shape) for x in (query, key, value))
    for b, h in np.ndindex(*query.shape[:2]):
        kv = h * kv_heads // heads
        inputs = query[b, h], key[b, kv], value[b, kv], out[b, h], lse[b, h]
        seen = _seen(b, h, (query.shape[2], key.shape[2]), **given)
        memory = TwoLevelMemory()
        parts = flash2_backward(*inputs, grad_out[b, h], memory, seen=seen, **tiles)
        grad_q[b, h] = parts[0]
        grad_k[b, kv] += parts[1]
        grad_v[b, kv] += parts[2]
    return grad_q, grad_k, grad_v


def _seen(
    b: int,
    h: int,
    sizes: tuple[int, int],
    q_pos: np.ndarray | None,
    kv_pos: np.ndarray | None,
    mask_mod: MaskMod | None,
) -> Seen | None:
    """Return what says which tiles one head may see, None if it may see all."""
    at_q, at_kv = np.arange(sizes[1] - sizes[0], sizes[1]), np.arange(sizes[1])
    filled = np.ones(sizes, dtype=bool)
    if q_pos is not None and kv_pos is not None:
        at_q = q_pos if q_pos.ndim == 1 else q_pos[b]
        at_kv = kv_pos if kv_pos.ndim == 1 else kv_pos[b]
        filled = (at_q[:, None] >= 0) & (at_kv >= 0)
    elif mask_mod is None:
        return None

    def seen(rows: slice, columns: slice) -> np.ndarray:
        mask = filled[rows, columns]
        if mask_mod is not None:
            mask = mask & mask_mod(b, h, at_q[rows, None], at_kv[None, columns])
        return mask

    return seen


def tiled_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    q_pos: Tensor | None = None,
    kv_pos: Tensor | None = None,
    return_lse: bool = False,
    scale: float | None = None,
    mask_mod: MaskMod | None = None,
    block_q: int = 256,
    block_k: int = 256,
) -> Any:
    """Let every query take a weighted mean of the values, a tile of scores at a time.

    The same as :func:`minitransformer.attention.core.attention`, in memory that grows
    with ``L + S`` and not with ``L S``. Both outputs can be derived, once.

    Args:
        query: ``[B, H, L, E]``.
        key: ``[B, Hkv, S, E]``, where ``Hkv`` divides ``H``.
        value: ``[B, Hkv, S, Ev]``.
        q_pos: whole numbers ``[L]`` or ``[B, L]``, where each query stands; -1 marks an
            empty slot. By default the last query stands on the last key.
        kv_pos: the same for the keys, ``[S]`` or ``[B, S]``.
        return_lse: also return the logarithm of the sum of exponentials of each row of
            scores, by which results over parts of the keys can be merged.
        scale: what dot products are multiplied by; ``1/sqrt(E)`` by default.
        mask_mod: says which keys a query may see, see
            :mod:`~minitransformer.attention.masks`.
        block_q: queries in a tile.
        block_k: keys in a tile.

    Returns:
        The output ``[B, H, L, Ev]`` in the type of ``value``; with ``return_lse`` also
        the ``lse`` ``[B, H, L]`` in float32 (float64 if the query is), -inf where a
        query may see no key.

    Raises:
        ValueError: shapes do not fit, positions come for one side only, or a block is
            below 1.
    """
    check_shapes(query, key, value, q_pos, kv_pos)
    for name, size in (("block_q", block_q), ("block_k", block_k)):
        if size < 1:
            raise ValueError(f"{name} is {size}, needs at least 1")
    scale = query.shape[3] ** -0.5 if scale is None else scale
    where = places(query, key, q_pos, kv_pos, mask_mod)
    tiles = _Tiles(scale, block_q, block_k, where)
    out, lse = _Tiled.apply(query, key, value, tiles)
    return (out, lse) if return_lse else out


class _Tiles(NamedTuple):
    """All that is known of the tiles but their numbers."""

    scale: float
    block_q: int
    block_k: int
    places: Places


class _Tiled(torch.autograd.Function):
    """Both passes; ``[B * Hkv, rows, E]`` is how the products see a block."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, tiles: _Tiles
    ) -> tuple[Tensor, Tensor]:
        (batch, heads, length, head_dim), kv_heads = query.shape, key.shape[1]
        kind = torch.float64 if query.dtype == torch.float64 else torch.float32
        keys, values = (_stack(x) for x in (key, value))
        out = value.new_empty(batch, heads, length, value.shape[3])
        lse = query.new_empty(batch, heads, length, dtype=kind)
        room = _Room(query, key, tiles, kind)
        for rows in spans(length, tiles.block_q):
            q = query[:, :, rows].to(kind) * (tiles.scale * LOG2_E)
            q = q.reshape(batch * kv_heads, -1, head_dim)
            o = q.new_zeros(*q.shape[:2], value.shape[3])
            peak = q.new_full((*q.shape[:2], 1), -torch.inf)
            total = torch.zeros_like(peak)
            for columns, seen in tiles.places.visible(rows, tiles.block_k):
                k, v = keys[:, columns].to(kind), values[:, columns].to(kind)
                p = torch.bmm(q, k.mT, out=room.tile(q, k))
                higher = _hide(p, seen, out[:, :, rows]).amax(dim=-1, keepdim=True)
                higher = torch.maximum(peak, higher)
                base = higher
                if seen is not None:  # a row that may have seen nothing yet
                    base = higher.masked_fill(torch.isneginf(higher), 0.0)
                p = p.sub_(base).exp2_()
                shrink = torch.exp2(peak - base)
                total.mul_(shrink).add_(p.sum(dim=-1, keepdim=True))
                o.mul_(shrink).baddbmm_(p, v)
                peak = higher
            some = total.masked_fill(total == 0, 1.0)
            out[:, :, rows] = o.div_(some).view(out[:, :, rows].shape)
            sums = (peak + some.log2()).div_(LOG2_E)
            lse[:, :, rows] = sums.view(lse[:, :, rows].shape)
        ctx.save_for_backward(query, key, value, out, lse)
        ctx.tiles = tiles
        return out, lse

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_out: Tensor, grad_lse: Tensor
    ) -> tuple[Tensor | None, ...]:
        query, key, value, out, lse = ctx.saved_tensors
        tiles, kind = ctx.tiles, lse.dtype
        (batch, _, length, _), kv_heads = query.shape, key.shape[1]
        keys, values = (_stack(x) for x in (key, value))
        grad_q = torch.empty_like(query)
        grad_k, grad_v = (torch.zeros_like(x, dtype=kind) for x in (keys, values))
        room = _Room(query, key, tiles, kind), _Room(query, key, tiles, kind)
        for rows in spans(length, tiles.block_q):
            sums, do = lse[:, :, rows], grad_out[:, :, rows].to(kind)
            delta = (do * out[:, :, rows]).sum(dim=-1) - grad_lse[:, :, rows]
            nothing = torch.isneginf(sums)
            delta = delta.masked_fill_(nothing, 0.0)
            q = query[:, :, rows].to(kind) * (tiles.scale * LOG2_E)
            q, do = (x.reshape(batch * kv_heads, -1, x.shape[3]) for x in (q, do))
            minus_lse = sums.masked_fill(nothing, 0.0).mul_(-LOG2_E)
            minus_lse = minus_lse.reshape(*q.shape[:2], 1)
            minus_delta = delta.neg_().reshape(*q.shape[:2], 1)
            dq = torch.zeros_like(q)
            for columns, seen in tiles.places.visible(rows, tiles.block_k):
                k, v = keys[:, columns].to(kind), values[:, columns].to(kind)
                p = torch.baddbmm(minus_lse, q, k.mT, out=room[0].tile(q, k))
                p = _hide(p, seen, out[:, :, rows]).exp2_()
                grad_v[:, columns].baddbmm_(p.mT, do)
                ds = torch.baddbmm(minus_delta, do, v.mT, out=room[1].tile(q, k))
                ds.mul_(p)
                grad_k[:, columns].baddbmm_(ds.mT, q)
                dq.baddbmm_(ds, k)
            grad_q[:, :, rows] = dq.mul_(tiles.scale).view(grad_q[:, :, rows].shape)
        grad_k.div_(LOG2_E)  # the queries were scaled, and in base 2
        grad_k, grad_v = grad_k.view(key.shape), grad_v.view(value.shape)
        return grad_q, grad_k.to(key.dtype), grad_v.to(value.dtype), None


class _Room:
    """Memory for one tile of scores, used again and again."""

    def __init__(self, query: Tensor, key: Tensor, tiles: _Tiles, kind: Any) -> None:
        batch, heads, length, _ = query.shape
        rows, columns = min(tiles.block_q, length), min(tiles.block_k, key.shape[2])
        size = batch * heads * rows * columns
        self.numbers = torch.empty(size, dtype=kind, device=query.device)

    def tile(self, q: Tensor, k: Tensor) -> Tensor:
        """Return room for the scores of two blocks."""
        shape = (*q.shape[:2], k.shape[1])
        return self.numbers[: q.shape[0] * q.shape[1] * k.shape[1]].view(shape)


def _stack(x: Tensor) -> Tensor:
    """Lay the heads of all sequences side by side, ``[B * Hkv, S, E]``."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def _hide(scores: Tensor, seen: Tensor | None, like: Tensor) -> Tensor:
    """Make scores -inf that may not be seen, in place; a sum is the fastest way."""
    if seen is not None:
        bias = torch.zeros(seen.shape, dtype=scores.dtype, device=scores.device)
        bias.masked_fill_(~seen, -torch.inf)
        scores.view(*like.shape[:3], -1).add_(bias)
    return scores
