"""The newest tokens and the most looked-at ones (heavy hitters, H2O).

A token's *mass* is the attention it has got so far, summed over queries and heads.
After each call the cache keeps the ``recent`` newest tokens and, of the others, the
``heavy`` ones with the greatest mass. What is dropped is gone, whatever later queries
would want.

The mass comes in by :meth:`EvictingCache.around`, which ``layers.attention`` calls: it
gives each key a row of the identity beside its value, so that the output holds the
weights, whatever the ``attend`` function. Without it, the next ``update`` refuses.

Source: Zhang et al., arXiv 2306.14048. There each head keeps its own tokens; here a
layer keeps one set, since a key has one position for all heads.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minitransformer.caches.base import Kept, at_least, choose, incoming, join, size_of


def naive_survivors(weights: np.ndarray, heavy: int, recent: int) -> list[int]:
    """Return which tokens are kept in the end, for attention one token at a time.

    Args:
        weights: ``[T, T]``, positive scores of query and key before normalization; row
            ``t`` is normalized over the tokens kept at ``t``.
        heavy: see :class:`EvictingCache`.
        recent: see :class:`EvictingCache`.
    """
    kept: list[int] = []
    mass = np.zeros(len(weights))
    for t in range(len(weights)):
        kept.append(t)
        mass[kept] += weights[t, kept] / weights[t, kept].sum()
        if len(kept) > heavy + recent:
            newest = kept[len(kept) - recent :]
            rest = kept[: len(kept) - recent]
            lightest = min(rest, key=lambda j: (mass[j], j))
            kept = [j for j in rest if j != lightest] + newest
    return kept


class EvictingCache:
    """Keep the ``recent`` newest tokens and the ``heavy`` most looked-at others."""

    def __init__(self, heavy: int, recent: int) -> None:
        """Start empty.

        Args:
            heavy: tokens kept for the attention they got.
            recent: tokens kept because they are new.

        Raises:
            ValueError: one of them is below 0, or both are 0.
        """
        self.heavy = at_least("heavy", heavy, 0)
        self.recent = at_least("recent", recent, 0)
        at_least("heavy + recent", heavy + recent, 1)
        self.kept: Kept | None = None
        self.mass: Tensor | None = None  # [B, S] of what is kept
        self.noted = True

    def update(
        self, key: Tensor, value: Tensor, pos: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Add new tokens and hand back all that is kept.

        Args:
            key: ``[B, Hkv, L, E]``.
            value: ``[B, Hkv, L, Ev]``.
            pos: ``[L]`` or ``[B, L]``.

        Returns:
            Key, value and positions ``[B, S]``, up to ``heavy + recent + L`` tokens.

        Raises:
            ValueError: shapes do not fit, or nobody noted the mass of the last call.
        """
        if not self.noted:
            raise ValueError(
                "the attention of the last call is not known: attend through around()"
            )
        if pos.ndim == 1:
            pos = pos.expand(key.shape[0], -1)
        self.kept = join(self.kept, incoming(key, value, pos, self.kept))
        self.noted = False
        return self.kept

    def note(self, weights: Tensor) -> None:
        """Add the weights ``[B, H, L, S]`` of the last call, and drop what is light.

        Raises:
            ValueError: weights are not for the tokens that are kept.
        """
        if self.kept is None or weights.shape[-1] != self.kept.pos.shape[1]:
            held = 0 if self.kept is None else self.kept.pos.shape[1]
            raise ValueError(f"weights has {weights.shape[-1]} keys, {held} are kept")
        wide = torch.promote_types(weights.dtype, torch.float32)
        mass = weights.detach().sum(dim=(1, 2), dtype=wide)
        if self.mass is not None:
            mass[:, : self.mass.shape[1]] += self.mass
        self.noted = True
        count = mass.shape[1]
        if count > self.heavy + self.recent:
            order = mass.masked_fill(self.kept.pos < 0, -1.0)  # empty slots go first
            order[:, count - self.recent :] = torch.inf
            best = order.topk(self.heavy + self.recent, dim=1).indices
            index = best.sort(dim=1).values
            self.kept, mass = choose(self.kept, index), mass.gather(1, index)
        self.mass = mass

    def around(self, attend: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``attend``, with the weights noted on the way."""

        def watched(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Any:
            size = key.shape[2]
            rows = torch.eye(size, dtype=value.dtype, device=value.device)
            rows = rows.expand(*value.shape[:2], -1, -1)
            got = attend(query, key, torch.cat([value, rows], dim=3), **options)
            out, lse = got if isinstance(got, tuple) else (got, None)
            self.note(out[..., value.shape[3] :])
            out = out[..., : value.shape[3]]
            return out if lse is None else (out, lse)

        return watched

    def num_bytes(self) -> int:
        """Return ``min(tokens, heavy + recent)`` times a token's bytes, and mass."""
        kept = 0 if self.kept is None else self.kept.num_bytes()
        return kept + (0 if self.mass is None else size_of(self.mass))
