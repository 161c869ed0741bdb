r"""Sparse distributed memory: Kanerva's memory, whose read is nearly softmax attention.

Addresses are vectors of ``n`` signs. A memory has hard locations at random addresses. A
pattern is written into every location within Hamming distance ``radius`` of its key; a
read averages all that was written into the locations within ``radius`` of the query. So
a pattern counts as often as a location lies in both balls. With a location everywhere,
and :math:`I(v)` of :mod:`~minitransformer.attention.views.hamming_balls`,

.. math:: \mathrm{read}(q) = \frac{\sum_j I(v_j)\, \mathrm{value}_j}{\sum_j I(v_j)},
    \qquad \log I(v) \approx a + \beta \left(1 - \frac{2v}{n}\right),

where :math:`v_j` is the distance of query and key, and :math:`1 - 2v/n` their cosine:
with keys and queries of length one, a read is attention whose scale is :math:`\beta`,
as far as :math:`\log I` is a straight line.

Source: Trenton Bricken & Cengiz Pehlevan, arXiv:2111.05498, after Pentti Kanerva,
*Sparse Distributed Memory* (1988). Signs stand for the paper's bits. Inferred: that the
third of :func:`optimal_radii` is the one at which, under Gaussian noise, a single read
first leads away at the greatest distance. Worked out here: the echo of the query in
:func:`expected_distance`.
"""

import math
from functools import partial
from itertools import accumulate
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from minitransformer.attention.core import attention
from minitransformer.attention.similarities import cosine
from minitransformer.attention.views.hamming_balls import (
    check_radius,
    cosines,
    log_weights,
)


class Memory(NamedTuple):
    """Hard locations and what was written into them.

    ``locations`` are signs ``[locations, n]``, ``contents`` the sums of the values
    written ``[locations, width]``, ``load`` how many were written ``[locations]``.
    """

    locations: np.ndarray
    radius: int
    contents: np.ndarray
    load: np.ndarray


def _signs(name: str, values: ArrayLike, n: int | None = None) -> np.ndarray:
    """Return ``values`` as float signs ``[rows, n]``."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or (n is not None and array.shape[1] != n):
        wanted = "n" if n is None else n
        raise ValueError(f"{name} has shape {array.shape}, needs (rows, {wanted})")
    if not np.all(np.abs(array) == 1):
        raise ValueError(f"{name} has entries other than -1 and 1")
    return array


def hamming(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Return in how many signs each row of one matrix differs from each of another.

    Args:
        a: signs ``[rows_a, n]``.
        b: signs ``[rows_b, n]``.

    Returns:
        Whole numbers ``[rows_a, rows_b]``, from 0 to n.

    Raises:
        ValueError: not signs, or of different length.
    """
    left = _signs("a", a)
    right = _signs("b", b, left.shape[1])
    return ((left.shape[1] - left @ right.T) / 2).astype(np.int64)


def empty_memory(locations: ArrayLike, radius: int, width: int) -> Memory:
    """Make a memory into which nothing was written.

    Args:
        locations: signs ``[locations, n]``, the addresses of the hard locations.
        radius: of the balls in which a pattern is written and a query reads.
        width: numbers in one value.

    Raises:
        ValueError: not signs, or the radius is not between 0 and n.
    """
    signs = _signs("locations", locations)
    check_radius(signs.shape[1], radius)
    count = len(signs)
    return Memory(signs, radius, np.zeros((count, width)), np.zeros(count, np.int64))


def write(memory: Memory, keys: ArrayLike, values: ArrayLike) -> Memory:
    """Write patterns: add each value to all locations within the radius of its key.

    Args:
        memory: what the patterns are written into; it stays as it is.
        keys: signs ``[patterns, n]``.
        values: ``[patterns, width]``.

    Raises:
        ValueError: keys or values do not fit the memory, or each other.
    """
    n, width = memory.locations.shape[1], memory.contents.shape[1]
    signs = _signs("keys", keys, n)
    data = np.asarray(values, dtype=np.float64)
    if data.shape != (len(signs), width):
        wanted = (len(signs), width)
        raise ValueError(f"values has shape {data.shape}, needs {wanted}")
    active = hamming(memory.locations, signs) <= memory.radius  # [locations, patterns]
    return memory._replace(
        contents=memory.contents + active @ data, load=memory.load + active.sum(axis=1)
    )


def read(memory: Memory, queries: ArrayLike) -> np.ndarray:
    """Read: the mean of all that was written into the locations near each query.

    Args:
        memory: what was written.
        queries: signs ``[queries, n]``.

    Returns:
        ``[queries, width]``; zeros where a query reaches nothing that was written.

    Raises:
        ValueError: the queries do not fit the memory.
    """
    signs = _signs("queries", queries, memory.locations.shape[1])
    active = hamming(signs, memory.locations) <= memory.radius  # [queries, locations]
    total = active @ memory.load
    return (active @ memory.contents) / np.maximum(total, 1)[:, None]


def expected_read(
    queries: ArrayLike, keys: ArrayLike, values: ArrayLike, log_weight: ArrayLike
) -> np.ndarray:
    """Read from endlessly many locations: the mean of the values, weighted by distance.

    With the table ``log_weights(n, radius)`` this is the read of a sparse distributed
    memory with a location at every address; with ``beta * cosines(n)`` it is attention.

    Args:
        queries: signs ``[queries, n]``.
        keys: signs ``[patterns, n]``.
        values: ``[patterns, width]``.
        log_weight: ``[n + 1]``, the log of the weight at each distance.

    Returns:
        ``[queries, width]``; zeros where all weights are zero.

    Raises:
        ValueError: the shapes do not fit.
    """
    table, data = np.asarray(log_weight), np.asarray(values, dtype=np.float64)
    distance = hamming(queries, keys)
    n = np.shape(keys)[1]
    patterns = distance.shape[1]
    if table.shape != (n + 1,):
        raise ValueError(f"log_weight has shape {table.shape}, needs ({n + 1},)")
    if data.ndim != 2 or len(data) != patterns:
        raise ValueError(f"values has shape {data.shape}, needs ({patterns}, width)")
    logs = table[distance]
    top = logs.max(axis=1, keepdims=True, initial=-np.inf)
    weights = np.exp(logs - np.where(np.isfinite(top), top, 0.0))
    total = weights.sum(axis=1, keepdims=True)
    return weights @ data / np.where(total > 0, total, 1.0)


def recall(
    queries: ArrayLike, patterns: ArrayLike, log_weight: ArrayLike, most_reads: int = 50
) -> np.ndarray:
    """Clean up noisy patterns: read, take the signs, and ask again with the answer.

    Args:
        queries: signs ``[queries, n]``.
        patterns: signs ``[patterns, n]``, each stored under itself as the key.
        log_weight: ``[n + 1]``, the log of the weight at each distance.
        most_reads: how often to read; fewer when nothing changes any more.

    Returns:
        Signs ``[queries, n]``. A sign whose read is zero, but for the rounding of a
        sum over all patterns, stays as it was.
    """
    state = _signs("queries", queries)
    rounding = len(np.asarray(patterns)) * np.finfo(float).eps
    for _ in range(most_reads):
        answer = expected_read(state, patterns, patterns, log_weight)
        after = np.where(np.abs(answer) <= rounding, state, np.sign(answer))
        if np.array_equal(after, state):
            break
        state = after
    return state


class Radii(NamedTuple):
    """The paper's three optimal radii, each for another purpose.

    ``capacity`` stores most patterns, ``signal_to_noise`` reads one back most clearly,
    ``critical_distance`` forgives the greatest number of wrong signs.
    """

    capacity: int
    signal_to_noise: int
    critical_distance: int


def optimal_radii(n: int, num_patterns: int, num_locations: float) -> Radii:
    """Return the radii that the paper's formulas call optimal, for random patterns.

    With ``p`` the share of addresses in a ball, ``m`` patterns and ``r`` locations, a
    pattern is read back with the signal ``p r``, against noise of variance
    ``p^2 r + (p^2 r)^2`` for each other pattern. Signal to noise is best at
    ``p = (2 m r)^(-1/3)`` (Kanerva). Capacity is the greatest ``m`` for which a whole
    pattern is read back right half of the time. Only balls with at least one location
    count.

    Args:
        n: signs in an address.
        num_patterns: patterns stored.
        num_locations: hard locations; ``2.0**n`` for one at every address.

    Raises:
        ValueError: a count is not positive.
    """
    if min(n, num_patterns, num_locations) <= 0:
        raise ValueError(
            f"n, num_patterns and num_locations are {n}, {num_patterns} and "
            f"{num_locations}, need more than 0"
        )
    balls = accumulate(math.comb(n, i) for i in range(n // 2 + 1))
    share = np.array([ball / 2**n for ball in balls])  # [radii]
    signal = share * num_locations
    noise = share * signal + (share * signal) ** 2  # [radii], of one pattern
    z = NormalDist().inv_cdf(0.5 ** (1 / n))
    with np.errstate(divide="ignore", invalid="ignore"):
        capacity = np.where(signal > z**2, (signal**2 / z**2 - signal) / noise, 0.0)
    best_share = (2 * num_patterns * num_locations) ** (-1 / 3)
    critical = np.zeros(len(share), dtype=np.int64)
    for radius in np.flatnonzero(signal >= 1):
        table = np.exp(log_weights(n, int(radius)) + math.log(num_locations))
        after = _distance_after(table, 0.0, math.sqrt(num_patterns * noise[radius]))
        critical[radius] = _still_closer(after)
    return Radii(
        int(np.argmax(capacity)),
        int(np.searchsorted(share, best_share)),
        int(np.argmax(critical)),
    )


def _distance_after(signal: np.ndarray, echo: float, noise: float) -> np.ndarray:
    """Expected wrong signs after a read, for each number of wrong signs before it."""
    normal = NormalDist()
    n = len(signal) - 1
    if noise == 0:
        return np.where(signal > 0, 0.0, np.arange(n + 1))
    right = [normal.cdf(-(s + echo) / noise) for s in signal]
    wrong = [normal.cdf(-(s - echo) / noise) for s in signal]
    before = np.arange(n + 1)
    return (n - before) * np.array(right) + before * np.array(wrong)


def _still_closer(after: np.ndarray) -> int:
    """The greatest number of wrong signs up to which every read leads closer."""
    stuck = np.flatnonzero(after[1:] >= np.arange(1, len(after)))
    return int(stuck[0]) if len(stuck) else len(after) - 1


def expected_distance(
    n: int, radius: int, num_patterns: int, num_locations: float | None = None
) -> np.ndarray:
    """Return how far from a stored pattern one read ends, by where it began.

    Random patterns, each stored under itself, in the limit of large n. A sign is pulled
    to the target by as many locations as lie in both balls. The other patterns add
    noise, and an *echo*: those near the query weigh more and agree with it, so that on
    average a read repeats the query, right signs and wrong ones.

    Args:
        n: signs in an address.
        radius: of the balls.
        num_patterns: patterns stored.
        num_locations: hard locations; by default one at every address.

    Returns:
        ``[n + 1]``: expected wrong signs after a read that began with 0 to n of them.

    Raises:
        ValueError: the radius is not between 0 and n, or a count is not positive.
    """
    check_radius(n, radius)
    if num_patterns < 1 or (num_locations is not None and num_locations <= 0):
        raise ValueError(
            f"num_patterns and num_locations are {num_patterns} and {num_locations}, "
            "need more than 0"
        )
    logs = log_weights(n, radius)
    share = np.array([math.comb(n, v) / 2**n for v in range(n + 1)])  # of distances
    if num_locations is None:
        signal = np.exp(logs - logs[0])
        square = signal**2
    else:
        signal = np.exp(logs + math.log(num_locations))
        square = signal + signal**2  # counts of locations vary as Poisson's do
    echo = (num_patterns - 1) * float(np.sum(share * signal * cosines(n)))
    noise = math.sqrt((num_patterns - 1) * float(np.sum(share * square)))
    return _distance_after(signal, echo, noise)


def critical_distance(
    n: int, radius: int, num_patterns: int, num_locations: float | None = None
) -> int:
    """Return from how many wrong signs reads still lead closer to the target.

    The greatest distance up to which :func:`expected_distance` is below the distance
    before the read; arguments and errors are the same.
    """
    after = expected_distance(n, radius, num_patterns, num_locations)
    return _still_closer(after)


def log_intersection(query: Tensor, key: Tensor, radius: int) -> Tensor:
    r"""Return :math:`\log I` at the distance that belongs to the cosine: a similarity.

    The cosine :math:`x` belongs to the distance :math:`v = n (1 - x) / 2`, with ``E``
    for :math:`n`; straight lines join the whole distances. More than half a sign beyond
    twice the radius it is -inf: the half is for rounding.

    Args:
        query: ``[..., L, E]``.
        key: ``[..., S, E]``.
        radius: of the balls, from 0 to ``E``.

    Returns:
        ``[..., L, S]``, the log of a share of all addresses.

    Raises:
        ValueError: the radius is not between 0 and ``E``.
    """
    n = query.shape[-1]
    logs = log_weights(n, radius)
    reach = min(2 * radius, n)
    exact = torch.from_numpy(logs[: reach + 1].copy())
    distance = (1 - cosine(query, key)) * (n / 2)
    table = exact.to(device=distance.device, dtype=distance.dtype)
    inside = distance.clamp(0, reach)
    below = inside.detach().floor().long()
    above = (below + 1).clamp_max(reach)
    score = table[below] + (inside - below) * (table[above] - table[below])
    return score.masked_fill(distance > 2 * radius + 0.5, -torch.inf)


def sparse_memory_attention(
    query: Tensor, key: Tensor, value: Tensor, *, radius: int, **options: Any
) -> Any:
    """Read from a sparse distributed memory with a location at every address.

    Attention whose similarity is :func:`log_intersection`. For vectors of signs, of any
    length, it is the memory's read; keys more than twice the radius away weigh nothing.

    Args:
        query: ``[B, H, L, E]``.
        key: ``[B, Hkv, S, E]``.
        value: ``[B, Hkv, S, Ev]``.
        radius: of the balls, from 0 to ``E``.
        **options: those of ``core.attention``, except ``similarity`` and ``scale``.

    Returns:
        What ``core.attention`` returns. A query without a key in reach gets zeros.

    Raises:
        ValueError: shapes do not fit, or the radius is not between 0 and ``E``.
    """
    similarity = partial(log_intersection, radius=radius)
    return attention(query, key, value, similarity=similarity, scale=1.0, **options)
