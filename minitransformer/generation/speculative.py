"""Let a small model guess ahead, and a large one check all guesses in one call.

A draft with distribution ``q`` proposes ``gamma`` tokens, one after the other. The
target, with distribution ``p``, reads them all at once. Guess ``x`` is accepted with

    min(1, p(x) / q(x))

At the first that is not, the next token is drawn from what ``q`` has too little of,

    r(x) = max(p(x) - q(x), 0) / sum_y max(p(y) - q(y), 0)

and if all are accepted, one more is drawn from the target. Whatever the draft, the text
has the target's distribution::

    q(x) min(1, p(x)/q(x))  +  P(refused) r(x)  =  min(p, q)  +  max(p - q, 0)  =  p(x)

A guess is accepted with probability ``sum_x min(p, q) = 1 - TV(p, q)``; TV is the total
variation distance, half the sum of ``|p - q|``. If that is ``a`` at every place, a call
of the target yields ``(1 - a^(gamma + 1)) / (1 - a)`` tokens in the mean.

Source: Leviathan et al., arXiv 2211.17192; at the same time Chen et al., 2302.01318.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minitransformer.caches.dense import DenseCache
from minitransformer.generation.generate import check_prompt, layers_of
from minitransformer.generation.sample import draw, softmax

Model = Callable[..., Tensor]
"""``model(ids, *, pos, caches) -> logits``."""


def naive_verify(
    guesses: Sequence[int],
    q: np.ndarray,
    p: np.ndarray,
    uniforms: Sequence[float],
) -> tuple[int, np.ndarray]:
    """Check guesses one by one, as it is defined.

    Args:
        guesses: ids, ``gamma`` of them.
        q: the draft's distribution before each guess, ``[gamma, V]``.
        p: the target's, before each guess and after the last, ``[gamma + 1, V]``.
        uniforms: one number from 0 to 1 for each guess.

    Returns:
        How many are accepted, and the distribution ``[V]`` of the token after those.
    """
    for place, (guess, u) in enumerate(zip(guesses, uniforms, strict=True)):
        if u * q[place, guess] >= p[place, guess]:
            lacking = np.maximum(p[place] - q[place], 0.0)
            return place, lacking / lacking.sum()
    return len(guesses), p[len(guesses)]


def expected_tokens(acceptance: float, gamma: int) -> float:
    """Return the mean of the tokens that a call of the target yields.

    Args:
        acceptance: the probability that a guess is accepted, the same at every place.
        gamma: guesses a call.

    Raises:
        ValueError: ``acceptance`` is not within 0 and 1.
    """
    if not 0 <= acceptance <= 1:
        raise ValueError(f"acceptance is {acceptance}, needs a number from 0 to 1")
    return float(sum(acceptance**k for k in range(gamma + 1)))


def acceptance(p: Tensor, q: Tensor) -> Tensor:
    """Return how likely a guess from ``q`` is accepted, ``[...]``: ``1 - TV(p, q)``.

    Args:
        p: the target's distribution, ``[..., V]``.
        q: the draft's.
    """
    return torch.minimum(p, q).sum(dim=-1)


def residual(p: Tensor, q: Tensor) -> Tensor:
    """Return what to draw from after a refusal, ``[..., V]``; ``p`` where none can be.

    Args:
        p: the target's distribution, ``[..., V]``.
        q: the draft's.
    """
    lacking = (p - q).clamp_min(0)
    total = lacking.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, lacking / total, p)


def verify(
    guesses: Tensor, q: Tensor, p: Tensor, generator: torch.Generator | None = None
) -> tuple[int, Tensor]:
    """Accept some of the guesses, and draw the token after them.

    Args:
        guesses: ids, ``[gamma]``, each drawn from its row of ``q``.
        q: the draft's distribution before each guess, ``[gamma, V]``.
        p: the target's, before each guess and after the last, ``[gamma + 1, V]``.
        generator: on the same device; by default torch's own.

    Returns:
        How many are accepted, and the id ``[]`` that follows them.
    """
    u = torch.rand(len(guesses), generator=generator, device=p.device, dtype=p.dtype)
    at = guesses.unsqueeze(1)
    kept = u * q.gather(1, at)[:, 0] < p[:-1].gather(1, at)[:, 0]
    accepted = int(kept.cumprod(dim=0).sum())
    if accepted == len(guesses):
        return accepted, draw(p[-1], generator)
    return accepted, draw(residual(p[accepted], q[accepted]), generator)


@torch.no_grad()
def speculate(
    target: Model,
    draft: Model,
    ids: Tensor,
    *,
    max_new_tokens: int,
    num_layers: tuple[int | None, int | None] = (None, None),
    gamma: int = 4,
    change: Callable[[Tensor], Tensor] | None = None,
    generator: torch.Generator | None = None,
    make_cache: Callable[[], Any] = DenseCache,
) -> Iterator[Tensor]:
    """Yield new ids, those of one call of the target at a time.

    Args:
        target: ``target(ids, *, pos, caches) -> logits``, whose text it is.
        draft: the same for the model that guesses; any function of this form will do.
        ids: the prompt, ``[1, L]``.
        max_new_tokens: how many to write.
        num_layers: how many caches the target wants, and how many the draft; by default
            as each has ``blocks``.
        gamma: guesses a call.
        change: a filter of :mod:`~minitransformer.generation.sample` for the scores of
            both; the text is then distributed as the target's filtered scores.
        generator: on the same device; by default torch's own.
        make_cache: makes the cache of a layer; it needs ``crop(length)``, by which
            refused guesses are forgotten.

    Yields:
        ``[n]`` ids, ``n`` from 1 to ``gamma + 1``.

    Raises:
        ValueError: there is more than one sequence, ``gamma`` is below 1, the prompt
            cannot be continued, or the draft has a smaller vocabulary. (A guess that
            the target does not know is the target's own error.)
    """
    for model in (target, draft):
        check_prompt(model, ids, ids.shape[-1] + max(max_new_tokens - 1, 0))
    if len(ids) != 1:
        raise ValueError(f"ids has batch {len(ids)}, needs 1")
    if gamma < 1:
        raise ValueError(f"gamma is {gamma}, needs at least 1")
    models = (target, draft)
    counts = map(layers_of, models, num_layers)
    caches = tuple([make_cache() for _ in range(count)] for count in counts)
    read = [0, 0]  # tokens of the text that lie in the caches of each

    def probabilities(which: int, text: Tensor) -> Tensor:
        """Let a model read what it has not read, and return the distributions there."""
        pos = torch.arange(read[which], len(text), device=text.device)
        logits = models[which](text[None, pos], pos=pos, caches=caches[which])[0]
        read[which] = len(text)
        return softmax(logits if change is None else change(logits))

    text = ids[0]
    end = len(text) + max_new_tokens
    while len(text) < end:
        guessed, q = text, []
        for _ in range(min(gamma, end - len(text) - 1)):
            q.append(probabilities(1, guessed)[-1])
            guessed = torch.cat([guessed, draw(q[-1], generator)[None]])
        guesses = guessed[len(text) :]
        p = probabilities(0, guessed)[-len(guesses) - 1 :]
        if q and q[0].shape != p[0].shape:
            sizes = f"{q[0].shape[-1]}, the target {p.shape[-1]}"
            raise ValueError(f"the draft scores {sizes}")
        q_rows = torch.stack(q) if q else p[:0]
        accepted, following = verify(guesses, q_rows, p, generator)
        good = len(text) + accepted
        new = torch.cat([guesses[:accepted], following[None]])
        text = torch.cat([text, new])
        for which in (0, 1):
            read[which] = min(read[which], good)
            for cache in caches[which]:
                cache.crop(read[which])
        yield new
