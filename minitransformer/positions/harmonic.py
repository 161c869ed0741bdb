"""Rotary positions and a linear bias at once, with harmonic slopes.

Key 001c of the course, Fulu Li, arXiv 2410.18441: "factored combination of RoPE and
ALiBi with a harmonic series". Only the abstract says so; what follows is our reading::

    score_ij = (R_i q) . (R_j k) / sqrt(E)  -  m_h |i - j|        m_h = 1 / h, h = 1..H

The turn and the bias factor: ``exp(score)`` is the rotary weight times
``exp(-m_h d)``, a prior on the distance. ALiBi's slopes are a geometric series, here
they are the harmonic one. Two more readings are built to be compared: the harmonic
series over the *distance* as a factor, ``score / (1 + d)``, and as a sum, a penalty
``m_h (1 + 1/2 + ... + 1/d)``, which grows like the logarithm of the distance.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from minitransformer.positions.bias import alibi
from minitransformer.positions.rotary import with_rotary

ScoreMod = Callable[[Any, Any, Any, Any, Any], Any]


def harmonic_slopes(num_heads: int) -> Tensor:
    """Return ``1, 1/2, ..., 1/H``: ``[H]``, float64.

    Raises:
        ValueError: ``num_heads`` is below 1.
    """
    if num_heads < 1:
        raise ValueError(f"num_heads is {num_heads}, needs at least 1")
    return 1.0 / torch.arange(1, num_heads + 1, dtype=torch.float64)


def harmonic_factor(score: Any, b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
    """Divide a score by one more than the distance: a ``score_mod``.

    Far scores go to 0, not to minus infinity, so far keys are never forgotten.
    """
    return score / (1 + abs(q_idx - kv_idx))


def harmonic_sum(slopes: Any, *, max_distance: int = 4096) -> ScoreMod:
    """Lower scores by ``m_h (1 + 1/2 + ... + 1/d)``.

    Args:
        slopes: ``[H]``, array or tensor.
        max_distance: from which on the sum no longer grows.
    """
    steps = torch.arange(1, max_distance + 1, dtype=torch.float64)
    sums = torch.cat([torch.zeros(1, dtype=torch.float64), (1 / steps).cumsum(0)])

    def score_mod(score: Any, b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        distance = abs(q_idx - kv_idx).clip(0, max_distance)
        table = (
            sums.to(distance.device) if isinstance(distance, Tensor) else sums.numpy()
        )
        return score - slopes[h] * table[distance]

    return score_mod


def rotary_with_bias(
    attend: Callable[..., Any], freqs: Tensor, slopes: Tensor
) -> Callable[..., Any]:
    """Make an ``attend`` that turns queries and keys and lowers scores by distance.

    With slopes of zero it is RoPE, with frequencies of zero ALiBi.

    Args:
        attend: an ``attend`` that takes a ``score_mod``, such as ``attention``.
        freqs: see :func:`minitransformer.positions.rotary.rotate`.
        slopes: ``[H]``, such as :func:`harmonic_slopes`.
    """
    return with_rotary(partial(attend, score_mod=alibi(slopes)), freqs)
