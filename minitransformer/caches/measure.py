"""What a cache costs and what it spoils: bytes, and nats on a text.

A model reads a text piece by piece, each piece through its caches, and says what it
would have said while writing. Caches are empty at the start of each text.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


@torch.no_grad()
def streamed_losses(
    model: Callable[..., Tensor], ids: Tensor, caches: Sequence[Any], *, step: int = 1
) -> Tensor:
    """Return the loss of every id after the first, read through caches.

    Args:
        model: ``model(ids, *, pos, caches) -> logits``, such as ``Decoder``.
        ids: ``[B, L]``, ``L`` at least 2.
        caches: an empty one for each layer.
        step: ids in a call. Caches of which each token sees another part (windows,
            sinks, evicting) want 1; quantized ones a divisor of their residual; others
            give the same with any.

    Returns:
        ``[B, L - 1]``, in nats.

    Raises:
        ValueError: there are fewer than two ids, or ``step`` is below 1.
    """
    if ids.ndim != 2 or ids.shape[1] < 2:
        raise ValueError(f"ids has shape {tuple(ids.shape)}, needs (B, L), L above 1")
    if step < 1:
        raise ValueError(f"step is {step}, needs at least 1")
    pos, losses = torch.arange(ids.shape[1] - 1, device=ids.device), []
    for at in pos.split(step):
        logits = model(ids[:, at], pos=at, caches=caches).float()
        chosen = logits.gather(2, ids[:, at + 1].unsqueeze(2)).squeeze(2)
        losses.append(logits.logsumexp(dim=2) - chosen)
    return torch.cat(losses, dim=1)


def total_bytes(caches: Sequence[Any]) -> int:
    """Return the bytes of all caches of a model."""
    return sum(int(cache.num_bytes()) for cache in caches)
