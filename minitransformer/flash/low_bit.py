"""Attention from four-bit numbers: what they keep and what they drop, in emulation.

A number of four bits (``e2m1``) is one of 0, 0.5, 1, 1.5, 2, 3, 4, 6 or its negative.
So that it can stand for any size, 16 neighbors share a scale of eight bits (``e4m3``),
and that is the format NVFP4::

    s = e4m3(max |x| / 6)        x ~ s e2m1(x / s)        0 where s rounds to 0

Scores and outputs are products of such groups, along the axis that is summed over.
Three things keep attention alive in it: the mean of all keys comes off the keys (the
softmax does not notice), the mean of a block of queries comes off the queries (and is
added back exactly), and the weights are stretched first. A weight is between 0 and 1,
its group's scale then at most 1/6, where ``e4m3`` has few values, and below its least,
2**-9, none. **Two-level** scaling stretches each row to the greatest product that the
two formats can hold, 448 times 6, and undoes it afterwards::

    t = max p / 2688        p ~ t nvfp4(p / t)

Source: Zhang et al., arXiv 2505.11594 (SageAttention3); formats and smoothing as in the
authors' kernels. Everything else is kept in float64, so only these roundings are seen.
"""

import numpy as np
from numpy.typing import ArrayLike

from minitransformer.flash.rounding import FORMATS, round_to

E2M1 = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
"""The values of four bits without their sign, in the order of the patterns."""

GREATEST = FORMATS["e4m3fn"].greatest * E2M1[-1]
"""The greatest number that NVFP4 can hold, 2688."""


def naive_nvfp4(x: ArrayLike, *, group: int = 16) -> np.ndarray:
    """Round the last axis as defined: look for the nearest of the eight values.

    Arguments and results are those of :func:`nvfp4`.
    """
    x = np.asarray(x, dtype=np.float64)
    out = np.zeros_like(x)
    for row in np.ndindex(x.shape[:-1]):
        for start in range(0, x.shape[-1], group):
            part = x[row][start : start + group]
            scale = float(round_to(abs(part).max() / 6, "e4m3fn", saturate=True))
            if scale == 0:
                continue
            for i, number in enumerate(part):
                gaps = abs(E2M1 - min(abs(number) / scale, 6.0))
                near = np.flatnonzero(gaps == gaps.min())
                best = next((j for j in near if j % 2 == 0), near[0])
                out[row][start + i] = np.sign(number) * scale * E2M1[best]
    return out


def e2m1(x: ArrayLike) -> np.ndarray:
    """Round to four bits: to the nearest value, ties to the even pattern, 6 at most.

    Args:
        x: numbers, in float64.

    Returns:
        Values of the format, in float64, in the shape of ``x``.
    """
    size = np.abs(np.asarray(x, dtype=np.float64))
    step = np.where(size < 2, 0.5, np.where(size < 4, 1.0, 2.0))
    return np.copysign(np.minimum(np.rint(size / step) * step, E2M1[-1]), x)


def nvfp4(x: ArrayLike, *, axis: int = -1, group: int = 16) -> np.ndarray:
    """Round to groups of four-bit numbers with a scale of eight bits each.

    Args:
        x: finite numbers, in float64.
        axis: the axis along which neighbors share a scale; the last group of it may be
            smaller.
        group: how many share one.

    Returns:
        The numbers that are then stood for, in float64, in the shape of ``x``.

    Raises:
        ValueError: ``x`` has no axis, or ``group`` is below 1.
    """
    x = np.asarray(x, dtype=np.float64)
    if x.ndim == 0:
        raise ValueError("x has no axis, needs one along which numbers share a scale")
    if group < 1:
        raise ValueError(f"group is {group}, needs at least 1")
    last = np.moveaxis(x, axis, -1)
    length = last.shape[-1]
    count = -(-length // group)
    padded = np.zeros((*last.shape[:-1], count * group))
    padded[..., :length] = last
    grouped = padded.reshape(*last.shape[:-1], count, group)
    peak = np.abs(grouped).max(axis=-1, keepdims=True)
    scale = round_to(peak / E2M1[-1], "e4m3fn", saturate=True)
    rounded = scale * e2m1(grouped / np.where(scale > 0, scale, np.inf))
    return np.moveaxis(rounded.reshape(padded.shape)[..., :length], -1, axis)


def two_level(p: ArrayLike, *, group: int = 16) -> np.ndarray:
    """Round rows of weights to NVFP4, each stretched to its whole range first.

    Args:
        p: ``[..., S]``, the exponentials of rows of scores, 0 or more.
        group: how many numbers share a scale.

    Returns:
        The weights that are then stood for, in the shape of ``p``.
    """
    p = np.asarray(p, dtype=np.float64)
    stretch = p.max(axis=-1, keepdims=True) / GREATEST
    return stretch * nvfp4(p / np.where(stretch > 0, stretch, np.inf), group=group)


def fp4_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    *,
    smooth_key: bool = True,
    smooth_query: bool = True,
    stretch: bool = True,
    block: int = 128,
) -> np.ndarray:
    """Attend with all four factors of the two products in NVFP4.

    Args:
        query: ``[..., L, E]``.
        key: ``[..., S, E]``.
        value: ``[..., S, Ev]``.
        smooth_key: whether the mean of the keys is taken off them.
        smooth_query: whether the mean of each block of queries is taken off them, and
            its scores are added unrounded.
        stretch: whether weights are scaled at two levels.
        block: queries in a block.

    Returns:
        The output ``[..., L, Ev]``; the sum of a row is that of its unrounded weights.

    Raises:
        ValueError: the queries or the values do not fit the keys, there are no keys, or
            ``block`` is below 1.
    """
    query, key, value = (np.asarray(x, dtype=np.float64) for x in (query, key, value))
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(f"query has dim {query.shape[-1]}, key has {key.shape[-1]}")
    if value.shape[-2] != key.shape[-2] or not key.shape[-2]:
        raise ValueError(
            f"value has length {value.shape[-2]}, key has {key.shape[-2]}, needs 1 or "
            "more in both"
        )
    if block < 1:
        raise ValueError(f"block is {block}, needs at least 1")
    if smooth_key:
        key = key - key.mean(axis=-2, keepdims=True)
    mean = np.zeros_like(query)
    if smooth_query:
        for start in range(0, query.shape[-2], block):
            rows = query[..., start : start + block, :]
            mean[..., start : start + block, :] = rows.mean(axis=-2, keepdims=True)
    turned = np.swapaxes(key, -1, -2)
    scores = nvfp4(query - mean) @ nvfp4(turned, axis=-2) + mean @ turned
    scores = scores * query.shape[-1] ** -0.5
    p = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = two_level(p) if stretch else nvfp4(p)
    return weights @ nvfp4(value, axis=-2) / p.sum(axis=-1, keepdims=True)
