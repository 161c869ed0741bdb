"""The older a token, the fewer its bits (staircase adaptive quantization, SAQ).

The newest tokens wait as they came. When there are ``S`` of them they are quantized,
and each older group of ``S`` goes one stair down. For stairs ``B_1 > B_2 > .. > B_n``::

    waiting | group 1 | group 2 | .. | all older
      B_1       B_2       B_3   | .. |    B_n

``B_1`` is the precision of the tokens that wait, so group ``i`` has ``B_{i+1}`` bits
and goes to ``B_{i+2}``. The last stair holds all that is older.

Least and greatest of a group survive every stair, so its range ``R`` is the same on all
of them and errors only add up: ``|x' - x| <= R/2 sum 1/(2^b - 1)`` over the stairs
``b`` that it has seen. On the last stair nothing changes any more.

Source: Li, arXiv 2410.18441, of which the pseudo-code and the abstract were read;
grouping as in KIVI, 2402.02750, see :mod:`~minitransformer.caches.quantized`. The paper
requantizes the last stair each time; that changes nothing, so here it stays.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from minitransformer.caches.quantized import (
    WHOLE,
    Block,
    QuantizedCache,
    block,
    check_bits,
    join_blocks,
    naive_quantize,
)


def bits_of_age(age: int, residual: int, bits: Sequence[int], length: int) -> int:
    """Return with how many bits a token is kept.

    Args:
        age: tokens that came after it.
        residual: ``S``.
        bits: ``B_1 .. B_n``.
        length: tokens so far, itself included.
    """
    waiting = length % residual
    if age < waiting:
        return bits[0]
    return bits[min((age - waiting) // residual + 1, len(bits) - 1)]


def naive_staircase(
    key: np.ndarray, value: np.ndarray, residual: int, group: int, bits: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Run the tokens of one head down the stairs one by one, as it is defined.

    Args:
        key: ``[S, E]``.
        value: ``[S, Ev]``.
        residual: tokens that wait.
        group: tokens in a row that share the ends of a key channel.
        bits: ``B_1 .. B_n``.

    Returns:
        Keys and values as they are read at the end, float64.
    """
    keys, values = np.array(key, dtype=float), np.array(value, dtype=float)
    for length in range(residual, len(key) + 1, residual):
        for start in range(0, length, residual):
            number = (length - start) // residual  # 1 for the one that is new
            to = bits[min(number, len(bits) - 1)]
            for first in range(start, start + residual, group):
                part = slice(first, first + group)
                for channel in range(keys.shape[1]):
                    keys[part, channel] = naive_quantize(keys[part, channel], to)
            for token in range(start, start + residual):
                values[token] = naive_quantize(values[token], to)
    return keys, values


class StaircaseCache(QuantizedCache):
    """Keep all tokens of one layer, the older the fewer bits."""

    def __init__(
        self,
        bits: Sequence[int] = (WHOLE, 8, 4, 2),
        *,
        residual: int = 16,
        group: int = 16,
    ) -> None:
        """Start empty.

        Args:
            bits: ``B_1 .. B_n``, at least two, none greater than the one before; the
                first is 16, what waits is kept as it comes.
            residual: tokens on a stair, ``S``.
            group: tokens in a row that share ``low`` and ``high`` of a key channel; a
                divisor of ``residual``, so that no group lies on two stairs.

        Raises:
            ValueError: bits are no such stairs, or the group does not divide.
        """
        if len(bits) < 2 or bits[0] != WHOLE:
            raise ValueError(f"bits is {tuple(bits)}, needs 16 and at least one more")
        for one in bits:
            check_bits(one)
        if sorted(bits, reverse=True) != list(bits):
            raise ValueError(f"bits is {tuple(bits)}, but stairs go down")
        super().__init__(bits[-1], residual=residual, group=group)
        self.stairs_bits = tuple(bits)
        self.stairs: list[Block] = []  # newest first, bits B_2, B_3, ..

    def blocks(self) -> list[Block]:
        """Return what is quantized, oldest first."""
        return [*super().blocks(), *reversed(self.stairs)]

    def settle(self, key: Tensor, value: Tensor) -> None:
        """Move all groups one stair down, and put ``residual`` tokens on the first.

        Args:
            key: ``[B, Hkv, residual, E]``.
            value: ``[B, Hkv, residual, Ev]``.
        """
        waited = [(key, value), *(one.read() for one in self.stairs)]
        moved = [
            block(k, v, to, self.group)
            for (k, v), to in zip(waited, self.stairs_bits[1:], strict=False)
        ]
        if len(moved) == len(self.stairs_bits) - 1:
            self.bucket = join_blocks(self.bucket, moved.pop())
        self.stairs = moved
