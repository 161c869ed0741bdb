"""Fourier position embedding (FoPE): each pair turns by a mixture of frequencies.

Two changes to RoPE. A frequency that made no full turn within the training length was
never seen whole: it is dropped, and its pair stands still. And each of the ``M``
turning pairs of head ``h`` gets a Fourier series of all ``F`` kept frequencies::

    S_m(t) = sum_f a_hfm sin(w_f t)      C_m(t) = sum_f b_hfm cos(w_f t)
    (x, y)_m  ->  (x C - y S, x S + y C)

Coefficients are not trained: each pair's own frequency has 1, plus noise. With noise a
score is no longer a function of the distance alone.

Source: Hua et al., arXiv 2412.17739, and its code, whose details are kept: ``M`` is at
most ``E / 4``, and a pair that stands still has sine *and* cosine 1 (a turn by 45
degrees times the root of 2, which doubles its part of the score). ``still=(0, 1)`` is
the plain zero frequency.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from minitransformer.positions.rotary import frequencies


@dataclass(frozen=True)
class Series:
    """Frequencies and coefficients, the same for queries and keys.

    Attributes:
        freqs: ``[F]``, float64, fastest first.
        sine: ``[H, F, M]``, the coefficients ``a``.
        cosine: ``[H, F, M]``, the coefficients ``b``.
        head_dim: numbers in a query, ``E``.
        still: sine and cosine of the pairs that do not turn.
    """

    freqs: Tensor
    sine: Tensor
    cosine: Tensor
    head_dim: int
    still: tuple[float, float]


def series(
    num_heads: int,
    head_dim: int,
    *,
    train_len: int,
    base: float = 1e4,
    gain: float = 0.3,
    width: int | None = None,
    still: tuple[float, float] = (1.0, 1.0),
    generator: torch.Generator | None = None,
) -> Series:
    """Drop the frequencies that training cannot show whole, and draw coefficients.

    Args:
        num_heads: key heads; the query heads that share a key share its series.
        head_dim: ``E``, even.
        train_len: positions seen in training; a frequency below ``2 pi / train_len`` is
            dropped.
        base: see :func:`minitransformer.positions.rotary.frequencies`.
        gain: size of the noise in the coefficients; 0 leaves each pair its frequency.
        width: turning pairs, ``M``; by default as many as there are frequencies, but at
            most ``E / 4``.
        still: sine and cosine of the other pairs.
        generator: where the noise comes from.

    Raises:
        ValueError: ``head_dim`` is odd, ``width`` exceeds ``E / 2``, or no frequency is
            left.
    """
    freqs = frequencies(head_dim, base=base)
    freqs = freqs[freqs >= 2 * math.pi / train_len]
    if not len(freqs):
        raise ValueError(f"train_len is {train_len}: no pair makes a full turn in it")
    width = min(len(freqs), head_dim // 4) if width is None else width
    if not 0 < width <= head_dim // 2:
        raise ValueError(f"width is {width}, needs 1 to {head_dim // 2}")
    own = torch.zeros(len(freqs), width, dtype=torch.float64)
    step = math.ceil(len(freqs) / width)
    for m in range(min(width, math.ceil(len(freqs) / step))):
        own[m * step, m] = 1.0
    # The variance that Xavier's rule takes from a weight [H, F, M].
    spread = gain * math.sqrt(2 / ((len(freqs) + num_heads) * width))
    size = (2, num_heads, len(freqs), width)
    noise = torch.randn(size, generator=generator, dtype=torch.float64) * spread
    return Series(freqs, own + noise[0], own + noise[1], head_dim, still)


def tables(pos: Tensor, mixed: Series) -> tuple[Tensor, Tensor]:
    """Return sine and cosine of each pair at each position.

    Args:
        pos: ``[L]`` or ``[B, L]``.
        mixed: the series.

    Returns:
        Two tables ``[H, L, E / 2]`` or ``[B, H, L, E / 2]``, float64.
    """
    angle = pos.unsqueeze(-1).double() * mixed.freqs.to(pos.device)  # [..., L, F]
    found = []
    for wave, coefficients, rest in (
        (angle.sin(), mixed.sine, mixed.still[0]),
        (angle.cos(), mixed.cosine, mixed.still[1]),
    ):
        moving = wave.unsqueeze(-3) @ coefficients.to(pos.device)  # [..., H, L, M]
        missing = mixed.head_dim // 2 - moving.shape[-1]
        found.append(torch.nn.functional.pad(moving, (0, missing), value=rest))
    return found[0], found[1]


def rotate(x: Tensor, pos: Tensor, mixed: Series) -> Tensor:
    """Turn queries or keys by their positions, in the half layout.

    Args:
        x: ``[B, H, L, E]``, with a multiple of the series' heads.
        pos: ``[L]`` or ``[B, L]``.
        mixed: the series.

    Returns:
        ``[B, H, L, E]``, in the type of ``x``.

    Raises:
        ValueError: heads, ``E`` or positions do not fit.
    """
    heads = len(mixed.sine)
    if x.shape[-1] != mixed.head_dim:
        raise ValueError(f"x has head_dim {x.shape[-1]}, the series {mixed.head_dim}")
    if x.shape[1] % heads:
        raise ValueError(f"x has {x.shape[1]} heads, needs a multiple of {heads}")
    if pos.shape[-1] != x.shape[2]:
        raise ValueError(f"pos has shape {tuple(pos.shape)}, x has length {x.shape[2]}")
    kind = torch.promote_types(x.dtype, torch.float32)
    sin, cos = (
        table.repeat_interleave(x.shape[1] // heads, dim=-3).to(kind)
        for table in tables(pos, mixed)
    )
    a, b = x.to(kind).chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)
