"""Attention in chunks: exact, with derivatives, and never a matrix of scores.

Queries and keys are cut into chunks. For each chunk of queries, every chunk of keys is
summed up on its own, and the sums are combined::

    sums_c = (max, sum, mix) of chunk c            O(chunk) numbers a query, then gone
    out    = finish(combine of all sums_c)         O(S / chunk) numbers a query

With chunks of about ``sqrt(S)`` keys, both are ``O(sqrt S)``; with one key after the
other and nothing kept for derivatives, ``O(1)`` is enough for a query
(:func:`naive_chunked_attention`). To derive, the scores of a chunk are computed again
(checkpointing), so that what is kept between the passes are the sums. Time stays
``O(L S)``: this saves memory, not work.

Source: Rabe & Staats, "Self-attention Does Not Need O(n^2) Memory", arXiv 2112.05682.
What differs: chunks that a mask hides altogether are skipped, and chunks are added up
one after the other; the paper computes all of them, then combines.
By default a chunk has 1,024 queries and ``sqrt(S)`` keys, at least 256; the paper takes
1,024 and 4,096 for its accelerators.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from minitransformer.attention.core import MaskMod, check_shapes
from minitransformer.flash.online_softmax import (
    Sums,
    combine,
    finish,
    naive_streaming_attention,
    nothing,
    summed,
)
from minitransformer.flash.visible import places, spans


def naive_chunked_attention(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    *,
    q_pos: np.ndarray | None = None,
    kv_pos: np.ndarray | None = None,
    return_lse: bool = False,
    scale: float | None = None,
    mask_mod: MaskMod | None = None,
) -> Any:
    """Attend with one query after the other to one key after the other, in float64.

    Between two keys a query has ``Ev + 2`` numbers in memory, however many keys there
    are. Arguments, results and errors are those of :func:`chunked_attention`, for NumPy
    arrays.
    """
    check_shapes(query, key, value, q_pos, kv_pos)
    query, key, value = (np.asarray(x, dtype=np.float64) for x in (query, key, value))
    (batch, heads, length, head_dim), (kv_heads, kv_length) = (
        query.shape,
        key.shape[1:3],
    )
    scale = head_dim**-0.5 if scale is None else scale
    out = np.zeros((batch, heads, length, value.shape[3]))
    lse = np.full((batch, heads, length), -np.inf)
    at_q, at_kv = np.arange(kv_length - length, kv_length), np.arange(kv_length)
    for b, h, i in np.ndindex(batch, heads, length):
        if q_pos is not None and kv_pos is not None:
            at_q = q_pos if q_pos.ndim == 1 else q_pos[b]
            at_kv = kv_pos if kv_pos.ndim == 1 else kv_pos[b]
        seen = [
            j
            for j in range(kv_length)
            if (q_pos is None or (at_q[i] >= 0 and at_kv[j] >= 0))
            and (mask_mod is None or mask_mod(b, h, at_q[i], at_kv[j]))
        ]
        k, v = (x[b, h * kv_heads // heads] for x in (key, value))
        out[b, h, i], lse[b, h, i] = naive_streaming_attention(
            query[b, h, i], k[seen], v[seen], scale=scale
        )
    return (out, lse) if return_lse else out


def chunked_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    q_pos: Tensor | None = None,
    kv_pos: Tensor | None = None,
    return_lse: bool = False,
    scale: float | None = None,
    mask_mod: MaskMod | None = None,
    q_chunk: int = 1024,
    k_chunk: int | None = None,
) -> Any:
    """Let every query take a weighted mean of the values, a chunk of each at a time.

    Args:
        query: ``[B, H, L, E]``.
        key: ``[B, Hkv, S, E]``, where ``Hkv`` divides ``H``.
        value: ``[B, Hkv, S, Ev]``.
        q_pos: see :func:`minitransformer.attention.core.attention`.
        kv_pos: see there.
        return_lse: see there.
        scale: what dot products are multiplied by; ``1/sqrt(E)`` by default.
        mask_mod: see there.
        q_chunk: queries in a chunk.
        k_chunk: keys in a chunk; ``sqrt(S)``, and at least 256, by default.

    Returns:
        The output ``[B, H, L, Ev]`` in the type of ``value``; with ``return_lse`` also
        the ``lse`` ``[B, H, L]`` in float32 (float64 if the query is).

    Raises:
        ValueError: shapes do not fit, positions come for one side only, or a chunk is
            below 1.
    """
    check_shapes(query, key, value, q_pos, kv_pos)
    (batch, heads, length, head_dim), kv_length = query.shape, key.shape[2]
    k_chunk = max(256, math.isqrt(kv_length)) if k_chunk is None else k_chunk
    for name, size in (("q_chunk", q_chunk), ("k_chunk", k_chunk)):
        if size < 1:
            raise ValueError(f"{name} is {size}, needs at least 1")
    scale = head_dim**-0.5 if scale is None else scale
    where = places(query, key, q_pos, kv_pos, mask_mod)
    kind = torch.float64 if query.dtype == torch.float64 else torch.float32
    like = query.new_empty(0, dtype=kind)
    outs = [value.new_empty(batch, heads, 0, value.shape[3])]
    lses = [like.new_empty(batch, heads, 0)]
    for rows in spans(length, q_chunk):
        q = query[:, :, rows]
        sums = nothing(q.shape[:3], value.shape[3], like)
        for columns, seen in where.visible(rows, k_chunk):
            part = checkpoint(
                _chunk,
                *(q, key[:, :, columns], value[:, :, columns], seen, scale, kind),
                use_reentrant=False,
                preserve_rng_state=False,
            )
            sums = combine(sums, part)
        out, lse = finish(sums)
        outs.append(out.to(value.dtype))
        lses.append(lse)
    out, lse = torch.cat(outs, dim=2), torch.cat(lses, dim=2)
    return (out, lse) if return_lse else out


def _chunk(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    seen: Tensor | None,
    scale: float,
    kind: torch.dtype,
) -> Sums:
    """Sum up one chunk of keys for one chunk of queries, ``[B, H, rows, ...]``."""
    (batch, heads, rows, head_dim), kv_heads = q.shape, k.shape[1]
    together = q.to(kind).reshape(batch, kv_heads, -1, head_dim) * scale
    scores = together @ k.to(kind).mT
    if seen is not None:
        each = scores.view(batch, heads, rows, -1).masked_fill(~seen, -torch.inf)
        scores = each.view(scores.shape)
    sums = summed(scores, v.to(kind))
    return Sums(*(x.reshape(batch, heads, rows, *x.shape[3:]) for x in sums))
