"""Who may see whom: functions that are, or make, a ``mask_mod``.

A ``mask_mod(b, h, q_idx, kv_idx)`` says whether the query at position ``q_idx`` may see
the key at position ``kv_idx``, in sequence ``b`` and head ``h``; True is yes. It is
written with operators alone, so the same function runs on NumPy numbers, on whole torch
tensors and in ``torch.nn.attention.flex_attention``.

Sources: ``strided`` and ``fixed`` are Child et al., arXiv 1904.10509; ``local``,
``dilated`` and ``global_tokens`` Beltagy et al., 2004.05150; ``scattered`` after Zaheer
et al., 2007.14062; ``sinks`` Xiao et al., 2309.17453.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

MaskMod = Callable[[Any, Any, Any, Any], Any]


def _at_least(name: str, number: int, least: int) -> None:
    if number < least:
        raise ValueError(f"{name} is {number}, needs at least {least}")


def full(b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
    """Let every query see every key."""
    return (q_idx == q_idx) & (kv_idx == kv_idx)


def causal(b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
    """Let a query see the keys up to its own position."""
    return kv_idx <= q_idx


def strictly_causal(b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
    """Let a query see the keys before its own position."""
    return kv_idx < q_idx


def sliding_window(size: int) -> MaskMod:
    """Let a query see the last ``size`` keys, its own position included."""
    _at_least("size", size, 1)
    return lambda b, h, q_idx, kv_idx: (kv_idx <= q_idx) & (q_idx - kv_idx < size)


def local(radius: int) -> MaskMod:
    """Let a query see the keys at most ``radius`` away, on both sides."""
    _at_least("radius", radius, 0)
    return lambda b, h, q_idx, kv_idx: abs(q_idx - kv_idx) <= radius


def dilated(size: int, step: int) -> MaskMod:
    """Let a query see ``size`` keys of its past, ``step`` apart, its own the last."""
    _at_least("size", size, 1)
    _at_least("step", step, 1)

    def mask_mod(b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        gap = q_idx - kv_idx
        return (gap >= 0) & (gap < size * step) & (gap % step == 0)

    return mask_mod


def strided(stride: int) -> MaskMod:
    """Let a query see the last ``stride`` keys, and every ``stride``-th before them."""
    _at_least("stride", stride, 1)

    def mask_mod(b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        gap = q_idx - kv_idx
        return (gap >= 0) & ((gap < stride) | (gap % stride == 0))

    return mask_mod


def fixed(stride: int, summary: int = 1) -> MaskMod:
    """Let a query see its own block, and the last ``summary`` keys of those before."""
    _at_least("stride", stride, 1)
    _at_least("summary", summary, 1)

    def mask_mod(b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        same_block = q_idx // stride == kv_idx // stride
        return (kv_idx <= q_idx) & (same_block | (kv_idx % stride >= stride - summary))

    return mask_mod


def block_diagonal(size: int) -> MaskMod:
    """Let a query see the keys of its own block of ``size``, and no others."""
    _at_least("size", size, 1)
    return lambda b, h, q_idx, kv_idx: q_idx // size == kv_idx // size


def block_causal(size: int) -> MaskMod:
    """Let a query see its own block of ``size``, to its end, and all blocks before."""
    _at_least("size", size, 1)
    return lambda b, h, q_idx, kv_idx: kv_idx // size <= q_idx // size


def prefix(length: Any) -> MaskMod:
    """Let every query see the first ``length`` keys, and else its own past.

    Args:
        length: a whole number, or an array ``[B]`` with one for each sequence.
    """
    by_sequence = getattr(length, "ndim", 0) > 0

    def mask_mod(b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        end = length[b] if by_sequence else length
        return (kv_idx < end) | (kv_idx <= q_idx)

    return mask_mod


def lengths(counts: Any) -> MaskMod:
    """Let queries see the first ``counts[b]`` keys of sequence ``b``: padding."""
    return lambda b, h, q_idx, kv_idx: kv_idx < counts[b]


def documents(ids: Any) -> MaskMod:
    """Let a query see the keys of its own document: several packed into a sequence.

    Args:
        ids: ``[B, S]``, the document at each position.
    """
    return lambda b, h, q_idx, kv_idx: ids[b, q_idx] == ids[b, kv_idx]


def global_tokens(count: int) -> MaskMod:
    """Let the first ``count`` positions see all and be seen by all, and no others."""
    _at_least("count", count, 0)
    return lambda b, h, q_idx, kv_idx: (q_idx < count) | (kv_idx < count)


def sinks(count: int, size: int) -> MaskMod:
    """Let a query see the first ``count`` keys and the last ``size`` of its past."""
    _at_least("count", count, 0)
    window = sliding_window(size)

    def mask_mod(b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        return window(b, h, q_idx, kv_idx) | ((kv_idx < count) & (kv_idx <= q_idx))

    return mask_mod


def scattered(share: float, seed: int = 0) -> MaskMod:
    """Let each query and head see about ``share`` of all keys, as if by chance.

    Who sees whom follows from the positions alone, so it is the same everywhere. To
    mix them, cubes are taken modulo a prime: one-to-one, and small enough for 32-bit
    positions, which flex attention has.

    Raises:
        ValueError: ``share`` is not within 0 and 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}, needs a number from 0 to 1")
    prime = 32771  # 2 modulo 3, so that cubing is one-to-one

    def mix(x: Any) -> Any:
        x = x % prime
        return x * x % prime * x % prime

    def mask_mod(b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        place = mix(q_idx + 7919 * (seed % prime)) + 5
        place = mix(place * 3 + kv_idx)
        return mix(place * 5 + h * 101 + 11) < share * prime

    return mask_mod


def tree(parents: Sequence[int]) -> MaskMod:
    """Let a node see itself and what leads to it: several continuations at once.

    Args:
        parents: the position of each node's parent, before its own; -1 for a root.

    Raises:
        ValueError: a parent does not stand before its child.
    """
    ancestors = np.eye(len(parents), dtype=bool)
    for node, parent in enumerate(parents):
        if not -1 <= parent < node:
            raise ValueError(f"node {node} has parent {parent}, needs one before it")
        if parent >= 0:
            ancestors[node] |= ancestors[parent]
    return table(ancestors)


def table(allowed: Any) -> MaskMod:
    """Let a query see what an array ``[L, S]`` says, by positions.

    A NumPy array also serves torch tensors: it is copied to where the positions are.
    """
    import torch

    copies: dict[Any, Any] = {}

    def mask_mod(b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        if not isinstance(q_idx, torch.Tensor):
            return allowed[q_idx, kv_idx]
        if q_idx.device not in copies:
            copies[q_idx.device] = torch.as_tensor(allowed, device=q_idx.device)
        return copies[q_idx.device][q_idx, kv_idx]

    return mask_mod


def and_masks(*masks: MaskMod) -> MaskMod:
    """Let a query see what all masks let it see."""

    def mask_mod(b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        seen = full(b, h, q_idx, kv_idx)
        for mask in masks:
            seen = seen & mask(b, h, q_idx, kv_idx)
        return seen

    return mask_mod


def or_masks(*masks: MaskMod) -> MaskMod:
    """Let a query see what any of the masks lets it see."""

    def mask_mod(b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        seen = kv_idx != kv_idx
        for mask in masks:
            seen = seen | mask(b, h, q_idx, kv_idx)
        return seen

    return mask_mod


def not_mask(mask: MaskMod) -> MaskMod:
    """Let a query see what the mask does not let it see."""
    return lambda b, h, q_idx, kv_idx: mask(b, h, q_idx, kv_idx) == 0
