r"""What a head does with its rotary positions, pair by pair.

A turn changes pairs of numbers, so the score of a query at ``i`` and a key at ``j`` is
a sum over pairs, and each of them knows the distance ``r = i - j`` alone:

.. math::
    q_i \cdot k_j = \sum_g c_g, \qquad
    c_g = |q_g|\, |k_g| \cos(r w_g - \alpha_g),

where ``alpha_g`` is the angle from the key's pair to the query's, before they are
turned. Read, this says which pairs
a head uses (:func:`frequency_usage`), which pair speaks at which distance
(:func:`pair_scores`, :func:`leading_pair`), and whether a head goes by distance at all
(:func:`distance_correlation`). Written, it makes heads by hand: a pair whose ``alpha``
is a step of ``w`` looks one token back (:func:`offset_head`), and if all angles vanish
at one distance the score has its peak there (:func:`key_peaking_at`).

Layouts are those of :mod:`minitransformer.positions.rotary`. Pairs count from 0, the
fastest first.

Sources: usage, constructed heads and peaks, Barbero et al., arXiv 2410.06205;
contributions of pairs, leading pair and correlation, arXiv 2410.08703, which was read
through descriptions. Inferred there: tokens are drawn at random with the key before the
query, and positional heads are a given share of all. The leading pair depends on how
large scores are, so say whether they were scaled.
"""

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from minitransformer.positions.rotary import Layout, rotate, to_half


def naive_pair_scores(
    query: np.ndarray, key: np.ndarray, *, layout: Layout = "half"
) -> np.ndarray:
    """Return what each pair of one query and one key ``[E]`` adds, by definition."""
    pairs = len(query) // 2
    added = np.zeros(pairs)
    for g in range(pairs):
        a, b = (g, g + pairs) if layout == "half" else (2 * g, 2 * g + 1)
        added[g] = float(query[a]) * float(key[a]) + float(query[b]) * float(key[b])
    return added


def _pairs(x: Tensor, name: str, layout: Layout) -> Tensor:
    """Return ``[..., E]`` as ``[..., E / 2, 2]``."""
    if x.shape[-1] % 2:
        raise ValueError(f"{name} has head_dim {x.shape[-1]}, needs an even number")
    if layout not in ("half", "interleaved"):
        raise ValueError(f"layout is {layout!r}, needs 'half' or 'interleaved'")
    x = to_half(x) if layout == "interleaved" else x
    return torch.stack(x.chunk(2, dim=-1), dim=-1)


def _both(query: Tensor, key: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """Return both as pairs ``[B, H, L or S, E / 2, 2]``, keys for each query head."""
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(
            f"key has head_dim {key.shape[-1]}, query has {query.shape[-1]}"
        )
    if query.shape[1] % key.shape[1]:
        raise ValueError(
            f"key has {key.shape[1]} heads, needs a divisor of {query.shape[1]}"
        )
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    return _pairs(query, "query", layout), _pairs(key, "key", layout)


def pair_scores(query: Tensor, key: Tensor, *, layout: Layout = "half") -> Tensor:
    """Return what each pair adds to each score.

    Args:
        query: ``[B, H, L, E]``, turned.
        key: ``[B, Hkv, S, E]``, turned.
        layout: which numbers are a pair.

    Returns:
        ``[B, H, L, S, E / 2]``; the sum over the last axis is the dot product.

    Raises:
        ValueError: ``E`` is odd, sizes or heads do not fit, the layout is unknown.
    """
    query, key = _both(query, key, layout)
    return torch.einsum("bhigc,bhjgc->bhijg", query, key)


def frequency_usage(query: Tensor, key: Tensor, *, layout: Layout = "half") -> Tensor:
    """Return how much each pair could add to a score, on average over all tokens.

    It is the mean over queries and keys of ``|q_g| |k_g|``, a bound on what the pair
    adds. A turn does not change it.

    Args:
        query: ``[B, H, L, E]``, turned or not.
        key: ``[B, Hkv, S, E]``.
        layout: which numbers are a pair.

    Returns:
        ``[H, E / 2]``.

    Raises:
        ValueError: see :func:`pair_scores`.
    """
    query, key = _both(query, key, layout)
    sizes = query.norm(dim=-1).mean(dim=2) * key.norm(dim=-1).mean(dim=2)
    return sizes.mean(dim=0)


def leading_pair(
    added: Tensor, *, how: Literal["expected", "argmax"] = "expected"
) -> Tensor:
    """Return the number of the pair that speaks loudest in each score.

    Args:
        added: what each pair adds, ``[..., E / 2]``, see :func:`pair_scores`.
        how: "argmax" takes the pair that adds most, "expected" the mean number of a
            pair under ``softmax(added)``.

    Returns:
        ``[...]``, floating; higher is slower.

    Raises:
        ValueError: ``how`` is unknown.
    """
    if how == "argmax":
        return added.argmax(dim=-1).to(added.dtype)
    if how == "expected":
        number = torch.arange(added.shape[-1], dtype=added.dtype, device=added.device)
        return added.softmax(dim=-1) @ number
    raise ValueError(f"how is {how!r}, needs 'expected' or 'argmax'")


def distance_correlation(
    query: Tensor,
    key: Tensor,
    pos: Tensor,
    *,
    samples: int,
    generator: torch.Generator,
    how: Literal["expected", "argmax"] = "expected",
    layout: Layout = "half",
) -> Tensor:
    """Correlate, head by head, the leading pair with the distance.

    Args:
        query: ``[B, H, L, E]``, turned.
        key: ``[B, Hkv, L, E]``, turned, of the same tokens.
        pos: where they stand, ``[L]``, rising.
        samples: pairs of tokens to draw in each sequence, the key before the query.
        generator: draws them.
        how: see :func:`leading_pair`.
        layout: which numbers are a pair.

    Returns:
        ``[H]``, from -1 to 1; 0 where the leading pair never changes.

    Raises:
        ValueError: there are fewer than two tokens, or sizes do not fit.
    """
    length = query.shape[2]
    if key.shape[2] != length or pos.shape != (length,):
        raise ValueError(
            f"query has length {length}, key {key.shape[2]}, pos {tuple(pos.shape)}"
        )
    if length < 2 or samples < 2:
        raise ValueError(f"{length} tokens and {samples} samples, needs two of each")
    query, key = _both(query, key, layout)
    first = torch.randint(0, length, (samples,), generator=generator)
    other = torch.randint(0, length - 1, (samples,), generator=generator)
    other = other + (other >= first).long()  # any token but the first
    later, earlier = torch.maximum(first, other), torch.minimum(first, other)
    added = (query[:, :, later] * key[:, :, earlier]).sum(dim=-1).double()
    number = leading_pair(added, how=how).transpose(0, 1).flatten(1)
    distance = (pos[later] - pos[earlier]).double().repeat(query.shape[0])
    number = number - number.mean(dim=1, keepdim=True)
    distance = distance - distance.mean()
    varies = number.abs().amax(dim=1) > 1e-9  # else rounding is all there is
    spread = torch.where(varies, number.norm(dim=1) * distance.norm(), torch.inf)
    return (number @ distance / spread.clamp_min(1e-30)).clamp(-1, 1)


def positional_heads(correlation: Tensor, *, share: float = 0.1) -> list[int]:
    """Return the heads with the highest correlations, highest first; at least one.

    Args:
        correlation: one number a head, ``[H]``.
        share: which share of the heads, above 0 and at most 1.

    Raises:
        ValueError: ``share`` is out of range, or there is no head.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}, needs a number above 0 and at most 1")
    if correlation.ndim != 1 or not len(correlation):
        shape = tuple(correlation.shape)
        raise ValueError(f"correlation has shape {shape}, needs one number a head")
    order = correlation.argsort(descending=True, stable=True)
    return order[: max(round(share * len(order)), 1)].tolist()


def scores_at(query: Tensor, key: Tensor, distances: Tensor, freqs: Tensor) -> Tensor:
    """Return the scores of a query that stands so far behind a key.

    Args:
        query: ``[..., E]``, not turned, half layout.
        key: ``[..., E]``, not turned.
        distances: ``[D]``.
        freqs: ``[F]``, see :func:`minitransformer.positions.rotary.rotate`.

    Returns:
        ``[..., D]``, dot products without a scale.

    Raises:
        ValueError: shapes differ, or there are too many frequencies.
    """
    if query.shape != key.shape:
        raise ValueError(
            f"key has shape {tuple(key.shape)}, query {tuple(query.shape)}"
        )
    flat = query.reshape(1, -1, 1, query.shape[-1])
    turned = rotate(flat.expand(-1, -1, len(distances), -1), distances, freqs)
    turned = turned.reshape(*query.shape[:-1], len(distances), query.shape[-1])
    return (turned * key.unsqueeze(-2)).sum(dim=-1)


def key_peaking_at(query: Tensor, distance: float, freqs: Tensor) -> Tensor:
    """Make the key whose score with this query is largest at a distance.

    Args:
        query: ``[..., E]``, not turned, half layout.
        distance: where the peak shall be, query position minus key position.
        freqs: ``[F]``.

    Returns:
        ``[..., E]``, as long as the query: at that distance both point the same way.
    """
    flat = query.reshape(1, 1, -1, query.shape[-1])
    at = torch.full((flat.shape[2],), float(distance), dtype=torch.float64)
    return rotate(flat, at, freqs).reshape(query.shape)


def offset_head(
    length: int,
    freqs: Tensor,
    *,
    back: int = 1,
    pair: int = 0,
    peak: float = 50.0,
) -> tuple[Tensor, Tensor]:
    """Make a head by hand that looks at the token so many places back.

    Only one pair of numbers is used. All keys are the same and all queries are the
    same: nothing is known of the tokens. After the turns the score is
    ``peak * cos((i - j - back) w)``.

    Args:
        length: tokens, ``L``.
        freqs: ``[F]``; queries have ``E = 2 F`` numbers, half layout.
        back: 1 is the previous token, 0 the token itself.
        pair: which pair is used.
        peak: the largest score, after the division by the root of ``E``.

    Returns:
        The query and the key, each ``[1, 1, L, E]``, float64, not turned.

    Raises:
        ValueError: there is no such pair.
    """
    if not 0 <= pair < len(freqs):
        raise ValueError(f"pair is {pair}, needs 0 to {len(freqs) - 1}")
    head_dim = 2 * len(freqs)
    size = math.sqrt(peak * math.sqrt(head_dim))
    step = back * float(freqs[pair])
    key = torch.zeros(1, 1, length, head_dim, dtype=torch.float64)
    query = torch.zeros_like(key)
    key[..., pair] = size
    query[..., pair] = size * math.cos(step)
    query[..., pair + len(freqs)] = -size * math.sin(step)
    return query, key
