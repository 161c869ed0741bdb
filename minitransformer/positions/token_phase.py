"""Token-aware phase attention (TAPA): how fast a score turns with distance is learned.

Queries and keys are cut in two parts. The amplitudes ``A``, a share ``theta`` of the
numbers, say how much; the phases ``P`` say how the score swings with the distance::

    s_ij = amplitude * cos(2 pi |i - j|^alpha phase)
    amplitude = (q_A . k_A) / sqrt(theta E)    phase = (q_P . k_P) / sqrt((1 - theta) E)

No parameter is added. For random queries and keys the mean of RoPE's score changes with
the distance whatever the text says, a bias; that of TAPA goes to zero, while its spread
stays.

Source: arXiv 2509.12635, equations 12 to 15, ``alpha = 0.1`` and ``theta = 0.5``.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor


def naive_score(
    query: np.ndarray,
    key: np.ndarray,
    distance: int,
    *,
    alpha: float = 0.1,
    theta: float = 0.5,
) -> float:
    """Return the score of one query and one key ``[E]``, as it is defined."""
    cut = round(theta * len(query))
    amplitude = query[:cut] @ key[:cut] / math.sqrt(cut)
    if cut == len(query):
        return float(amplitude)
    phase = query[cut:] @ key[cut:] / math.sqrt(len(query) - cut)
    return float(amplitude * math.cos(2 * math.pi * distance**alpha * phase))


def with_token_phase(
    attend: Callable[..., Any], *, alpha: float = 0.1, theta: float = 0.5
) -> Callable[..., Any]:
    """Make an ``attend`` whose scores swing with the distance as the tokens say.

    Args:
        attend: an ``attend`` that hands whole tensors of scores to a ``score_mod``, as
            ``attention`` does; what is bound to it, such as a mask, stays.
        alpha: how the phase grows with the distance, above 0.
        theta: the share of the amplitudes, above 0 and at most 1; 1 is no position.

    Raises:
        ValueError: ``alpha`` or ``theta`` is out of range; when called, no number is
            left for the amplitudes.
    """
    if not alpha > 0:
        raise ValueError(f"alpha is {alpha}, needs to be above 0")
    if not 0 < theta <= 1:
        raise ValueError(f"theta is {theta}, needs a number above 0 and at most 1")

    def swinging(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Any:
        size = query.shape[-1]
        cut = round(theta * size)
        if cut == 0:
            raise ValueError(
                f"theta is {theta}: none of {size} numbers is an amplitude"
            )
        if cut == size:
            return attend(query, key, value, **options)
        shared = key[..., cut:].repeat_interleave(query.shape[1] // key.shape[1], dim=1)
        phase = query[..., cut:] @ shared.mT * (size - cut) ** -0.5

        def swing(score: Any, b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
            distance = (q_idx - kv_idx).abs().to(score.dtype)
            return score * torch.cos(2 * math.pi * distance**alpha * phase)

        amplitudes = query[..., :cut], key[..., :cut]
        return attend(*amplitudes, value, score_mod=swing, **options)

    return swinging
