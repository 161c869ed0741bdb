"""The tile loops of the forward pass for one head, run on a memory that counts.

Each function computes on tiles that lie in the fast memory of a
:class:`~minitransformer.flash.memory.TwoLevelMemory`, so that what it counts is what
the algorithm moves; :mod:`~minitransformer.flash.traffic` says it beforehand. Sizes:
query ``[L, E]``, key ``[S, E]``, value ``[S, Ev]``, in tiles of ``block_q`` queries and
``block_k`` keys. All is NumPy in float64. The loops differ in what stays::

    standard_forward   three passes; all scores, then all weights, go to slow memory
    flash1_forward     for key tile j: for query tile i:   K_j, V_j stay, O_i moves
    flash2_forward     for query tile i: for key tile j:   Q_i, O_i stay

In the flash loops a tile of scores is made, used and dropped; no row of weights ever
exists as a whole. Each row has a peak ``m``, a total ``l`` and an output ``O``::

    m' = max(m, max_j S_ij)     P_ij = exp(S_ij - m')      c = exp(m - m')
    l' = c l + sum_j P_ij       O' = (c l O + P_ij V_j) / l'     (FlashAttention)
                                O' = c O + P_ij V_j, divided by l at the very end (2)

Sources: Dao et al., "FlashAttention", arXiv 2205.14135, algorithms 0 and 1; Dao,
"FlashAttention-2", 2307.08691, algorithm 1. Without dropout; tiles of which nothing may
be seen are skipped, which the papers do for causal masks.
"""

from collections.abc import Callable

import numpy as np

from minitransformer.flash.memory import TwoLevelMemory

Seen = Callable[[slice, slice], np.ndarray]
"""``seen(rows, columns) -> [rows, columns]``: may these queries see these keys?"""


def blocks(size: int, block: int) -> list[slice]:
    """Cut ``size`` rows into blocks; the last one may be shorter.

    Raises:
        ValueError: ``block`` is below 1.
    """
    if block < 1:
        raise ValueError(f"block is {block}, needs at least 1")
    return [slice(start, min(start + block, size)) for start in range(0, size, block)]


def causal(length: int, kv_length: int) -> Seen:
    """Let a query see the keys up to its own position, the last stands on the last."""
    at = np.arange(kv_length - length, kv_length)
    return lambda rows, columns: np.arange(kv_length)[columns] <= at[rows, None]


def standard_forward(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    memory: TwoLevelMemory,
    *,
    block_q: int,
    block_k: int,
    scale: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Write all scores to slow memory, then all weights, then mix.

    Args:
        query: ``[L, E]``.
        key: ``[S, E]``.
        value: ``[S, Ev]``.
        memory: where the tiles lie, and what counts them.
        block_q: queries in a tile.
        block_k: keys in a tile.
        scale: what dot products are multiplied by; ``1/sqrt(E)`` by default.

    Returns:
        Output ``[L, Ev]`` and weights ``[L, S]``.
    """
    (length, head_dim), kv_length = query.shape, len(key)
    scale = head_dim**-0.5 if scale is None else scale
    scores, weights = np.empty((2, length, kv_length))
    out = np.empty((length, value.shape[1]))
    product(query, key.T, scores, memory, block_q, block_k, scale)
    for i in range(length):
        row = memory.load(scores[i], "S", i)
        row -= row.max(initial=-np.inf)
        np.exp(row, out=row)
        row /= row.sum()
        memory.store(row, weights[i])
        memory.free(row)
    mix(weights, value, out, memory, block_q, block_k)
    return out, weights


def product(
    left: np.ndarray,
    right: np.ndarray,
    out: np.ndarray,
    memory: TwoLevelMemory,
    block: int,
    other: int,
    scale: float,
) -> None:
    """Write ``scale * left @ right``, every tile of it once."""
    for i, rows in enumerate(blocks(out.shape[0], block)):
        a = memory.load(left[rows], "left", i)
        for j, columns in enumerate(blocks(out.shape[1], other)):
            b = memory.load(right[:, columns], "right", j)
            tile = memory.new((len(a), b.shape[1]), "product", i, j)
            np.matmul(a, b, out=tile)
            tile *= scale
            memory.store(tile, out[rows, columns])
            memory.free(b, tile)
        memory.free(a)


def mix(
    weights: np.ndarray,
    value: np.ndarray,
    out: np.ndarray,
    memory: TwoLevelMemory,
    block: int,
    other: int,
) -> None:
    """Write ``weights @ value``, a tile of rows after the other."""
    for i, rows in enumerate(blocks(weights.shape[0], block)):
        total = memory.new(out[rows].shape, "sum", i)
        for j, columns in enumerate(blocks(weights.shape[1], other)):
            p = memory.load(weights[rows, columns], "left", i, j)
            v = memory.load(value[columns], "right", j)
            total += p @ v
            memory.free(p, v)
        memory.store(total, out[rows])
        memory.free(total)


def scores_of(
    q: np.ndarray,
    k: np.ndarray,
    memory: TwoLevelMemory,
    scale: float,
    mask: np.ndarray | None,
    at: tuple[int, int],
) -> np.ndarray:
    """Make a tile of scores; -inf is what may not be seen."""
    tile = memory.new((len(q), len(k)), "S", *at)
    np.matmul(q, k.T, out=tile)
    tile *= scale
    if mask is not None:
        tile[~mask] = -np.inf
    return tile


def _soften(
    scores: np.ndarray, peak: np.ndarray, total: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Turn scores into exponentials, and bring the peak and the total up to date.

    All in place. Returns by how much what was summed before has to shrink, and the
    total before.
    """
    higher = np.maximum(peak, scores.max(axis=1))
    finite = np.where(np.isneginf(higher), 0.0, higher)
    scores -= finite[:, None]
    np.exp(scores, out=scores)
    shrink, before = np.exp(peak - finite), total.copy()
    peak[:] = higher
    total *= shrink
    total += scores.sum(axis=1)
    return shrink, before


def over(sums: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Divide rows by their totals; where nothing was summed there are zeros."""
    return sums / np.where(total == 0, 1.0, total)[:, None]


def flash1_forward(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    memory: TwoLevelMemory,
    *,
    block_q: int,
    block_k: int,
    scale: float | None = None,
    seen: Seen | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keep a tile of keys and pass all queries by it (FlashAttention, algorithm 1).

    Args:
        query: ``[L, E]``.
        key: ``[S, E]``.
        value: ``[S, Ev]``.
        memory: where the tiles lie, and what counts them.
        block_q: queries in a tile.
        block_k: keys in a tile.
        scale: what dot products are multiplied by; ``1/sqrt(E)`` by default.
        seen: which keys a query may see; by default all.

    Returns:
        Output ``[L, Ev]``, peak ``[L]`` and total ``[L]``: the greatest score of each
        row, and the sum of its exponentials with that subtracted.
    """
    (length, head_dim), value_dim = query.shape, value.shape[1]
    scale = head_dim**-0.5 if scale is None else scale
    out, peak, total = np.empty((length, value_dim)), np.empty(length), np.empty(length)
    for i, rows in enumerate(blocks(length, block_q)):
        o = memory.new(out[rows].shape, "O", i)
        m = memory.new(peak[rows].shape, "m", i, fill=-np.inf)
        x = memory.new(total[rows].shape, "l", i)
        for tile, slow in ((o, out), (m, peak), (x, total)):
            memory.store(tile, slow[rows])
        memory.free(o, m, x)
    for j, columns in enumerate(blocks(len(key), block_k)):
        k, v = memory.load(key[columns], "K", j), memory.load(value[columns], "V", j)
        for i, rows in enumerate(blocks(length, block_q)):
            mask = None if seen is None else seen(rows, columns)
            if mask is not None and not mask.any():
                continue
            q, o = memory.load(query[rows], "Q", i), memory.load(out[rows], "O", i)
            m, x = memory.load(peak[rows], "m", i), memory.load(total[rows], "l", i)
            p = scores_of(q, k, memory, scale, mask, (i, j))
            shrink, before = _soften(p, m, x)
            o *= (shrink * before)[:, None]
            o += p @ v
            o[:] = over(o, x)
            for tile, slow in ((o, out), (m, peak), (x, total)):
                memory.store(tile, slow[rows])
            memory.free(q, o, m, x, p)
        memory.free(k, v)
    return out, peak, total


def flash2_forward(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    memory: TwoLevelMemory,
    *,
    block_q: int,
    block_k: int,
    scale: float | None = None,
    seen: Seen | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Keep a tile of queries and pass all keys by it (FlashAttention-2, algorithm 1).

    Arguments are those of :func:`flash1_forward`.

    Returns:
        Output ``[L, Ev]`` and ``lse`` ``[L]``, the logarithm of each row's sum of
        exponentials, -inf where a query sees nothing.
    """
    (length, head_dim), value_dim = query.shape, value.shape[1]
    scale = head_dim**-0.5 if scale is None else scale
    out, lse = np.empty((length, value_dim)), np.empty(length)
    for i, rows in enumerate(blocks(length, block_q)):
        q = memory.load(query[rows], "Q", i)
        o = memory.new((len(q), value_dim), "O", i)
        m = memory.new((len(q),), "m", i, fill=-np.inf)
        x = memory.new((len(q),), "l", i)
        for j, columns in enumerate(blocks(len(key), block_k)):
            mask = None if seen is None else seen(rows, columns)
            if mask is not None and not mask.any():
                continue
            k = memory.load(key[columns], "K", j)
            v = memory.load(value[columns], "V", j)
            p = scores_of(q, k, memory, scale, mask, (i, j))
            shrink, _ = _soften(p, m, x)
            o *= shrink[:, None]
            o += p @ v
            memory.free(k, v, p)
        o[:] = over(o, x)
        m += np.log(np.where(x == 0, 1.0, x))
        memory.store(o, out[rows])
        memory.store(m, lse[rows])
        memory.free(q, o, m, x)
    return out, lse
