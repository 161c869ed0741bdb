"""The plain cache: every key and value so far.

``update(key, value, pos) -> (key, value, kv_pos)`` is the contract of all caches: it
adds what a call brings and hands back what its queries may look at. Keys come as they
are to be compared, turned if they are turned at all.

A decoder adds one key at a time. To copy all earlier ones each time would be ``n^2``
copies; so there is room for as many again, and it is doubled when it is full.
"""

import torch
from torch import Tensor

Parts = tuple[Tensor, Tensor, Tensor]
"""Keys, values and positions."""

AXES = (2, 2, -1)
"""Along which axis each of them grows."""


class DenseCache:
    """Keep all keys, values and positions of one layer.

    What is handed back is good until the next call: it may lie in memory that a later
    call writes into.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.kept: Parts | None = None
        self.room: Parts | None = None  # what is kept lies at its start

    @property
    def length(self) -> int:
        """How many slots are taken."""
        return 0 if self.kept is None else self.kept[0].shape[2]

    def update(
        self, key: Tensor, value: Tensor, pos: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Add new keys and hand back all.

        Args:
            key: ``[B, Hkv, L, E]``.
            value: ``[B, Hkv, L, Ev]``.
            pos: ``[L]`` or ``[B, L]``, as in earlier calls.

        Returns:
            Key ``[B, Hkv, S, E]``, value ``[B, Hkv, S, Ev]``, positions ``[S]`` or
            ``[B, S]``.

        Raises:
            ValueError: batch, heads or number of axes are not those of earlier calls.
        """
        new, old = (key, value, pos), self.kept
        if old is None:
            self.kept = new
            return new
        if key.shape[:2] != old[0].shape[:2] or pos.ndim != old[2].ndim:
            raise ValueError(
                f"key has (batch, heads) {tuple(key.shape[:2])} and pos {pos.ndim} "
                f"axes, the cache has {tuple(old[0].shape[:2])} and {old[2].ndim}"
            )
        if torch.is_grad_enabled() and any(x.requires_grad for x in (*new, *old)):
            pairs = zip(old, new, AXES, strict=True)  # what is derived stays unwritten
            key, value, pos = (torch.cat([a, b], dim=axis) for a, b, axis in pairs)
            self.kept, self.room = (key, value, pos), None
            return self.kept
        start, end = self.length, self.length + key.shape[2]
        if self.room is None or end > self.room[0].shape[2]:
            self.room = _with_room(old, end)
        for room, part, axis in zip(self.room, new, AXES, strict=True):
            room.narrow(axis, start, end - start).copy_(part)
        self.kept = _first(self.room, end)
        return self.kept

    def crop(self, length: int) -> None:
        """Keep the first ``length`` slots only, as if later ones had never come.

        Raises:
            ValueError: there are not so many, or ``length`` is negative.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f"length is {length}, needs 0 to {self.length}")
        if self.kept is not None:
            self.kept = _first(self.kept, length)

    def reorder(self, rows: Tensor) -> None:
        """Put sequence ``rows[i]`` in place ``i``; one may come twice, or not at all.

        Args:
            rows: ``[B']``, numbers of sequences.
        """
        if self.kept is None:
            return
        length = self.length
        key, value, pos = self.kept if self.room is None else self.room
        key, value = key.index_select(0, rows), value.index_select(0, rows)
        pos = pos if pos.ndim == 1 else pos.index_select(0, rows)
        self.room = None if self.room is None else (key, value, pos)
        self.kept = _first((key, value, pos), length)

    def num_bytes(self) -> int:
        """Return the bytes of keys and values, without the room for more."""
        kept = () if self.kept is None else self.kept[:2]
        return sum(x.numel() * x.element_size() for x in kept)


def _first(parts: Parts, length: int) -> Parts:
    key, value, pos = parts
    return key[:, :, :length], value[:, :, :length], pos[..., :length]


def _with_room(old: Parts, length: int) -> Parts:
    """Copy to the start of tensors with room for ``length`` and as many again."""
    size = 2 * max(length, 32)
    key, value, pos = (
        x.new_empty((*x.shape[:2], size, *x.shape[3:]))
        if x.ndim == 4
        else x.new_empty((*x.shape[:-1], size))
        for x in old
    )
    for room, part in zip(_first((key, value, pos), old[0].shape[2]), old, strict=True):
        room.copy_(part)
    return key, value, pos
