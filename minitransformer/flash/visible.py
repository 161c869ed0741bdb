"""Which tiles of the score matrix hold anything that may be seen.

A tile of which nothing may be seen is never computed; in one that may be seen as a
whole, nothing is masked. With a causal mask nearly half of the tiles are of the first
kind, and nearly all others of the second; with a sliding window, nearly all of the
first. As in FlashAttention (arXiv 2205.14135, section 4.2, and 2307.08691).
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from minitransformer.attention.core import MaskMod
from minitransformer.attention.masks import causal


def spans(size: int, block: int) -> list[slice]:
    """Cut ``size`` rows into blocks; the last one may be shorter."""
    return [slice(start, min(start + block, size)) for start in range(0, size, block)]


class Places(NamedTuple):
    """Where queries and keys stand, and who may see whom."""

    heads: int
    q_pos: Tensor
    kv_pos: Tensor
    empty_slots: bool
    mask_mod: MaskMod | None

    def visible(
        self, rows: slice, block_k: int
    ) -> Iterator[tuple[slice, Tensor | None]]:
        """Yield the tiles of some queries that hold anything to be seen.

        Args:
            rows: which queries.
            block_k: keys in a tile.

        Yields:
            The keys of a tile, and who may see whom in it: True is yes, ``[B or 1, H or
            1, rows, columns]``; None if all may be seen.
        """
        at_q = self.q_pos[..., rows, None].unsqueeze(-3)
        device = at_q.device
        b = torch.arange(at_q.shape[0], device=device).view(-1, 1, 1, 1)
        h = torch.arange(self.heads, device=device).view(-1, 1, 1)
        for columns in spans(self.kv_pos.shape[-1], block_k):
            at_kv = self.kv_pos[..., None, columns].unsqueeze(-3)
            if self.mask_mod is causal:  # the ends of both tell
                if at_kv.min() > at_q.max():
                    continue
                if not self.empty_slots and at_kv.max() <= at_q.min():
                    yield columns, None
                    continue
            seen = (at_q >= 0) & (at_kv >= 0) if self.empty_slots else None
            if self.mask_mod is not None:
                mask = torch.as_tensor(self.mask_mod(b, h, at_q, at_kv), device=device)
                seen = mask if seen is None else seen & mask
            if seen is None or seen.all():
                yield columns, None
            elif seen.any():
                yield columns, seen


def places(
    query: Tensor,
    key: Tensor,
    q_pos: Tensor | None,
    kv_pos: Tensor | None,
    mask_mod: MaskMod | None,
) -> Places:
    """Find out where queries and keys stand; without positions, they end together.

    Args:
        query: ``[B, H, L, E]``.
        key: ``[B, Hkv, S, E]``.
        q_pos: ``[L]`` or ``[B, L]``, -1 for an empty slot, or None.
        kv_pos: ``[S]`` or ``[B, S]``, or None.
        mask_mod: which keys a query may see.
    """
    (batch, heads, length, _), kv_length = query.shape, key.shape[2]
    given = q_pos is not None
    if q_pos is None or kv_pos is None:
        q_pos = torch.arange(kv_length - length, kv_length, device=query.device)
        kv_pos = torch.arange(kv_length, device=query.device)
    at_q, at_kv = (x.expand(batch, -1) for x in (q_pos, kv_pos))
    return Places(heads, at_q, at_kv, given, mask_mod)
