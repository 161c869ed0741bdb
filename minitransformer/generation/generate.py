"""Write on, token by token.

The prompt goes through the model once and fills the caches; then each new token is the
only one that goes through, and looks at what is cached. The result is that of running
the model on the whole text every time.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from minitransformer.caches.dense import DenseCache


def greedy(logits: Tensor) -> Tensor:
    """Choose the best id of each row ``[B, vocab_size]``: ``[B]``."""
    return logits.argmax(dim=-1)


@torch.no_grad()
def generate(
    model: Callable[..., Tensor],
    ids: Tensor,
    *,
    max_new_tokens: int,
    num_layers: int,
    choose: Callable[[Tensor], Tensor] = greedy,
    make_cache: Callable[[], Any] = DenseCache,
) -> Iterator[Tensor]:
    """Yield new ids, one for each sequence at a time.

    Args:
        model: ``model(ids, *, pos, caches) -> logits``, such as ``Decoder``.
        ids: the prompt, ``[B, L]``.
        max_new_tokens: how many to write.
        num_layers: how many caches the model wants.
        choose: from the last scores ``[B, vocab_size]`` to ids ``[B]``.
        make_cache: makes the cache of one layer.

    Raises:
        ValueError: the prompt is empty.
    """
    if ids.ndim != 2 or ids.shape[1] == 0:
        raise ValueError(
            f"ids has shape {tuple(ids.shape)}, needs (B, L) with L above 0"
        )
    caches: Sequence[Any] = [make_cache() for _ in range(num_layers)]
    pos = torch.arange(ids.shape[1], device=ids.device)
    for _ in range(max_new_tokens):
        logits = model(ids, pos=pos, caches=caches)
        ids = choose(logits[:, -1]).unsqueeze(1)
        pos = pos[-1:] + 1
        yield ids[:, 0]
