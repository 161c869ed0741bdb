"""Probabilistic FlashAttention: chance decides which blocks take part.

Cut a causal sequence into blocks of ``b`` positions. A query of block ``I`` sees the
keys of blocks ``J <= I``, at the block distances ``d = I - J``. In each round every
distance takes part with a probability ``p(d)``; ``p(0) = 1``, so that no query is left
without a key. One draw serves all query blocks: the distances that take part, packed
side by side, fill a staircase, and the work of each distance is one batch of full
blocks.

With ``N_d`` the sum of ``exp(s_ij) v_j`` over the keys at distance ``d``, and ``D_d``
that of ``exp(s_ij)``, every estimate of a query's output is a quotient::

    out = sum_d share_d N_d / sum_d share_d D_d

``share = 1`` is attention; a single round has the shares 0 and 1. After ``R`` rounds,
in ``r_d`` of which ``d`` took part, the shares ``r_d / R`` have the mean ``p(d)``:
attention with the bias ``log p(d)`` on its scores. The shares ``r_d / (R p(d))`` have
the mean 1. Numerator and denominator are then unbiased, and the quotient has a bias of
order ``1 / R`` and, with ``o`` the exact output, to first order the variance::

    (1 / R)  sum_d  (1 - p(d)) / p(d)  |N_d - D_d o|^2 / (sum_d D_d)^2

Where a block at distance ``d`` costs ``c_d``, the variance for a given expected cost is
least when ``p(d)`` is proportional to ``|N_d - D_d o| / sqrt(c_d)``, as far as it stays
below 1.

Source: Li, arXiv 2410.18441. Only its abstract was to be had: "a probability
distribution over block distances in the matrix to decide which block is likely to
participate in a given round of attention computation while maintaining the lower
triangle shape of the tensor". Inferred from it: one draw for all query blocks, the
staircase, ``p(0) = 1``. The weights ``1 / p(d)``, the pooling of rounds, and their
analysis are ours.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from minitransformer.attention.core import attention, check_shapes

LAWS = ("harmonic", "geometric", "uniform")
"""Names of the laws of :func:`distance_probabilities`."""


def distance_probabilities(blocks: int, law: str, parameter: float) -> np.ndarray:
    """Return how likely each block distance is to take part.

    Args:
        blocks: how many distances there are, 0 among them.
        law: ``harmonic``, ``min(1, c / (1 + d))``; ``geometric``, ``c**d``;
            ``uniform``, ``c`` for all but distance 0.
        parameter: ``c``, above 0, and at most 1 unless the law is harmonic.

    Returns:
        ``[blocks]``, the first entry 1.

    Raises:
        ValueError: no law has this name, or ``c`` is out of its range.
    """
    if law not in LAWS:
        raise ValueError(f"law is {law!r}, needs one of {', '.join(LAWS)}")
    if not 0 < parameter <= (np.inf if law == "harmonic" else 1):
        raise ValueError(f"parameter of the {law} law is {parameter}")
    distance = np.arange(blocks)
    if law == "harmonic":
        likely = np.minimum(1.0, parameter / (1 + distance))
    elif law == "geometric":
        likely = float(parameter) ** distance
    else:
        likely = np.full(blocks, float(parameter))
    likely[:1] = 1.0
    return likely


def best_probabilities(
    importance: ArrayLike, budget: float, cost: ArrayLike | None = None
) -> np.ndarray:
    """Return the probabilities of least variance for a given expected cost.

    They are proportional to the importance over the root of the cost, except that none
    is above 1 and the first is 1.

    Args:
        importance: ``[distances]``, the root of the sum, over the queries, of
            ``|N_d - D_d o|^2``, or what is known of it; above 0.
        budget: expected cost, the sum of ``cost * p``.
        cost: ``[distances]``, what a distance costs when it takes part, such as how
            many blocks lie at it; by default 1 each.

    Returns:
        ``[distances]``.

    Raises:
        ValueError: an importance or a cost is not above 0, or the budget is not between
            the cost of distance 0 and that of all.
    """
    size = np.asarray(importance, dtype=np.float64)
    price = np.ones(len(size)) if cost is None else np.asarray(cost, dtype=np.float64)
    if not ((size[1:] > 0).all() and (price > 0).all()):
        raise ValueError("importance and cost need to be above 0")
    if not price[0] <= budget <= price.sum() * (1 + 1e-12):
        raise ValueError(f"budget is {budget}, needs {price[0]:g} to {price.sum():g}")
    likely, free = np.ones(len(size)), np.arange(len(size)) > 0
    while free.any():
        left = budget - price[~free].sum()
        ideal = size / np.sqrt(price)
        likely[free] = left * ideal[free] / (price * ideal)[free].sum()
        if not (free & (likely > 1)).any():
            break
        free &= likely <= 1
        likely[~free] = 1.0
    return likely


def draw(
    probabilities: ArrayLike, rounds: int, generator: np.random.Generator
) -> np.ndarray:
    """Draw which distances take part in each round.

    Args:
        probabilities: ``[distances]``.
        rounds: how many rounds.
        generator: where chance comes from.

    Returns:
        True and False, ``[rounds, distances]``.
    """
    likely = np.asarray(probabilities, dtype=np.float64)
    return generator.random((rounds, len(likely))) < likely


def pooled_shares(
    taken: np.ndarray, probabilities: ArrayLike | None = None
) -> np.ndarray:
    """Return the share that each distance gets when rounds are pooled.

    Args:
        taken: which distances took part, ``[rounds, distances]``.
        probabilities: what to divide by, ``[distances]``, for shares whose mean is 1;
            by default the rounds are pooled as they are.

    Returns:
        ``[distances]``.
    """
    likely = 1.0 if probabilities is None else np.asarray(probabilities, np.float64)
    return np.asarray(taken, dtype=np.float64).mean(axis=0) / likely


def staircase(taken: ArrayLike) -> np.ndarray:
    """Pack the key blocks that take part to the left, nearest first.

    Args:
        taken: which distances take part, ``[distances]``.

    Returns:
        Numbers of key blocks, ``[query blocks, distances that take part]``; -1 where a
        row has no more. Rows never get shorter: again the lower triangle, with fewer
        steps.
    """
    kept = np.flatnonzero(taken)
    blocks = np.arange(len(np.asarray(taken)))[:, None] - kept
    return np.where(blocks >= 0, blocks, -1)


def naive_parts_by_distance(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, *, block: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what each block distance adds to numerator and denominator, for one head.

    Args:
        query: ``[S, E]``.
        key: ``[S, E]``.
        value: ``[S, Ev]``.
        block: positions in a block.

    Returns:
        The numerators ``N`` ``[S, distances, Ev]`` and the denominators ``D``
        ``[S, distances]``, divided so that ``sum_d D_d = 1`` for each query.
    """
    length, blocks = len(query), -(-len(query) // block)
    numerators = np.zeros((length, blocks, value.shape[1]))
    denominators = np.zeros((length, blocks))
    for i in range(length):
        scores = key[: i + 1] @ query[i] / np.sqrt(query.shape[1])
        weights = np.exp(scores - scores.max())
        weights /= weights.sum()
        for j in range(i + 1):
            distance = i // block - j // block
            numerators[i, distance] += weights[j] * value[j]
            denominators[i, distance] += weights[j]
    return numerators, denominators


def combine(
    numerators: np.ndarray, denominators: np.ndarray, shares: np.ndarray
) -> np.ndarray:
    """Return the outputs ``[..., S, Ev]`` that shares ``[..., distances]`` give."""
    top: np.ndarray = np.tensordot(shares, numerators, axes=(-1, 1))
    return top / (shares @ denominators.T)[..., None]


def sampling_variance(
    numerators: np.ndarray, denominators: np.ndarray, probabilities: ArrayLike
) -> np.ndarray:
    """Return the variance of one weighted round, to first order.

    Args:
        numerators: ``[S, distances, Ev]``, of :func:`naive_parts_by_distance`.
        denominators: ``[S, distances]``.
        probabilities: ``[distances]``.

    Returns:
        ``[S]``: the expected squared distance from the exact output; ``R`` pooled
        rounds have an ``R``-th of it.
    """
    likely = np.asarray(probabilities, dtype=np.float64)
    exact = combine(numerators, denominators, np.ones(len(likely)))
    pulls = numerators - denominators[..., None] * exact[:, None]
    pulls /= denominators.sum(axis=1)[:, None, None]
    variance: np.ndarray = (pulls**2).sum(axis=2) @ ((1 - likely) / likely)
    return variance


def prflash_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    q_pos: Tensor | None = None,
    kv_pos: Tensor | None = None,
    return_lse: bool = False,
    shares: ArrayLike,
    block: int,
) -> Any:
    """Attend causally, each block distance with its share; share 0 costs nothing.

    Args:
        query: ``[B, H, L, E]``.
        key: ``[B, Hkv, S, E]``, where ``Hkv`` divides ``H``.
        value: ``[B, Hkv, S, Ev]``.
        q_pos: as in :func:`minitransformer.attention.core.attention`. With positions
            the blocks are those of the positions, and the whole matrix is computed.
        kv_pos: as there.
        return_lse: also return the logarithm of the sum of exponentials times shares.
        shares: ``[distances]``, at least 0, the first above 0: a draw of :func:`draw`,
            or :func:`pooled_shares` of several.
        block: positions in a block.

    Returns:
        The output ``[B, H, L, Ev]`` in the type of ``value``, and with ``return_lse``
        the ``lse`` ``[B, H, L]``, as in
        :func:`minitransformer.attention.core.attention`.

    Raises:
        ValueError: shapes do not fit, ``block`` is below 1, shares are negative, that
            of distance 0 is not positive, or there are fewer than distances.
    """
    check_shapes(query, key, value, q_pos, kv_pos)
    weight = torch.as_tensor(np.asarray(shares, dtype=np.float64), device=query.device)
    if block < 1:
        raise ValueError(f"block is {block}, needs at least 1")
    if (
        weight.ndim != 1
        or not len(weight)
        or not weight[0] > 0
        or bool((weight < 0).any())
    ):
        raise ValueError("shares need one axis, none below 0, and the first above 0")
    length, kv_length = query.shape[2], key.shape[2]
    last = kv_length if kv_pos is None else int(kv_pos.max()) + 1 if kv_length else 0
    if len(weight) * block < last:
        raise ValueError(
            f"shares has {len(weight)} distances, needs {-(-last // block)}"
        )
    if q_pos is not None:
        return _by_position(query, key, value, q_pos, kv_pos, return_lse, weight, block)
    short = max(length - kv_length, 0)  # queries before the first key
    out, lse = _by_block(query[:, :, short:], key, value, weight.log(), block)
    if short:
        none = out.new_zeros(*out.shape[:2], short, out.shape[3])
        out = torch.cat([none, out], dim=2)
        lse = torch.cat([lse.new_full((*lse.shape[:2], short), -torch.inf), lse], dim=2)
    return (out, lse) if return_lse else out


def _by_position(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    q_pos: Tensor | None,
    kv_pos: Tensor | None,
    return_lse: bool,
    weight: Tensor,
    block: int,
) -> Any:
    def distance(q_idx: Tensor, kv_idx: Tensor) -> Tensor:
        return (q_idx // block - kv_idx // block).clamp(0, len(weight) - 1)

    def bias(score: Tensor, b: Any, h: Any, q_idx: Tensor, kv_idx: Tensor) -> Tensor:
        share = weight[distance(q_idx, kv_idx)]
        return score + share.masked_fill(share == 0, 1.0).log().to(score.dtype)

    def mask(b: Any, h: Any, q_idx: Tensor, kv_idx: Tensor) -> Tensor:
        return (kv_idx <= q_idx) & (weight[distance(q_idx, kv_idx)] > 0)

    return attention(
        query,
        key,
        value,
        q_pos=q_pos,
        kv_pos=kv_pos,
        return_lse=return_lse,
        score_mod=bias,
        mask_mod=mask,
    )


def _by_block(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, block: int
) -> tuple[Tensor, Tensor]:
    """Run the recurrence of flash attention over the distances; no row may be empty."""
    length, (kv_heads, kv_length) = query.shape[2], key.shape[1:3]
    kind = torch.float64 if query.dtype == torch.float64 else torch.float32
    first = (kv_length - length) // block  # block of the first query
    before, after = (kv_length - length) % block, -kv_length % block
    q = torch.nn.functional.pad(query.to(kind), (0, 0, before, after))
    q = (
        q.unflatten(2, (-1, block)).unflatten(1, (kv_heads, -1))
        * query.shape[3] ** -0.5
    )
    k, v = (
        torch.nn.functional.pad(x.to(kind), (0, 0, 0, after))
        .unflatten(2, (-1, block))
        .unsqueeze(2)
        for x in (key, value)
    )
    count = q.shape[3]  # q is [B, Hkv, group, query blocks, block, E]
    causal = torch.ones(block, block, dtype=torch.bool, device=q.device).tril()
    at = torch.arange(k.shape[3] * block, device=q.device).view(-1, 1, block)
    m = q.new_full((*q.shape[:5],), -torch.inf)
    l, o = torch.zeros_like(m), q.new_zeros(*q.shape[:5], v.shape[-1])  # noqa: E741
    for d in torch.nonzero(bias > -torch.inf).flatten().tolist():
        start = max(0, d - first)  # query blocks that have a key block at this distance
        if start >= count:
            break
        blocks = slice(first + start - d, first + count - d)
        scores = q[..., start:, :, :] @ k[..., blocks, :, :].mT + bias[d].to(kind)
        if d == 0:
            scores = scores.masked_fill(
                ~(causal & (at[blocks] < kv_length)), -torch.inf
            )
        new = torch.maximum(m[..., start:, :], scores.amax(dim=-1))
        p, c = torch.exp(scores - new[..., None]), torch.exp(m[..., start:, :] - new)
        total = l[..., start:, :] * c + p.sum(dim=-1)
        pv = o[..., start:, :, :] * c[..., None] + p @ v[..., blocks, :, :]
        m = torch.cat([m[..., :start, :], new], dim=3)
        l = torch.cat([l[..., :start, :], total], dim=3)  # noqa: E741
        o = torch.cat([o[..., :start, :, :], pv], dim=3)
    out = (o / l[..., None]).flatten(3, 4).flatten(1, 2)[:, :, before : before + length]
    lse = (m + l.log()).flatten(3, 4).flatten(1, 2)[:, :, before : before + length]
    return out.to(value.dtype), lse
