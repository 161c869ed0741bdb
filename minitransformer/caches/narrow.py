"""Keep numbers in a narrower type than the layer computes with.

``NarrowCache(DenseCache(), torch.bfloat16)`` stores 2 bytes a number for a layer that
works in float32. The first thing to do about the size of a cache, and the base that the
others are measured against. It wraps any cache.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class NarrowCache:
    """A cache that stores keys and values in another type."""

    def __init__(self, cache: Any, dtype: torch.dtype) -> None:
        """Wrap a cache.

        Args:
            cache: any cache, still empty.
            dtype: what it is to store.

        Raises:
            ValueError: ``dtype`` is not a floating one.
        """
        if not dtype.is_floating_point:
            raise ValueError(f"dtype is {dtype}, needs a floating one")
        self.cache, self.dtype = cache, dtype
        self.raw = getattr(cache, "raw", False)

    def update(
        self, key: Tensor, value: Tensor, pos: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Round, update the cache, and hand back in the type that came.

        Args:
            key: ``[B, Hkv, L, E]``.
            value: ``[B, Hkv, L, Ev]``.
            pos: ``[L]`` or ``[B, L]``.

        Returns:
            Keys, values and their positions, as the cache within returns them.

        Raises:
            ValueError: the cache within refuses them.
        """
        narrow = (key.to(self.dtype), value.to(self.dtype))
        seen_key, seen_value, kv_pos = self.cache.update(*narrow, pos)
        return seen_key.to(key.dtype), seen_value.to(value.dtype), kv_pos

    def around(self, attend: Callable[..., Any]) -> Callable[..., Any]:
        """Return what the wrapped cache makes of ``attend``."""
        wrap = getattr(self.cache, "around", None)
        return attend if wrap is None else wrap(attend)

    def num_bytes(self) -> int:
        """Return the bytes of the wrapped cache."""
        return int(self.cache.num_bytes())
