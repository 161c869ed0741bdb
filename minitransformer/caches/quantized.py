"""Old tokens in few bits: uniform quantization in groups.

Of a group of numbers keep the least and the greatest, and of each number which of the
``2^b`` evenly spaced levels between them is next::

    code = round((x - low) / (high - low) (2^b - 1))
    x'   = low + code (high - low) / (2^b - 1)

    |x' - x| <= (high - low) / 2(2^b - 1)

``low`` and ``high`` come back exactly, so quantizing again to the same bits changes
nothing. Keys are grouped by *channel*, over ``group`` tokens in a row, because a few
channels of keys are large in all tokens; values by *token*, over the channels of a
head. The newest tokens wait, as they came, until there are ``residual`` of them. So a
call always sees its own tokens as they are; a cut into calls at multiples of
``residual`` gives what one token at a time gives.

Codes are packed, 8 of them into ``b`` bytes, so what is saved is saved in memory.

Source: KIVI, Liu et al., arXiv 2402.02750. There scale and zero point are stored, here
``low`` and ``high``; values wait until they are ``residual`` old each, here both wait
and go together; and a value has several groups of channels, here one.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.caches.base import Kept, at_least, incoming, join, size_of

WHOLE = 16
"""As many bits mean that numbers are kept as they come."""


def naive_quantize(x: np.ndarray, bits: int) -> np.ndarray:
    """Return one group ``[n]`` after quantization, number by number, in float64."""
    low, high, levels = float(x.min()), float(x.max()), 2**bits - 1
    if bits == WHOLE or low == high:
        return np.array(x, dtype=np.float64)
    step = (high - low) / levels
    return np.array([low + round((float(a) - low) / step) * step for a in x])


def pack(codes: Tensor, bits: int) -> Tensor:
    """Write whole numbers below ``2^bits`` into bytes, 8 of them into ``bits`` bytes.

    Args:
        codes: ``[..., n]``; zeros are added up to a multiple of 8.
        bits: 1 to 8.

    Returns:
        uint8 ``[..., bits * ceil(n / 8)]``.
    """
    codes = F.pad(codes.long(), (0, -codes.shape[-1] % 8)).unflatten(-1, (-1, 8))
    eight = torch.arange(8, device=codes.device)
    word = (codes << (bits * eight)).sum(dim=-1, keepdim=True)
    return ((word >> (8 * eight[:bits])) & 255).to(torch.uint8).flatten(-2)


def unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """Read ``count`` numbers ``[..., count]`` back from :func:`pack`."""
    eight = torch.arange(8, device=packed.device)
    words = packed.long().unflatten(-1, (-1, bits)) << (8 * eight[:bits])
    word = words.sum(dim=-1, keepdim=True)
    return ((word >> (bits * eight)) & (2**bits - 1)).flatten(-2)[..., :count]


class Quantized(NamedTuple):
    """Numbers in groups along one axis; with 16 bits they are there as they came."""

    codes: Tensor
    ends: tuple[Tensor, Tensor] | None
    bits: int
    size: int

    def num_bytes(self) -> int:
        """Return the bytes of codes and ends."""
        return size_of(self.codes, *(self.ends or ()))


def check_bits(bits: int) -> int:
    """Return ``bits``, or refuse what is not 1 to 8 or 16."""
    if bits not in (1, 2, 3, 4, 5, 6, 7, 8, WHOLE):
        raise ValueError(f"bits is {bits}, needs 1 to 8, or 16 to keep all")
    return bits


def quantize(x: Tensor, bits: int, *, dim: int) -> Quantized:
    """Quantize groups of numbers.

    Args:
        x: any shape, not empty along ``dim``.
        bits: 1 to 8, or 16 to keep ``x``.
        dim: the axis that is one group.

    Raises:
        ValueError: there is no such number of bits.
    """
    if check_bits(bits) == WHOLE:
        return Quantized(x, None, bits, x.shape[-1])
    low, high = x.amin(dim, keepdim=True), x.amax(dim, keepdim=True)
    wide = torch.promote_types(x.dtype, torch.float32)
    span = (high.to(wide) - low.to(wide)) / (2**bits - 1)
    span = torch.where(span > 0, span, 1.0)
    codes = ((x.to(wide) - low.to(wide)) / span).round().clamp(0, 2**bits - 1)
    return Quantized(pack(codes, bits), (low, high), bits, x.shape[-1])


def dequantize(x: Quantized) -> Tensor:
    """Return the numbers as the codes tell them, in the shape and type they came in."""
    if x.ends is None:
        return x.codes
    low, high = x.ends
    wide = torch.promote_types(low.dtype, torch.float32)
    share = unpack(x.codes, x.bits, x.size).to(wide) / (2**x.bits - 1)
    return torch.lerp(low.to(wide), high.to(wide), share).to(low.dtype)


class Block(NamedTuple):
    """Quantized keys ``[B, Hkv, S/G, G, E]`` and values ``[B, Hkv, S, Ev]``."""

    key: Quantized
    value: Quantized

    def read(self) -> tuple[Tensor, Tensor]:
        """Return keys ``[B, Hkv, S, E]`` and values ``[B, Hkv, S, Ev]``."""
        return dequantize(self.key).flatten(2, 3), dequantize(self.value)

    def num_bytes(self) -> int:
        """Return the bytes of both."""
        return self.key.num_bytes() + self.value.num_bytes()


def block(key: Tensor, value: Tensor, bits: int, group: int) -> Block:
    """Quantize keys by channel over ``group`` tokens, values by token.

    Args:
        key: ``[B, Hkv, S, E]``, ``S`` a multiple of ``group``.
        value: ``[B, Hkv, S, Ev]``.
        bits: see :func:`quantize`.
        group: tokens.

    Raises:
        ValueError: there is no such number of bits.
    """
    grouped = key.unflatten(2, (-1, group))
    return Block(quantize(grouped, bits, dim=3), quantize(value, bits, dim=3))


def join_blocks(old: Block | None, new: Block) -> Block:
    """Put one block behind another of the same bits."""
    if old is None:
        return new
    return Block(*(_join(a, b) for a, b in zip(old, new, strict=True)))


def _join(old: Quantized, new: Quantized) -> Quantized:
    assert old.bits == new.bits
    codes = torch.cat([old.codes, new.codes], dim=2)
    if old.ends is None or new.ends is None:
        return old._replace(codes=codes)
    low, high = (torch.cat(ab, dim=2) for ab in zip(old.ends, new.ends, strict=True))
    return old._replace(codes=codes, ends=(low, high))


class QuantizedCache:
    """Keep all tokens of one layer, those older than a residual in few bits."""

    def __init__(self, bits: int, *, residual: int = 32, group: int = 32) -> None:
        """Start empty.

        Args:
            bits: of each number, 1 to 8, or 16 to keep all as they come.
            residual: tokens that wait; so many are quantized together.
            group: tokens in a row that share ``low`` and ``high`` of a key channel; a
                divisor of ``residual``.

        Raises:
            ValueError: bits are out of range, or the group does not divide.
        """
        self.bits = check_bits(bits)
        self.residual, self.group = at_least("residual", residual, 1), group
        if at_least("group", group, 1) > residual or residual % group:
            raise ValueError(
                f"group is {group}, needs a divisor of residual {residual}"
            )
        self.waiting: Kept | None = None
        self.pos: Tensor | None = None  # of the quantized tokens
        self.bucket: Block | None = None

    def blocks(self) -> list[Block]:
        """Return what is quantized, oldest first."""
        return [] if self.bucket is None else [self.bucket]

    def settle(self, key: Tensor, value: Tensor) -> None:
        """Quantize ``residual`` tokens that have waited.

        Args:
            key: ``[B, Hkv, residual, E]``.
            value: ``[B, Hkv, residual, Ev]``.
        """
        new = block(key, value, self.bits, self.group)
        self.bucket = join_blocks(self.bucket, new)

    def update(
        self, key: Tensor, value: Tensor, pos: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Add new tokens; hand back all, the settled ones as their codes tell them.

        Args:
            key: ``[B, Hkv, L, E]``.
            value: ``[B, Hkv, L, Ev]``.
            pos: ``[L]`` or ``[B, L]``. Empty slots take the numbers of the first token
                after them, so that they widen no group.

        Returns:
            Key, value and positions of all tokens.

        Raises:
            ValueError: shapes do not fit each other, or earlier calls.
        """
        new = _filled(incoming(key, value, pos, self.waiting))
        waiting = join(self.waiting, new)
        keys, values, places = [waiting.key], [waiting.value], [waiting.pos]
        if self.pos is not None:
            old = [one.read() for one in self.blocks()]
            keys = [k for k, _ in old] + keys
            values = [v for _, v in old] + values
            places = [self.pos, *places]
        seen = (torch.cat(keys, 2), torch.cat(values, 2), torch.cat(places, -1))
        length = waiting.pos.shape[-1]
        for start in range(0, length - self.residual + 1, self.residual):
            part = slice(start, start + self.residual)
            self.settle(waiting.key[:, :, part], waiting.value[:, :, part])
        settled = length - length % self.residual
        done = waiting.pos[..., :settled]
        self.pos = done if self.pos is None else torch.cat([self.pos, done], dim=-1)
        self.waiting = waiting.last(length - settled).own()
        return seen

    def num_bytes(self) -> int:
        """Return the bytes of codes, ends and what waits."""
        waiting = 0 if self.waiting is None else self.waiting.num_bytes()
        return waiting + sum(one.num_bytes() for one in self.blocks())


def _filled(new: Kept) -> Kept:
    """Give empty slots the numbers of the first token of their sequence."""
    if not (new.pos < 0).any():
        return new
    empty = (new.pos < 0).expand(new.key.shape[0], -1)
    at = (~empty).int().argmax(dim=1)

    def fill(x: Tensor) -> Tensor:
        first = x[torch.arange(len(x), device=x.device), :, at].unsqueeze(2)
        return torch.where(empty[:, None, :, None], first, x)

    return Kept(fill(new.key), fill(new.value), new.pos)
