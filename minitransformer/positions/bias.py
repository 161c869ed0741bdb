"""Positions as numbers added to scores, by the distance of query and key.

Each is a ``score_mod(score, b, h, q_idx, kv_idx)``, for ``attention`` and for flex
attention; those that learn are modules. With ``d`` the distance::

    ALiBi    -m_h d                               m_h = 2^(-8 h / H), h = 1..H
    T5       table[bucket(d), h]                  near distances exact, far ones by log
    KERPLE   -r1_h log(1 + r2_h d)   or   -r1_h d^r2_h
    FIRE     mlp(psi(d) / psi(max(q, T)))_h       psi(x) = log(c x + 1)

Sources: ALiBi arXiv 2108.12409; T5 1910.10683; KERPLE 2205.09921; FIRE 2310.04418.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

ScoreMod = Callable[[Any, Any, Any, Any, Any], Any]


def alibi_slopes(num_heads: int) -> Tensor:
    """Return ALiBi's slopes, steepest first.

    For a power of two they are the paper's sequence. Between two powers, as in the
    paper's code, those of the lower power, then every other one of the higher.

    Returns:
        ``[H]``, float64.

    Raises:
        ValueError: ``num_heads`` is below 1.
    """
    if num_heads < 1:
        raise ValueError(f"num_heads is {num_heads}, needs at least 1")
    power = 2 ** math.floor(math.log2(num_heads))

    def sequence(heads: int) -> Tensor:
        return 2.0 ** (-8.0 / heads * torch.arange(1, heads + 1, dtype=torch.float64))

    extra = sequence(2 * power)[0::2][: num_heads - power]
    return torch.cat([sequence(power), extra])


def _check_heads(score: Any, heads: int) -> None:
    """Refuse whole tensors of scores ``[B, H, L, S]`` with another number of heads."""
    if getattr(score, "ndim", 0) == 4 and score.shape[1] != heads:
        raise ValueError(f"scores have {score.shape[1]} heads, the bias has {heads}")


def alibi(slopes: Any) -> ScoreMod:
    """Lower scores in proportion to the distance.

    Args:
        slopes: ``[H]``, such as :func:`alibi_slopes`; array or tensor.

    Raises:
        ValueError: when called, the scores have another number of heads.
    """

    def score_mod(score: Any, b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        _check_heads(score, len(slopes))
        return score - slopes[h] * abs(q_idx - kv_idx)

    return score_mod


def t5_bucket(
    gap: Tensor,
    *,
    num_buckets: int = 32,
    max_distance: int = 128,
    bidirectional: bool = False,
) -> Tensor:
    """Return the bucket that T5 puts a distance into.

    Half of the buckets are for one distance each; the others grow with the logarithm up
    to ``max_distance``, and all that is farther shares the last one.

    Args:
        gap: whole numbers, any shape: the position of the key minus the query's.
        num_buckets: how many buckets there are.
        max_distance: from which on there is one bucket.
        bidirectional: half of the buckets are for keys after the query; else those all
            fall into bucket 0.

    Returns:
        Whole numbers in the shape of ``gap``.

    Raises:
        ValueError: there are too few buckets for the distance.
    """
    sides = 2 if bidirectional else 1
    per_side = num_buckets // sides
    exact = per_side // 2
    if exact < 1 or max_distance <= exact:
        raise ValueError(
            f"num_buckets is {num_buckets} and max_distance {max_distance}: "
            f"needs at least {2 * sides} buckets and a distance above {exact}"
        )
    behind = gap > 0
    distance = gap.abs() if bidirectional else (-gap).clamp_min(0)
    spread = torch.log(distance.clamp_min(1).double() / exact)
    far = exact + (spread / math.log(max_distance / exact) * (per_side - exact)).long()
    bucket = torch.where(distance < exact, distance, far.clamp_max(per_side - 1))
    return bucket + per_side * behind if bidirectional else bucket


class T5Bias(nn.Module):
    """A learned number for each bucket of distances and each head."""

    def __init__(
        self,
        num_heads: int,
        *,
        num_buckets: int = 32,
        max_distance: int = 128,
        bidirectional: bool = False,
    ) -> None:
        """Start with zeros: no position at all.

        Args:
            num_heads: heads, ``H``.
            num_buckets: see :func:`t5_bucket`.
            max_distance: see :func:`t5_bucket`.
            bidirectional: see :func:`t5_bucket`.
        """
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_buckets, num_heads))
        self.max_distance, self.bidirectional = max_distance, bidirectional

    def forward(self, score: Any, b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        """Add the number of the distance: a ``score_mod``."""
        _check_heads(score, self.weight.shape[1])
        bucket = t5_bucket(
            kv_idx - q_idx,
            num_buckets=len(self.weight),
            max_distance=self.max_distance,
            bidirectional=self.bidirectional,
        )
        return score + self.weight[bucket, h]


class Kerple(nn.Module):
    """A learned kernel of the distance: logarithmic, or a power."""

    def __init__(self, num_heads: int, *, kind: str = "log") -> None:
        """Start with ``r1 = r2 = 1`` for the logarithm, with 1/2 for the power.

        Args:
            num_heads: heads, ``H``.
            kind: "log" or "power".

        Raises:
            ValueError: the kind is unknown.
        """
        super().__init__()
        if kind not in ("log", "power"):
            raise ValueError(f"kind is {kind!r}, needs 'log' or 'power'")
        self.kind = kind
        start = 1.0 if kind == "log" else 0.5
        self.r1 = nn.Parameter(torch.full((num_heads,), start))
        self.r2 = nn.Parameter(torch.full((num_heads,), start))

    def forward(self, score: Any, b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        """Lower the score by the kernel: a ``score_mod``.

        ``r1`` is kept above 0, and the exponent within 0 and 2, where it is a kernel.
        """
        _check_heads(score, len(self.r1))
        distance, r1 = abs(q_idx - kv_idx), self.r1[h].clamp_min(1e-6)
        if self.kind == "log":
            return score - r1 * torch.log1p(self.r2[h].clamp_min(1e-6) * distance)
        exponent = self.r2[h].clamp(1e-6, 2.0)
        # The derivative of 0^r by r is undefined: a distance of 0 stays 0.
        power = distance.clamp_min(1) ** exponent
        return score - r1 * power * (distance > 0)


class Fire(nn.Module):
    """A learned function of the distance, relative to how far the query could look.

    The distance is divided by the query's own position, so that what the function sees
    stays within 0 and 1 at any length.
    """

    def __init__(
        self, num_heads: int, *, hidden: int = 32, threshold: float = 64.0
    ) -> None:
        """Start with a small random function.

        Args:
            num_heads: heads, ``H``.
            hidden: width of the function.
            threshold: positions up to which the divisor stays the same; it trains.
        """
        super().__init__()
        self.w1 = nn.Parameter(torch.randn(hidden))
        self.b1 = nn.Parameter(torch.zeros(hidden))
        self.w2 = nn.Parameter(torch.randn(num_heads, hidden) * hidden**-0.5)
        self.c = nn.Parameter(torch.tensor(0.1))
        self.threshold = nn.Parameter(torch.tensor(threshold))

    def forward(self, score: Any, b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        """Add the function of the relative distance: a ``score_mod``."""
        _check_heads(score, len(self.w2))
        slow, last = self.c.abs(), torch.maximum(q_idx, self.threshold.abs() + 1e-6)
        relative = torch.log1p(slow * abs(q_idx - kv_idx)) / torch.log1p(slow * last)
        units = torch.relu(relative.unsqueeze(-1) * self.w1 + self.b1)
        return score + (units * self.w2[h]).sum(dim=-1)
