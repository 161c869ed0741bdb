"""Choose the next token by chance: filters that change scores, and a draw.

Scores ``z`` (logits) of ``V`` ids become probabilities ``p_i = exp(z_i) / sum_j
exp(z_j)``. A filter takes scores and returns scores, so filters go one into the other;
what must not be drawn gets the score ``-inf``::

    temperature  z_i / T                             T -> 0: only the greatest are left
    top-k        the k greatest z_i
    top-p        the fewest, greatest first, whose p_i reach p in sum
    min-p        those with p_i >= m max_j p_j
    repetition   z_i / c if z_i > 0, else z_i c      for ids i that have come before

The order matters: top-p after a temperature is not top-p before it. Temperature keeps
the order of scores, so it may change places with top-k.

Where scores tie at the border, the smaller id stays. The repetition penalty of the CTRL
paper divides whatever the sign, which makes a token with a negative score more likely;
here, as in the ``transformers`` package, that one is multiplied. Either way it depends
on where the zero of the scores lies, which softmax does not.

Sources: top-k, Fan et al., arXiv 1805.04833; top-p (nucleus), Holtzman et al.,
1904.09751; min-p, Nguyen et al., 2407.01082; repetition, Keskar et al. (CTRL),
1909.05858.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Filter = Callable[[Tensor], Tensor]
"""``filter(logits) -> logits``, both ``[..., V]``."""


def naive_softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities ``[V]`` of scores ``[V]``."""
    weights = np.exp(np.asarray(logits, dtype=np.float64) - np.max(logits))
    return weights / weights.sum()


def _naive_order(logits: np.ndarray) -> list[int]:
    """Return the ids, greatest score first, the smaller id first where scores tie."""
    return sorted(range(len(logits)), key=lambda i: (-logits[i], i))


def _naive_keep(logits: np.ndarray, kept: list[int]) -> np.ndarray:
    out = np.full(len(logits), -np.inf)
    for i in kept:
        out[i] = logits[i]
    return out


def naive_top_k(logits: np.ndarray, k: int) -> np.ndarray:
    """Keep the ``k`` greatest of scores ``[V]``."""
    return _naive_keep(logits, _naive_order(logits)[:k])


def naive_top_p(logits: np.ndarray, p: float) -> np.ndarray:
    """Keep the fewest of scores ``[V]`` that have probability ``p`` together."""
    probabilities, kept, total = naive_softmax(logits), [], 0.0
    for i in _naive_order(logits):
        kept.append(i)
        total += probabilities[i]
        if total >= p:
            break
    return _naive_keep(logits, kept)


def naive_min_p(logits: np.ndarray, share: float) -> np.ndarray:
    """Keep those of scores ``[V]`` with ``share`` of the greatest probability."""
    probabilities = naive_softmax(logits)
    least = share * max(probabilities)
    return _naive_keep(logits, [i for i, q in enumerate(probabilities) if q >= least])


def naive_repetition_penalty(
    logits: np.ndarray, ids: np.ndarray, penalty: float
) -> np.ndarray:
    """Lower the scores ``[V]`` of the ids that are in the text ``[T]``."""
    out = np.array(logits, dtype=np.float64)
    for i in {int(i) for i in ids if i >= 0}:
        out[i] = out[i] / penalty if out[i] > 0 else out[i] * penalty
    return out


def temperature(logits: Tensor, degree: float) -> Tensor:
    """Divide scores by ``degree``: below 1 the likely get likelier, above 1 less so.

    With 0, the limit: of each row ``[..., V]`` only the greatest are left.

    Raises:
        ValueError: ``degree`` is negative or not finite.
    """
    if not 0 <= degree < math.inf:
        raise ValueError(f"degree is {degree}, needs a number from 0")
    if degree == 0:
        best = logits.amax(dim=-1, keepdim=True)
        return logits.masked_fill(logits < best, -torch.inf)
    return logits / degree


def top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the ``k`` greatest scores of each row ``[..., V]``.

    Raises:
        ValueError: ``k`` is below 1.
    """
    if k < 1:
        raise ValueError(f"k is {k}, needs at least 1")
    if k >= logits.shape[-1]:
        return logits
    border = logits.topk(k, dim=-1).values[..., -1:]
    above, ties = logits > border, logits == border
    left = k - above.sum(dim=-1, keepdim=True)
    kept = above | (ties & (ties.cumsum(dim=-1) <= left))
    return logits.masked_fill(~kept, -torch.inf)


def top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the fewest ids of each row ``[..., V]`` that have probability ``p`` in sum.

    Done again on its own result it may keep fewer: what is left weighs more.

    Raises:
        ValueError: ``p`` is not above 0 and at most 1.
    """
    if not 0 < p <= 1:
        raise ValueError(f"p is {p}, needs a number above 0, at most 1")
    if p == 1:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    probabilities = softmax(ordered)
    before = probabilities.cumsum(dim=-1) - probabilities
    kept = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before < p)
    return logits.masked_fill(~kept, -torch.inf)


def min_p(logits: Tensor, share: float) -> Tensor:
    """Keep the ids of each row ``[..., V]`` with ``share`` of the best's probability.

    Raises:
        ValueError: ``share`` is not within 0 and 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}, needs a number from 0 to 1")
    if share == 0:
        return logits
    border = logits.amax(dim=-1, keepdim=True) + math.log(share)
    return logits.masked_fill(logits < border, -torch.inf)


def repetition_penalty(logits: Tensor, ids: Tensor, penalty: float) -> Tensor:
    """Lower the scores of ids that have come before.

    Args:
        logits: ``[B, V]``.
        ids: the text so far, ``[B, T]``; -1 marks an empty slot.
        penalty: 1 changes nothing, above 1 lowers.

    Raises:
        ValueError: ``penalty`` is not above 0.
    """
    if not penalty > 0:
        raise ValueError(f"penalty is {penalty}, needs a number above 0")
    came = torch.zeros(
        (len(logits), logits.shape[-1] + 1), dtype=torch.bool, device=logits.device
    )
    came = came.scatter(1, ids.where(ids >= 0, logits.shape[-1]), True)[:, :-1]
    lowered = torch.where(logits > 0, logits / penalty, logits * penalty)
    return torch.where(came, lowered, logits)


def softmax(logits: Tensor) -> Tensor:
    """Return the probabilities of scores ``[..., V]``, at least in float32."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=-1)


def draw(probabilities: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw one id from each row of probabilities.

    Args:
        probabilities: ``[..., V]``.
        generator: on the same device; by default torch's own.

    Returns:
        ``[...]``, whole numbers.
    """
    rows = probabilities.reshape(-1, probabilities.shape[-1])
    ids = torch.multinomial(rows, 1, generator=generator)
    return ids.view(probabilities.shape[:-1])


def sample(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw an id from each row of scores ``[..., V]``: ``[...]``.

    Args:
        logits: scores; -inf is never drawn.
        generator: on the same device; by default torch's own.

    Raises:
        ValueError: a row has no finite score, or one that is no number (on a GPU its
            own error).
    """
    probabilities = softmax(logits)
    if logits.device.type == "cpu" and bool(probabilities.isnan().any()):
        raise ValueError("logits has a row of -inf alone, or a score that is no number")
    return draw(probabilities, generator)


def sampler(
    *filters: Filter, generator: torch.Generator | None = None
) -> Callable[[Tensor], Tensor]:
    """Make a function that filters, in this order, and then draws.

    ``sampler(partial(temperature, degree=0.8), partial(top_p, p=0.9), generator=g)`` is
    what :func:`~minitransformer.generation.generate.generate` takes as ``choose``.
    """

    def choose(logits: Tensor) -> Tensor:
        for each in filters:
            logits = each(logits)
        return sample(logits, generator)

    return choose
