"""Softmax in one pass: three running numbers in place of a row of weights.

Over any set of keys, a row of scores ``s_j`` with values ``v_j`` is summed up by::

    peak m = max_j s_j              total l = sum_j exp(s_j - m)
                                    mixed o = sum_j exp(s_j - m) v_j

Two such sums over different keys make the sum over both::

    m = max(m_a, m_b)       l = exp(m_a - m) l_a + exp(m_b - m) l_b         o alike

and ``out = o / l``, ``lse = m + log l`` at the end. Combining is associative and
commutative, with ``(-inf, 0, 0)``, the sum over no key, as its neutral element: a
monoid. Proof: ``(m, l, o)`` stands for the numbers ``L = e^m l`` and ``O = e^m o``,
together with a base ``m`` in which they are written down. Combining adds the numbers
and takes the greater base; addition and maximum are associative and commutative. So
keys may come in any order and any grouping: one by one, in chunks, or as a tree.

:func:`minitransformer.attention.merge.merge` joins ``(out, lse)`` instead, two results
that are already divided. :func:`finish` leads from here to there, and turns
:func:`combine` into ``merge``; here nothing is divided, and no logarithm taken, before
all keys have been seen. With an empty value (``Ev = 0``), the peak and the total alone
remain.

Sources: Milakov & Gimelshein, arXiv 1805.02867; with the values, Rabe & Staats,
2112.05682.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Sums(NamedTuple):
    """Peak ``[...]``, total ``[...]`` and mixed values ``[..., Ev]`` of some keys."""

    peak: Tensor
    total: Tensor
    mixed: Tensor


def naive_online_softmax(scores: np.ndarray) -> np.ndarray:
    """Turn a row of scores ``[S]`` into weights, which reads the row twice, not thrice.

    The first pass finds the peak and the total at once; the second divides.

    Raises:
        ValueError: ``scores`` is not a row.
    """
    if scores.ndim != 1:
        raise ValueError(f"scores has shape {scores.shape}, needs one axis")
    peak, total = -np.inf, 0.0
    for score in np.asarray(scores, dtype=np.float64):
        higher = max(peak, score)
        if higher > -np.inf:
            total = total * np.exp(peak - higher) + np.exp(score - higher)
        peak = higher
    if total == 0:
        return np.zeros(len(scores))
    return np.array([np.exp(score - peak) / total for score in scores])


def naive_streaming_attention(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, *, scale: float | None = None
) -> tuple[np.ndarray, float]:
    """Attend with one query, a key at a time, in memory for one key.

    Args:
        query: ``[E]``.
        key: ``[S, E]``.
        value: ``[S, Ev]``.
        scale: what dot products are multiplied by; ``1/sqrt(E)`` by default.

    Returns:
        The output ``[Ev]`` and its ``lse``; zeros and -inf if there is no key.
    """
    scale = len(query) ** -0.5 if scale is None else scale
    peak, total, mixed = -np.inf, 0.0, np.zeros(value.shape[1])
    for k, v in zip(key, value, strict=True):
        score = scale * (query @ k)
        higher = max(peak, score)
        shrink, weight = np.exp(peak - higher), np.exp(score - higher)
        total = shrink * total + weight
        mixed = shrink * mixed + weight * v
        peak = higher
    if total == 0:
        return mixed, -np.inf
    return mixed / total, float(peak + np.log(total))


def nothing(shape: Sequence[int], value_dim: int, like: Tensor) -> Sums:
    """Return the sum over no key, for rows of a shape, in the type of a tensor."""
    return Sums(
        like.new_full(tuple(shape), -torch.inf),
        like.new_zeros(tuple(shape)),
        like.new_zeros((*shape, value_dim)),
    )


def summed(scores: Tensor, values: Tensor) -> Sums:
    """Sum up some keys.

    Args:
        scores: ``[..., S]``; -inf is a key that must not be seen.
        values: ``[..., S, Ev]``, with one axis less before ``S`` where rows share them.

    Returns:
        Their sums. Where no key is seen, the total is 0 and the peak -inf.

    Raises:
        ValueError: there is another number of scores than of values.
    """
    if scores.shape[-1] != values.shape[-2]:
        raise ValueError(
            f"scores has {scores.shape[-1]} keys, values has {values.shape[-2]}"
        )
    if scores.shape[-1] == 0:
        return nothing(scores.shape[:-1], values.shape[-1], scores)
    peak = scores.detach().amax(dim=-1)  # any base would do: it has no derivative
    powers = torch.exp(scores - _finite(peak).unsqueeze(-1))
    if values.ndim == scores.ndim + 1:
        mixed = (powers.unsqueeze(-2) @ values).squeeze(-2)
    else:
        mixed = powers @ values
    return Sums(peak, powers.sum(dim=-1), mixed)


def combine(a: Sums, b: Sums) -> Sums:
    """Add up two sums over different keys.

    Raises:
        ValueError: they are of different shapes.
    """
    if a.mixed.shape != b.mixed.shape:
        got, wanted = tuple(b.mixed.shape), tuple(a.mixed.shape)
        raise ValueError(f"b has the shape {got}, a has {wanted}")
    peak = torch.maximum(a.peak, b.peak)
    base = _finite(peak)
    share_a, share_b = torch.exp(a.peak - base), torch.exp(b.peak - base)
    return Sums(
        peak,
        share_a * a.total + share_b * b.total,
        share_a.unsqueeze(-1) * a.mixed + share_b.unsqueeze(-1) * b.mixed,
    )


def finish(sums: Sums) -> tuple[Tensor, Tensor]:
    """Return output ``[..., Ev]`` and ``lse`` ``[...]``; zeros and -inf of no key."""
    empty = sums.total == 0
    total = sums.total.masked_fill(empty, 1.0)
    out = sums.mixed / total.unsqueeze(-1)
    return out, (_finite(sums.peak) + total.log()).masked_fill(empty, -torch.inf)


def _finite(peak: Tensor) -> Tensor:
    return peak.masked_fill(torch.isneginf(peak), 0.0)
