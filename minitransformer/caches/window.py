"""The newest tokens only: a cache whose size does not grow.

A query at position ``t`` sees the keys at ``t - size + 1 .. t``. That is attention
with ``masks.sliding_window(size)``, whose far keys are never read again and need not be
kept.

When tokens come one at a time, the cache alone makes the window. When several come in
one call, the later of them still find keys that only the earlier may see: give the
layer the mask, too, and any cut into calls gives the same.

Source: Beltagy et al., arXiv 2004.05150 (the mask); a cache of this kind is in Jiang et
al., 2310.06825.
"""

from torch import Tensor

from minitransformer.caches.base import Kept, at_least, incoming, join


class WindowCache:
    """Keep the last ``size`` tokens of one layer."""

    def __init__(self, size: int) -> None:
        """Start empty.

        Args:
            size: tokens that a query sees, itself included.

        Raises:
            ValueError: ``size`` is below 1.
        """
        self.size = at_least("size", size, 1)
        self.kept: Kept | None = None

    def update(
        self, key: Tensor, value: Tensor, pos: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Add new tokens and hand back those in reach of any of them.

        Args:
            key: ``[B, Hkv, L, E]``.
            value: ``[B, Hkv, L, Ev]``.
            pos: ``[L]`` or ``[B, L]``.

        Returns:
            Key, value and positions of up to ``size - 1 + L`` tokens.

        Raises:
            ValueError: shapes do not fit each other, or earlier calls.
        """
        new = incoming(key, value, pos, self.kept)
        old = None if self.kept is None else self.kept.last(self.size - 1)
        seen = join(old, new)
        self.kept = seen.last(self.size).own()
        return seen

    def num_bytes(self) -> int:
        """Return ``min(tokens, size)`` times the bytes of a token."""
        return 0 if self.kept is None else self.kept.num_bytes()
