"""Attention in short numbers: every operation rounded, with and without blocks.

Let ``r`` round to a format. The baseline holds the whole row of scores::

    S = r(r(q k^T) s)    P = r(exp(r(S - max S)))    l = r(sum P)    O = r(r(P / l) v)

Flash attention goes through blocks ``j`` of the keys, with a running state m, l, O::

    m' = max(m, max S_j)     c = r(exp(r(m - m')))      P_j = r(exp(r(S_j - m')))
    l <- r(r(l c) + r(sum P_j))    O <- r(r(O c) + r(P_j v_j))      at the end r(O / l)

Both are softmax attention if nothing is rounded. :class:`Precision` says where which
format is used; sums and dot products are accumulated exactly and rounded once.

``beta`` switches on the shift of Qiu & Yao. If several scores of a row of a block come
within ``1e-3`` of its maximum ``r``, then ``P`` would be 1 for each of them, and sums
of like values end halfway between two short numbers, where the small rest always
decides the same way. So ``beta r`` takes the place of a maximum ``r > 0``, and 0 that
of ``r < 0``; exact arithmetic does not notice. A maximum of 0 stays, as in the authors'
code.

Sources: Golden et al., "Is Flash Attention Stable?", arXiv 2405.02803, whose code is
not public: where it rounds is inferred from its abstract. Qiu & Yao, "Why Low-Precision
Transformer Training Fails", arXiv 2510.04212: the shift, as in the authors' code.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from minitransformer.attention.core import check_shapes
from minitransformer.flash.rounding import FORMATS, round_to

TOLERANCE = 1e-3
"""How near to its row's maximum a score counts as tied with it."""


@dataclass(frozen=True)
class Precision:
    """Which format each part of attention is kept in.

    Attributes:
        scores: scores and their exponentials.
        weights: the exponentials, or in the baseline the weights, as factors of ``v``.
        state: sums and running state ``m``, ``l``, ``O``.
        out: the result.
    """

    scores: str
    weights: str
    state: str
    out: str

    def __post_init__(self) -> None:
        """Refuse names of no format."""
        for name, fmt in vars(self).items():
            if fmt != "fp64" and fmt not in FORMATS:
                wanted = ", ".join(("fp64", *FORMATS))
                raise ValueError(f"{name} is {fmt!r}, needs one of {wanted}")

    @classmethod
    def everywhere(cls, fmt: str) -> "Precision":
        """Round after every operation to the one format."""
        return cls(fmt, fmt, fmt, fmt)

    @classmethod
    def kernel(cls, fmt: str) -> "Precision":
        """Round as kernels on GPUs do: short factors and result, the rest ``fp32``."""
        return cls("fp32", fmt, "fp32", fmt)


class Deviation(NamedTuple):
    """How far numbers are from others: greatest and mean absolute difference."""

    max: float
    mean: float


class WeightDeviation(NamedTuple):
    """How far two sets of weights are apart.

    ``max`` and ``mean`` are of the absolute differences, weight by weight;
    ``wasserstein`` is the mean absolute difference of the *sorted* weights of each
    tensor, the least mean distance by which one set's values can be moved to the
    other's. It is never above ``mean``.
    """

    max: float
    mean: float
    wasserstein: float


def deviation(got: np.ndarray, exact: np.ndarray) -> Deviation:
    """Return how far numbers are from the exact ones, of the same shape.

    Raises:
        ValueError: shapes differ, or there are no numbers.
    """
    if got.shape != exact.shape or not got.size:
        raise ValueError(f"got has shape {got.shape}, exact has {exact.shape}")
    apart = np.abs(np.asarray(got, np.float64) - np.asarray(exact, np.float64))
    return Deviation(float(apart.max()), float(apart.mean()))


def weight_deviation(
    first: Sequence[np.ndarray], second: Sequence[np.ndarray]
) -> WeightDeviation:
    """Compare the weights of two models, tensor by tensor.

    Args:
        first: the tensors of one model.
        second: those of the other, in the same order and shapes.

    Returns:
        The three measures over all weights together.

    Raises:
        ValueError: numbers or shapes of tensors differ, or there are none.
    """
    shapes = [[np.shape(x) for x in weights] for weights in (first, second)]
    if shapes[0] != shapes[1] or not shapes[0]:
        raise ValueError(f"second has shapes {shapes[1]}, first has {shapes[0]}")
    flat = [[np.ravel(x).astype(np.float64) for x in w] for w in (first, second)]
    apart = np.concatenate([np.abs(a - b) for a, b in zip(*flat, strict=True)])
    moved = [np.abs(np.sort(a) - np.sort(b)) for a, b in zip(*flat, strict=True)]
    wasserstein = float(np.concatenate(moved).mean())
    return WeightDeviation(float(apart.max()), float(apart.mean()), wasserstein)


def naive_shift(scores: np.ndarray, beta: float | None) -> float:
    """Return what is taken off a row of scores ``[S]`` before the exponential.

    The row's maximum; with ``beta`` what takes its place if several scores are tied.
    """
    top = float(scores.max())
    if beta is None or np.sum(scores >= top - TOLERANCE) == 1:
        return top
    return beta * top if top > 0 else 0.0


def naive_rounded_attention(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    *,
    precision: Precision,
    block: int | None = None,
    beta: float | None = None,
) -> np.ndarray:
    """Compute one head of rounded attention as defined, one query at a time.

    Args:
        query: ``[L, E]``.
        key: ``[S, E]``.
        value: ``[S, Ev]``.
        precision: see :class:`Precision`.
        block: keys in a block; None is the baseline.
        beta: see :func:`rounded_attention`.

    Returns:
        The output ``[L, Ev]``.
    """
    scale, out = query.shape[1] ** -0.5, np.zeros((len(query), value.shape[1]))

    def r(x: Any, part: str) -> Any:
        return round_to(x, getattr(precision, part))

    for i, one in enumerate(query):
        scores = r(r(key @ one, "scores") * scale, "scores")
        if block is None:
            p = r(np.exp(r(scores - naive_shift(scores, beta), "scores")), "scores")
            weights = r(r(p / r(p.sum(), "state"), "scores"), "weights")
            out[i] = r(weights @ value, "out")
            continue
        m, l, o = -np.inf, 0.0, np.zeros(value.shape[1])  # noqa: E741
        for start in range(0, len(key), block):
            part = scores[start : start + block]
            new = max(m, float(r(naive_shift(part, beta), "state")))
            c = r(np.exp(r(m - new, "state")), "state")
            p = r(np.exp(r(part - new, "scores")), "scores")
            l = r(r(l * c, "state") + r(p.sum(), "state"), "state")  # noqa: E741
            pv = r(p, "weights") @ value[start : start + block]
            o = r(r(o * c, "state") + r(pv, "state"), "state")
            m = new
        out[i] = r(o / l, "out")
    return out


class _Round(torch.autograd.Function):
    """Round forward; pass the derivative straight through."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, fmt: str) -> Tensor:
        return torch.from_numpy(round_to(x.detach().cpu().numpy(), fmt)).to(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0], None


def round_straight_through(x: Tensor, fmt: str) -> Tensor:
    """Round a float64 tensor; the derivative is that of no rounding at all.

    Raises:
        ValueError: no format has this name.
    """
    return x if fmt == "fp64" else _Round.apply(x, fmt)


def rounded_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    q_pos: Tensor | None = None,
    kv_pos: Tensor | None = None,
    return_lse: bool = False,
    precision: Precision,
    block: int | None = None,
    beta: float | None = None,
    mask_mod: Callable[[Any, Any, Any, Any], Any] | None = None,
) -> Any:
    """Attend with every operation rounded: emulated, in float64, on the CPU.

    Args:
        query: ``[B, H, L, E]``.
        key: ``[B, Hkv, S, E]``, where ``Hkv`` divides ``H``.
        value: ``[B, Hkv, S, Ev]``.
        q_pos: as in :func:`minitransformer.attention.core.attention`.
        kv_pos: as there.
        return_lse: also return the logarithm of the sum of exponentials, not rounded.
        precision: which format is used where.
        block: keys in a block of flash attention; None is the baseline.
        beta: factor of a row's maximum where several scores reach it, more than 1; by
            default the maximum itself is subtracted, tied or not.
        mask_mod: says which keys a query may see.

    Returns:
        The output ``[B, H, L, Ev]`` in the type of ``value``, and with ``return_lse``
        the ``lse`` ``[B, H, L]``, as in
        :func:`minitransformer.attention.core.attention`. Derivatives are those of the
        operations, taken at the rounded numbers.

    Raises:
        ValueError: shapes do not fit, ``block`` is below 1, or ``beta`` not above 1.
    """
    check_shapes(query, key, value, q_pos, kv_pos)
    if block is not None and block < 1:
        raise ValueError(f"block is {block}, needs at least 1")
    if beta is not None and not beta > 1:
        raise ValueError(f"beta is {beta}, needs more than 1")

    def r(x: Tensor, part: str) -> Tensor:
        return round_straight_through(x, getattr(precision, part))

    groups, length = query.shape[1] // key.shape[1], key.shape[2]
    keys, values = (x.double().repeat_interleave(groups, 1) for x in (key, value))
    scores = r(query.double() @ keys.mT, "scores")
    scores = r(scores * query.shape[3] ** -0.5, "scores")
    seen = _seen(query, key, q_pos, kv_pos, mask_mod)
    if seen is not None:
        scores = scores.masked_fill(~seen, -torch.inf)
    m = torch.full((*scores.shape[:3], 1), -torch.inf, dtype=torch.float64)
    l = torch.zeros_like(m)  # noqa: E741
    o = torch.zeros((*scores.shape[:3], value.shape[3]), dtype=torch.float64)
    size = length if block is None else block
    for start in range(0, length, max(size, 1)):
        part, v = (
            scores[..., start : start + size],
            values[:, :, start : start + size],
        )
        new = torch.maximum(m, r(shift(part.detach(), beta), "state"))
        safe = new.masked_fill(torch.isneginf(new), 0.0)  # nothing seen so far
        p = r(torch.exp(r(part - safe, "scores")), "scores")
        total = r(p.sum(dim=-1, keepdim=True), "state")
        if block is None:
            some = total.masked_fill(total == 0, 1.0)
            o, l = r(r(p / some, "scores"), "weights") @ v, total  # noqa: E741
        else:
            c = r(torch.exp(r(m - safe, "state")), "state")
            l = r(r(l * c, "state") + total, "state")  # noqa: E741
            o = r(r(o * c, "state") + r(r(p, "weights") @ v, "state"), "state")
        m = new
    if block is not None:
        o = o / l.masked_fill(torch.isneginf(m), 1.0)
    out = r(o, "out").to(value.dtype)
    lse = (m + torch.log(l)).squeeze(-1)
    kind = torch.float64 if query.dtype == torch.float64 else torch.float32
    return (out, lse.to(kind)) if return_lse else out


def shift(scores: Tensor, beta: float | None) -> Tensor:
    """Return what is taken off rows of scores ``[..., S]`` before the exponential.

    Args:
        scores: rows of scores; -inf is what must not be seen.
        beta: see :func:`rounded_attention`.

    Returns:
        ``[..., 1]``: each row's maximum, or what takes its place.
    """
    top = scores.amax(dim=-1, keepdim=True)
    if beta is None:
        return top
    tied = (scores >= top - TOLERANCE).sum(dim=-1, keepdim=True) > 1
    other = torch.where(top > 0, beta * top, torch.zeros_like(top))
    return torch.where(tied & top.isfinite(), other, top)


def _seen(
    query: Tensor,
    key: Tensor,
    q_pos: Tensor | None,
    kv_pos: Tensor | None,
    mask_mod: Callable[[Any, Any, Any, Any], Any] | None,
) -> Tensor | None:
    (batch, heads, length), kv_length = query.shape[:3], key.shape[2]
    if q_pos is None or kv_pos is None:
        q_idx = torch.arange(kv_length - length, kv_length).view(-1, 1)
        kv_idx = torch.arange(kv_length)
        seen = None
    else:
        q_idx = q_pos.unsqueeze(-1) if q_pos.ndim == 1 else q_pos[:, None, :, None]
        kv_idx = kv_pos if kv_pos.ndim == 1 else kv_pos[:, None, None, :]
        seen = (q_idx >= 0) & (kv_idx >= 0)
    if mask_mod is not None:
        b, h = torch.arange(batch).view(-1, 1, 1, 1), torch.arange(heads).view(-1, 1, 1)
        allowed = mask_mod(b, h, q_idx, kv_idx)
        seen = allowed if seen is None else seen & allowed
    return seen
