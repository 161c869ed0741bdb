"""Short number formats, bit by bit: what a real number becomes when it is stored.

A format has ``e`` exponent bits and ``m`` mantissa bits. With the exponent bias ``b =
2**(e-1) - 1`` a pattern (sign, exponent field ``x``, mantissa field ``f``) means::

    x > 0:   (-1)**sign  (1 + f / 2**m)  2**(x - b)          normal
    x = 0:   (-1)**sign  (0 + f / 2**m)  2**(1 - b)          subnormal

The highest exponent field holds inf and NaN (``fp32``, ``bf16``, ``fp16``, ``e5m2``),
or numbers and one NaN, the pattern of all ones (``e4m3fn``: "fn" is finite and NaN).
Rounding takes the nearest value of the format and, of two that are equally near, the
one whose last mantissa bit is 0. Numbers that would round to the next value above the
greatest overflow: to inf where there is one, else to NaN, or to the greatest value if
``saturate`` is set, as kernels for eight bits do (and, since it no longer gives NaN,
PyTorch's cast to ``e4m3fn``).

All functions take and return float64, which holds every value of every format, so that
a number is rounded once. A cast from float64 by way of float32 rounds twice, and can
end at the wrong neighbor.

Sources: IEEE 754-2019 for ``fp16`` and ``fp32``; Micikevicius et al., "FP8 Formats for
Deep Learning", arXiv 2209.05433, for the two formats of eight bits.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Format:
    """A binary format of numbers.

    Attributes:
        exponent: bits of the exponent field.
        mantissa: bits of the mantissa field.
        infinite: whether the highest exponent field is kept for inf and NaN.
    """

    exponent: int
    mantissa: int
    infinite: bool = True

    @property
    def bias(self) -> int:
        """What is taken off the exponent field."""
        return 2 ** (self.exponent - 1) - 1

    @property
    def least(self) -> int:
        """Exponent of the smallest normal number."""
        return 1 - self.bias

    @property
    def greatest(self) -> float:
        """Greatest finite value."""
        if self.infinite:
            return float((2 - 2.0**-self.mantissa) * 2.0**self.bias)
        return float((2 - 2 * 2.0**-self.mantissa) * 2.0 ** (self.bias + 1))


FORMATS = {
    "fp32": Format(8, 23),
    "bf16": Format(8, 7),
    "fp16": Format(5, 10),
    "e4m3fn": Format(4, 3, infinite=False),
    "e5m2": Format(5, 2),
}
"""Name -> format; ``fp64``, the type that all others are kept in, is never rounded."""


def format_of(fmt: str) -> Format:
    """Return a format by its name.

    Raises:
        ValueError: no format has this name.
    """
    if fmt not in FORMATS:
        raise ValueError(f"fmt is {fmt!r}, needs one of fp64, {', '.join(FORMATS)}")
    return FORMATS[fmt]


def decode(patterns: ArrayLike, fmt: str) -> np.ndarray:
    """Return the values that bit patterns stand for.

    Args:
        patterns: whole numbers, each a pattern of the format, sign bit first.
        fmt: name of a format of at most 16 bits.

    Returns:
        Values in float64, in the shape of ``patterns``.

    Raises:
        ValueError: no format has this name.
    """
    form = format_of(fmt)
    bits = np.asarray(patterns, dtype=np.int64)
    fraction = (bits & (2**form.mantissa - 1)).astype(np.float64)
    field = (bits >> form.mantissa) & (2**form.exponent - 1)
    sign = np.where(bits >> (form.mantissa + form.exponent) & 1, -1.0, 1.0)
    leading = np.where(field > 0, 1.0, 0.0) + fraction / 2**form.mantissa
    value = np.ldexp(leading, np.maximum(field, 1) - form.bias)
    top = field == 2**form.exponent - 1
    if form.infinite:
        value = np.where(top, np.where(fraction > 0, np.nan, np.inf), value)
    else:
        value = np.where(top & (fraction == 2**form.mantissa - 1), np.nan, value)
    return sign * value


def naive_round(x: ArrayLike, fmt: str, *, saturate: bool = False) -> np.ndarray:
    """Round as defined: look for the nearest of all values that the format has.

    Arguments, result and errors are those of :func:`round_to`, for formats of at most
    16 bits.
    """
    form = format_of(fmt)
    count = 2 ** (form.mantissa + form.exponent)
    values = decode(np.arange(count), fmt)  # patterns count upward, so do the values
    values = values[np.isfinite(values)]
    step = values[-1] - values[-2]
    values = np.append(values, values[-1] + step)  # what would come next
    rounded = np.empty(np.shape(x))
    for place, number in np.ndenumerate(np.asarray(x, dtype=np.float64)):
        size = abs(number)
        if np.isnan(number) or (np.isinf(number) and not saturate):
            rounded[place] = number if form.infinite else np.nan
            continue
        high = min(int(np.searchsorted(values, size)), len(values) - 1)
        low = max(high - 1, 0)
        below, above = size - values[low], values[high] - size
        even = low if low % 2 == 0 else high  # the pattern's last bit
        best = even if below == above else low if below < above else high
        value = values[best]
        if best == len(values) - 1:
            value = form.greatest if saturate else np.inf if form.infinite else np.nan
        rounded[place] = np.copysign(value, number)
    return rounded


def round_to(x: ArrayLike, fmt: str, *, saturate: bool = False) -> np.ndarray:
    """Round numbers to a format: to the nearest value, ties to the even one.

    Without its sign a float64 is a whole number of 63 bits, and greater numbers are
    greater whole numbers. Rounding adds half of the first bit that stays, less one if
    that bit is 0, and drops the bits behind it; a carry moves on into the exponent.
    Where the result is subnormal the leading 1 is written out, and more bits drop.

    Args:
        x: numbers, in float64.
        fmt: name of a format; ``fp64`` changes nothing.
        saturate: make what is too great the greatest value, instead of inf or NaN.

    Returns:
        Values of the format, in float64, in the shape of ``x``.

    Raises:
        ValueError: no format has this name.
    """
    x = np.asarray(x, dtype=np.float64)
    if fmt == "fp64":
        return x
    form = format_of(fmt)
    magnitude = np.abs(x).reshape(-1).view(np.int64)
    drop = 52 - form.mantissa
    rounded = magnitude + (2 ** (drop - 1) - 1) + (magnitude >> drop & 1)
    rounded = (rounded >> drop << drop).view(np.float64)
    small = magnitude >> 52 < form.least + 1023
    if small.any():
        rounded[small] = _round_subnormal(magnitude[small], form)
    return _finish(x, rounded, form, saturate)


def _round_subnormal(magnitude: np.ndarray, form: Format) -> np.ndarray:
    field = magnitude >> 52
    significand = magnitude & (2**52 - 1) | np.where(field > 0, 2**52, 0)
    lacking = form.least + 1023 - np.maximum(field, 1)  # exponents below the least
    drop = 52 - form.mantissa + np.minimum(lacking, form.mantissa + 2)
    kept, rest = significand >> drop, significand & ((1 << drop) - 1)
    half = 1 << (drop - 1)
    kept += (rest > half) | ((rest == half) & (kept & 1 == 1))
    return np.ldexp(kept.astype(np.float64), form.least - form.mantissa)


def round_stochastically(
    x: ArrayLike, fmt: str, generator: np.random.Generator
) -> np.ndarray:
    """Round up or down by chance, so that the mean of the result is the number.

    Args:
        x: finite numbers, in float64.
        fmt: name of a format; ``fp64`` changes nothing.
        generator: where chance comes from.

    Returns:
        Values of the format, in float64, in the shape of ``x``; one of the two
        neighbors of each number, the nearer one more often. Between the greatest value
        and inf there is no such mean: such numbers overflow.

    Raises:
        ValueError: no format has this name.
    """
    x = np.asarray(x, dtype=np.float64)
    if fmt == "fp64":
        return x
    form = format_of(fmt)
    exponent = np.frexp(x)[1] - 1  # x is between 1 and 2 times 2**exponent
    shift = form.mantissa - np.maximum(exponent, form.least)
    steps = np.ldexp(np.abs(x), shift)
    rounded = np.ldexp(np.floor(steps + generator.random(x.shape)), -shift)
    return _finish(x, rounded, form, saturate=False)


def _finish(
    x: np.ndarray, rounded: np.ndarray, form: Format, saturate: bool
) -> np.ndarray:
    rounded = np.asarray(rounded).reshape(x.shape)
    too_great = ~(rounded <= form.greatest)  # NaN, too
    if too_great.any():
        over = np.inf if form.infinite else np.nan
        rounded[too_great] = form.greatest if saturate else over
        rounded[np.isnan(x)] = np.nan
    return np.copysign(rounded, x)
