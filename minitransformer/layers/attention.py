"""Multi-head attention as a layer: four projections around an ``attend`` function.

Each token ``x`` (a row of ``dim`` numbers) is projected to ``num_heads`` queries, and
to ``num_kv_heads`` keys and values. Every head attends for itself; the outputs, side by
side, are projected back::

    query = heads(x Wq)    key, value = kv_heads(x Wk), kv_heads(x Wv)
    out   = join(attend(query, key, value)) Wo

Source: Vaswani et al., arXiv 1706.03762; grouped key heads, Ainslie et al., 2305.13245.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from minitransformer.attention.core import attention


class Attention(nn.Module):
    """A mixer: tokens in, tokens out."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        num_kv_heads: int | None = None,
        head_dim: int | None = None,
        attend: Callable[..., Any] = attention,
        turn: Callable[[Tensor, Tensor], Tensor] | None = None,
        bias: bool = False,
    ) -> None:
        """Make the four projections.

        Args:
            dim: numbers in a token.
            num_heads: query heads, ``H``.
            num_kv_heads: key and value heads, ``Hkv``; a divisor of ``num_heads``, by
                default as many.
            head_dim: numbers in a query, ``E``; by default ``dim / num_heads``.
            attend: an ``attend`` function, its options bound.
            turn: ``turn(x, pos)`` changes queries and keys by their positions, such as
                ``Partial(rotary.rotate, freqs=...)``; keys before they are cached,
                unless the cache wants them raw.
            bias: whether the projections add a bias.

        Raises:
            ValueError: the heads do not divide each other, or ``dim``.
        """
        super().__init__()
        num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        if num_kv_heads < 1 or num_heads % num_kv_heads:
            raise ValueError(
                f"num_kv_heads is {num_kv_heads}, needs a divisor of {num_heads}"
            )
        if head_dim is None and dim % num_heads:
            raise ValueError(f"dim is {dim}, needs a multiple of num_heads {num_heads}")
        self.head_dim = dim // num_heads if head_dim is None else head_dim
        self.num_heads, self.num_kv_heads = num_heads, num_kv_heads
        self.attend, self.turn = attend, turn
        self.q_proj = nn.Linear(dim, num_heads * self.head_dim, bias=bias)
        self.k_proj = nn.Linear(dim, num_kv_heads * self.head_dim, bias=bias)
        self.v_proj = nn.Linear(dim, num_kv_heads * self.head_dim, bias=bias)
        self.o_proj = nn.Linear(num_heads * self.head_dim, dim, bias=bias)

    def forward(
        self,
        x: Tensor,
        *,
        pos: Tensor | None = None,
        cache: Any = None,
        context: Tensor | None = None,
    ) -> Tensor:
        """Mix the tokens.

        Args:
            x: ``[B, L, dim]``.
            pos: where they stand, ``[L]`` or ``[B, L]``; -1 marks an empty slot. By
                default they end where the keys end.
            cache: ``cache.update(key, value, pos) -> (key, value, kv_pos)`` adds new
                keys to those of earlier calls; it needs ``pos``. If ``cache.raw``, keys
                are turned when they are read, by ``kv_pos``; if there is
                ``cache.around``, it replaces ``attend`` by ``around(attend)``.
            context: ``[B, S, dim]``, what keys and values are made of, for attention
                across two sequences; by default ``x`` itself.

        Returns:
            ``[B, L, dim]``.

        Raises:
            ValueError: a cache comes without ``pos``, or ``context`` with one of them.
        """
        if context is not None and any(x is not None for x in (pos, cache, self.turn)):
            raise ValueError("context has no positions: no pos, cache or turn with it")
        if cache is not None and pos is None:
            raise ValueError("cache is given without pos")
        source = x if context is None else context
        query = self.split(self.q_proj(x))
        key, value = self.split(self.k_proj(source)), self.split(self.v_proj(source))
        at = torch.arange(x.shape[1], device=x.device) if pos is None else pos
        query, kv_pos, attend = self._turned(query, at), pos, self.attend
        late = getattr(cache, "raw", False)
        key = key if late else self._turned(key, at)
        if cache is not None:
            key, value, kv_pos = cache.update(key, value, pos)
            key = self._turned(key, kv_pos) if late else key
            attend = cache.around(attend) if hasattr(cache, "around") else attend
        out = attend(query, key, value, q_pos=pos, kv_pos=kv_pos)
        return self.o_proj(out.transpose(1, 2).flatten(2))

    def _turned(self, x: Tensor, pos: Tensor) -> Tensor:
        return x if self.turn is None else self.turn(x, pos)

    def split(self, x: Tensor) -> Tensor:
        """Cut tokens ``[B, L, heads * E]`` into heads ``[B, heads, L, E]``."""
        batch, length, size = x.shape
        heads = x.view(batch, length, size // self.head_dim, self.head_dim)
        return heads.transpose(1, 2)
