"""From scores to weights, a row of scores at a time.

A normalizer is a function ``normalize(scores) -> weights`` along the last axis. A
score of -inf is a key that must not be seen: its weight is exactly 0, and a row of
nothing else gives zeros and zero gradients. ``n`` is the number of keys that may be
seen, ``[x]+`` is ``max(x, 0)``::

    softmax        exp(s) / sum exp(s)          sparsemax    [s - t]+, t: sum is 1
    softmax_one    exp(s) / (1 + sum exp(s))    entmax15     [s/2 - t]+^2, t: sum is 1
    sigmoid        1 / (1 + exp(log n - s))     top_k        softmax of the k greatest
    relu           [s]+ / n                     hard         1 at the greatest
    squared_relu   [s]+^2 / n                   gumbel       softmax of (s + noise) / T
    softplus       log(1 + exp(s)) / n          identity     s
    l1             s / sum |s|

Sources: sparsemax arXiv 1602.02068; entmax 1905.05702; softmax_one: E. Miller (2023),
"Attention is off by one"; sigmoid 2409.04431; relu 2309.08586; gumbel 1611.01144.
"""

import torch
from torch import Tensor


def _seen(scores: Tensor) -> Tensor:
    return ~torch.isneginf(scores)


def _count(scores: Tensor) -> Tensor:
    """Return how many keys each row may see, at least 1, ``[..., 1]``."""
    return _seen(scores).sum(dim=-1, keepdim=True).clamp_min(1).to(scores.dtype)


def softmax(scores: Tensor) -> Tensor:
    """Return ``exp(s)``, divided by its sum."""
    if scores.device.type == "cpu":  # where a look at the result costs next to nothing
        weights = torch.softmax(scores, dim=-1)
        if not weights[..., :1].isnan().any():
            return weights
    empty = torch.isneginf(scores).all(dim=-1, keepdim=True)
    return torch.softmax(scores.masked_fill(empty, 0.0), -1).masked_fill(empty, 0.0)


def softmax_one(scores: Tensor) -> Tensor:
    """Return ``exp(s) / (1 + sum exp(s))``: a row may attend to nothing at all."""
    nothing = torch.zeros_like(scores[..., :1])
    return torch.softmax(torch.cat([nothing, scores], dim=-1), dim=-1)[..., 1:]


def sigmoid(scores: Tensor) -> Tensor:
    """Return ``sigmoid(s - log n)``: each key is judged alone, and may weigh 1."""
    return torch.sigmoid(scores - _count(scores).log())


def relu(scores: Tensor) -> Tensor:
    """Return ``[s]+ / n``."""
    return torch.relu(scores) / _count(scores)


def squared_relu(scores: Tensor) -> Tensor:
    """Return ``[s]+^2 / n``."""
    return torch.relu(scores).square() / _count(scores)


def softplus(scores: Tensor) -> Tensor:
    """Return ``log(1 + exp(s)) / n``."""
    return torch.nn.functional.softplus(scores) / _count(scores)


def identity(scores: Tensor) -> Tensor:
    """Return the scores themselves: linear attention, weights of any sign and sum."""
    return scores.masked_fill(~_seen(scores), 0.0)


def l1(scores: Tensor) -> Tensor:
    """Return ``s / sum |s|``: weights may be negative; a row of zeros stays zero."""
    scores = identity(scores)
    total = scores.abs().sum(dim=-1, keepdim=True)
    return scores / total.masked_fill(total == 0, 1.0)


def sparsemax(scores: Tensor) -> Tensor:
    """Return the nearest point of the simplex: many weights are exactly 0.

    The threshold is that of the greatest support ``k`` with ``1 + k s_(k) > sum``.
    """
    if scores.shape[-1] == 0:
        return scores
    safe, empty, ordered, size = _in_order(scores)
    total = ordered.cumsum(dim=-1)
    support = (1 + size * ordered > total).sum(dim=-1, keepdim=True)
    threshold = (total.gather(-1, support - 1) - 1) / support
    return torch.relu(safe - threshold).masked_fill(empty, 0.0)


def entmax15(scores: Tensor) -> Tensor:
    """Return ``[s/2 - t]+^2``: between softmax and sparsemax.

    On a support of ``k`` with mean ``m`` and mean square ``q`` of ``s/2``, the weights
    sum to 1 for ``t = m - sqrt(1/k - (q - m^2))``; the support is the greatest whose
    least score is not below ``t``.
    """
    if scores.shape[-1] == 0:
        return scores
    safe, empty, ordered, size = _in_order(scores / 2)
    mean, square = ordered.cumsum(-1) / size, ordered.square().cumsum(-1) / size
    rest = 1 / size - (square - mean.square())
    threshold = mean - torch.where(rest > 0, rest, 1.0).sqrt() * (rest > 0)
    inside = (threshold <= ordered) & (ordered > -1)
    support = inside.sum(dim=-1, keepdim=True)
    weights = torch.relu(safe - threshold.gather(-1, support - 1)).square()
    return weights.masked_fill(empty, 0.0)


def top_k(scores: Tensor, *, k: int) -> Tensor:
    """Return the softmax of the ``k`` greatest scores; all others weigh 0.

    Of equal scores at the border, as many are kept as fit.

    Raises:
        ValueError: ``k`` is below 1.
    """
    if k < 1:
        raise ValueError(f"k is {k}, needs at least 1")
    best = scores.topk(min(k, scores.shape[-1]), dim=-1).indices
    chosen = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, best, True)
    return softmax(scores.masked_fill(~chosen, -torch.inf))


def hard(scores: Tensor) -> Tensor:
    """Return 1 at the greatest score, the first of equals; it has no gradient."""
    if scores.shape[-1] == 0:
        return scores
    chosen = torch.zeros_like(scores).scatter(-1, scores.argmax(-1, keepdim=True), 1.0)
    return chosen.masked_fill(~_seen(scores), 0.0)


def gumbel(
    scores: Tensor,
    *,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return ``softmax((s + g) / T)`` with Gumbel noise ``g``: nearly a random choice.

    As ``T`` goes to 0 it is one-hot, at each key as often as softmax weighs it.

    Args:
        scores: ``[..., S]``.
        temperature: ``T``, above 0.
        generator: where the noise comes from.

    Raises:
        ValueError: the temperature is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}, needs to be above 0")
    noise = -torch.empty_like(scores).exponential_(generator=generator).log()
    return softmax((scores + noise) / temperature)


def _in_order(scores: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Shift each row so that its greatest score is 0, and put it in order.

    Returns:
        The shifted scores; which rows are empty; the scores in falling order, those
        below -2 raised to it, for 1 below the greatest a weight is already 0; and how
        many there are up to each.
    """
    empty = torch.isneginf(scores).all(dim=-1, keepdim=True)
    safe = scores.masked_fill(empty, 0.0)
    safe = safe - safe.detach().amax(dim=-1, keepdim=True)
    ordered = safe.sort(dim=-1, descending=True).values.clamp_min(-2.0)
    size = torch.arange(1, safe.shape[-1] + 1, device=safe.device, dtype=safe.dtype)
    return safe, empty, ordered, size
