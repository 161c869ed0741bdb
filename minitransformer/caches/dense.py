"""The plain cache: every key and value so far.

``update(key, value, pos) -> (key, value, kv_pos)`` is the contract of all caches: it
adds what a call brings and hands back what its queries may look at. Keys come as they
are to be compared, turned if they are turned at all.
"""

import torch
from torch import Tensor


class DenseCache:
    """Keep all keys, values and positions of one layer."""

    def __init__(self) -> None:
        """Start empty."""
        self.kept: tuple[Tensor, Tensor, Tensor] | None = None

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
        new = (key, value, pos)
        if self.kept is not None:
            old = self.kept
            if key.shape[:2] != old[0].shape[:2] or pos.ndim != old[2].ndim:
                raise ValueError(
                    f"key has (batch, heads) {tuple(key.shape[:2])} and pos {pos.ndim} "
                    f"axes, the cache has {tuple(old[0].shape[:2])} and {old[2].ndim}"
                )
            new = (
                torch.cat([old[0], key], dim=2),
                torch.cat([old[1], value], dim=2),
                torch.cat([old[2], pos], dim=-1),
            )
        self.kept = new
        return new

    def num_bytes(self) -> int:
        """Return the bytes that keys and values take."""
        kept = () if self.kept is None else self.kept[:2]
        return sum(x.numel() * x.element_size() for x in kept)
