"""The plain cache: every key and value so far.

``update(key, value, pos) -> (key, value, kv_pos)`` is the contract of all caches: it
adds what a call brings and hands back what its queries may look at. Keys come as they
are to be compared, turned if they are turned at all.

A decoder adds one key at a time. To copy all earlier ones each time would be ``n^2``
copies; so there is room for as many again, and it is doubled when it is full. The
positions are few: they are copied, once for all layers.

Source: decoding with keys and values kept, Shazeer, arXiv 1911.02150.
"""

import torch
from torch import Tensor

from minitransformer.again import again

Parts = tuple[Tensor, Tensor, Tensor]
"""Keys, values and positions."""


class DenseCache:
    """Keep all keys, values and positions of one layer.

    What is handed back is good until the next call: it may lie in memory that a later
    call writes into.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.kept: Parts | None = None
        self.room: tuple[Tensor, Tensor] | None = None  # keys and values begin it

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
            key, value = (
                torch.cat(pair, dim=2) for pair in zip(old[:2], new[:2], strict=True)
            )
            self.kept, self.room = (key, value, _join(old[2], pos)), None
            return self.kept  # what is derived from stays unwritten
        start, end = self.length, self.length + key.shape[2]
        if self.room is None or end > self.room[0].shape[2]:
            self.room = _with_room(old[0], end), _with_room(old[1], end)
        for room, part in zip(self.room, (key, value), strict=True):
            room.narrow(2, start, end - start).copy_(part)
        key, value = self.room[0].narrow(2, 0, end), self.room[1].narrow(2, 0, end)
        self.kept = (key, value, _join(old[2], pos))
        return self.kept

    def crop(self, length: int) -> None:
        """Keep the first ``length`` slots only, as if later ones had never come.

        Raises:
            ValueError: there are not so many, or ``length`` is negative.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f"length is {length}, needs 0 to {self.length}")
        if self.kept is not None:
            key, value, pos = self.kept
            self.kept = (key[:, :, :length], value[:, :, :length], _first(pos, length))

    def reorder(self, rows: Tensor) -> None:
        """Put sequence ``rows[i]`` in place ``i``; one may come twice, or not at all.

        Args:
            rows: ``[B']``, numbers of sequences.
        """
        if self.kept is None:
            return
        length, pos = self.length, self.kept[2]
        source = self.kept[:2] if self.room is None else self.room
        key, value = (x.index_select(0, rows) for x in source)
        self.room = None if self.room is None else (key, value)
        pos = pos if pos.ndim == 1 else pos.index_select(0, rows)
        self.kept = (key[:, :, :length], value[:, :, :length], pos)

    def num_bytes(self) -> int:
        """Return the bytes of keys and values, without the room for more."""
        kept = () if self.kept is None else self.kept[:2]
        return sum(x.numel() * x.element_size() for x in kept)


@again
def _join(pos: Tensor, new: Tensor) -> Tensor:
    return torch.cat([pos, new], dim=-1)


@again
def _first(pos: Tensor, length: int) -> Tensor:
    return pos[..., :length]


def _with_room(old: Tensor, length: int) -> Tensor:
    """Copy to the start of a tensor with room for ``length`` and as many again."""
    room = old.new_empty((*old.shape[:2], 2 * max(length, 32), old.shape[3]))
    room[:, :, : old.shape[2]].copy_(old)
    return room
