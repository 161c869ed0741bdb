"""What all caches share: a check of what comes, and the joining of old and new.

A cache is one object a layer and a batch, with ::

    update(key, value, pos) -> (key, value, kv_pos)     num_bytes() -> int

``update`` adds what a call brings and hands back what its queries may look at;
``kv_pos`` says where each key stands for them, -1 for nowhere. Two things a cache may
also have, for ``layers.attention`` to honor::

    raw = True               keys come before they are turned by their positions, and
                             are turned when they are read, by ``kv_pos``
    around(attend) -> attend what the queries of this call attend through

``num_bytes`` counts what is kept of keys and values between calls, and what is needed
to read it. Positions, a whole number a token, are not counted.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Kept(NamedTuple):
    """Keys ``[B, Hkv, S, E]``, values ``[B, Hkv, S, Ev]``, positions ``[(B,) S]``."""

    key: Tensor
    value: Tensor
    pos: Tensor

    def last(self, count: int) -> "Kept":
        """Return the newest ``count`` tokens, or all if there are fewer."""
        start = max(0, self.pos.shape[-1] - count)
        return Kept(
            self.key[:, :, start:], self.value[:, :, start:], self.pos[..., start:]
        )

    def first(self, count: int) -> "Kept":
        """Return the oldest ``count`` tokens, or all if there are fewer."""
        return Kept(
            self.key[:, :, :count], self.value[:, :, :count], self.pos[..., :count]
        )

    def own(self) -> "Kept":
        """Return the same in memory of its own, so that what was cut off is free."""
        whole = all(x.untyped_storage().nbytes() == size_of(x) for x in self)
        return self if whole else Kept(*(x.clone() for x in self))

    def num_bytes(self) -> int:
        """Return the bytes of keys and values."""
        return size_of(self.key, self.value)


def size_of(*tensors: Tensor) -> int:
    """Return the bytes that the numbers of some tensors, of any shape, take."""
    return sum(x.numel() * x.element_size() for x in tensors)


def at_least(name: str, number: int, least: int) -> int:
    """Return the number, or refuse one that is too small."""
    if number < least:
        raise ValueError(f"{name} is {number}, needs at least {least}")
    return number


def incoming(key: Tensor, value: Tensor, pos: Tensor, kept: Kept | None) -> Kept:
    """Check what a call brings, by itself and against what is kept.

    Args:
        key: ``[B, Hkv, L, E]``.
        value: ``[B, Hkv, L, Ev]``.
        pos: ``[L]`` or ``[B, L]``, -1 for an empty slot.
        kept: tokens of earlier calls, if there were any.

    Raises:
        ValueError: they do not fit each other, or what is kept.
    """
    for name, x in (("key", key), ("value", value)):
        if x.ndim != 4:
            raise ValueError(f"{name} has shape {tuple(x.shape)}, needs 4 axes")
    if value.shape[:3] != key.shape[:3]:
        raise ValueError(
            f"value has (batch, heads, length) {tuple(value.shape[:3])}, "
            f"key has {tuple(key.shape[:3])}"
        )
    batch, length = key.shape[0], key.shape[2]
    if pos.shape not in ((length,), (batch, length)):
        raise ValueError(
            f"pos has shape {tuple(pos.shape)}, "
            f"needs ({length},) or ({batch}, {length})"
        )
    if kept is not None:
        for name, new, old in (("key", key, kept.key), ("value", value, kept.value)):
            got, wanted = (*new.shape[:2], new.shape[3]), (*old.shape[:2], old.shape[3])
            if got != wanted:
                raise ValueError(
                    f"{name} has (batch, heads, size) {got}, the cache has {wanted}"
                )
        if pos.ndim != kept.pos.ndim:
            raise ValueError(f"pos has {pos.ndim} axes, the cache has {kept.pos.ndim}")
    return Kept(key, value, pos)


def join(old: Kept | None, new: Kept) -> Kept:
    """Put new tokens behind old ones."""
    if old is None:
        return new
    return Kept(
        torch.cat([old.key, new.key], dim=2),
        torch.cat([old.value, new.value], dim=2),
        torch.cat([old.pos, new.pos], dim=-1),
    )


def choose(kept: Kept, index: Tensor) -> Kept:
    """Return the tokens ``index [B, n]`` of each sequence; positions are ``[B, S]``."""

    def take(x: Tensor) -> Tensor:
        at = index[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3])
        return x.gather(2, at)

    return Kept(take(kept.key), take(kept.value), kept.pos.gather(1, index))
