"""Positions as turns of queries and keys (RoPE).

The numbers of a query or key are taken in pairs; pair ``i`` of a vector at position
``n`` is turned by the angle ``n w_i``, with ``w_i = base^(-2 i / E)``. A turn keeps
lengths, and of two turns only the difference is left in a dot product::

    R(m) q . R(n) k  =  q . R(n - m) k

Two layouts say which numbers are a pair: "half" pairs ``i`` with ``i + E/2`` (Llama,
GPT-NeoX), "interleaved" pairs ``2 i`` with ``2 i + 1`` (the paper, GPT-J). Frequencies
are data: a shorter list of ``F`` turns the first ``2 F`` numbers only (partial
rotation, as in GPT-NeoX), a zero leaves its pair alone, and each way to stretch the
context is another list of frequencies.

Sources: RoPE, Su et al., arXiv 2104.09864; p-RoPE 2410.06205; position interpolation
2306.15595; YaRN (with NTK-aware scaling) 2309.00071; xPos 2212.10554.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

Layout = Literal["half", "interleaved"]


def frequencies(head_dim: int, *, base: float = 1e4) -> Tensor:
    """Return the angles by which each pair turns a position, fastest first.

    Args:
        head_dim: numbers in a query, ``E``; even.
        base: the slowest pair turns about ``base`` times as slowly as the first.

    Returns:
        ``[E / 2]``, float64.

    Raises:
        ValueError: ``head_dim`` is odd.
    """
    if head_dim % 2:
        raise ValueError(f"head_dim is {head_dim}, needs an even number")
    return base ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)


def keep_fastest(freqs: Tensor, share: float) -> Tensor:
    """Stop the slowest pairs (p-RoPE): ``share`` of the frequencies are kept.

    With 1 this is RoPE, with 0 nothing turns.

    Args:
        freqs: ``[F]``, fastest first.
        share: from 0 to 1.

    Returns:
        ``[F]``, zero from the first slow one on.

    Raises:
        ValueError: ``share`` is not within 0 and 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}, needs a number from 0 to 1")
    kept = round(share * len(freqs))
    return torch.cat([freqs[:kept], torch.zeros_like(freqs[kept:])])


def interpolate(freqs: Tensor, factor: float) -> Tensor:
    """Slow all pairs by ``factor``: a longer text squeezed into the old positions.

    Args:
        freqs: ``[F]``; what is returned has its shape.
        factor: how much longer the text is, at least 1.

    Raises:
        ValueError: ``factor`` is below 1.
    """
    return freqs / _at_least_one(factor)


def ntk_aware(head_dim: int, factor: float, *, base: float = 1e4) -> Tensor:
    """Slow the slowest pair by ``factor``, the fastest not at all, by another base.

    Returns:
        ``[head_dim / 2]``, float64.

    Raises:
        ValueError: ``head_dim`` is odd or below 4, or ``factor`` is below 1.
    """
    if head_dim < 4:
        raise ValueError(f"head_dim is {head_dim}, needs two pairs, so at least 4")
    stretch = _at_least_one(factor) ** (head_dim / (head_dim - 2))
    return frequencies(head_dim, base=base * stretch)


def yarn(
    head_dim: int,
    factor: float,
    *,
    train_len: int,
    base: float = 1e4,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
) -> Tensor:
    """Slow the pairs that made few turns in training, leave those that made many.

    A pair that makes more than ``beta_fast`` turns within ``train_len`` is kept, one
    that makes fewer than ``beta_slow`` is slowed by ``factor``; between them the share
    is a ramp over the number of the pair. Scores are to be scaled too, see
    :func:`yarn_temperature`.

    Args:
        head_dim: ``E``, even.
        factor: how many times longer the text may be, at least 1.
        train_len: positions seen in training.
        base: see :func:`frequencies`.
        beta_fast: turns from which on a pair is kept.
        beta_slow: turns up to which a pair is slowed in full.

    Returns:
        ``[E / 2]``, float64.

    Raises:
        ValueError: ``head_dim`` is odd or ``factor`` below 1.
    """
    freqs = frequencies(head_dim, base=base)

    def pair_with(turns: float) -> float:
        """Return the number, not a whole one, of the pair that makes so many turns."""
        slow = math.log(train_len / (turns * 2 * math.pi)) / math.log(base)
        return slow * head_dim / 2

    low = max(math.floor(pair_with(beta_fast)), 0)
    high = min(math.ceil(pair_with(beta_slow)), head_dim - 1)
    place = torch.arange(len(freqs), dtype=torch.float64)
    slowed = ((place - low) / max(high - low, 1e-3)).clamp(0, 1)
    return freqs * (1 - slowed) + freqs / _at_least_one(factor) * slowed


def yarn_temperature(factor: float) -> float:
    """Return by what YaRN multiplies queries and keys each: ``0.1 log(factor) + 1``."""
    return 0.1 * math.log(_at_least_one(factor)) + 1.0


def _at_least_one(factor: float) -> float:
    if factor < 1:
        raise ValueError(f"factor is {factor}, needs at least 1")
    return factor


def naive_rotate(
    x: np.ndarray, position: float, freqs: np.ndarray, *, layout: Layout = "half"
) -> np.ndarray:
    """Turn one vector ``[E]``, pair by pair, as it is defined."""
    turned, half = np.array(x, dtype=np.float64), len(freqs)
    for i, freq in enumerate(freqs):
        a, b = (i, i + half) if layout == "half" else (2 * i, 2 * i + 1)
        cos, sin = math.cos(position * freq), math.sin(position * freq)
        turned[a], turned[b] = x[a] * cos - x[b] * sin, x[a] * sin + x[b] * cos
    return turned


def rotate(x: Tensor, pos: Tensor, freqs: Tensor, *, layout: Layout = "half") -> Tensor:
    """Turn queries or keys by their positions.

    Args:
        x: ``[B, H, L, E]``.
        pos: ``[L]`` or ``[B, L]``; an empty slot (-1) is turned too, nobody sees it.
        freqs: ``[F]`` with ``F`` at most ``E / 2``; numbers beyond ``2 F`` stay as they
            are. With ``[H, F]`` each head has its own.
        layout: which numbers are a pair.

    Returns:
        ``[B, H, L, E]``, in the type of ``x``; the angles are computed in float64.

    Raises:
        ValueError: ``x`` has not four axes, ``E`` is odd, there are too many
            frequencies, positions do not fit, or the layout is unknown.
    """
    check(x, pos, freqs, layout)
    kind = torch.promote_types(x.dtype, torch.float32)
    return turn_by(x, *angles(pos, freqs.to(x.device), kind, layout), layout=layout)


def check(x: Tensor, pos: Tensor, freqs: Tensor, layout: str = "half") -> None:
    """Refuse what :func:`rotate` cannot turn; its errors are raised here."""
    if x.ndim != 4:
        raise ValueError(f"x has shape {tuple(x.shape)}, needs (B, H, L, E)")
    batch, _, length, size = x.shape
    if size % 2:
        raise ValueError(f"x has head_dim {size}, needs an even number")
    if freqs.shape[-1] > size // 2:
        raise ValueError(f"freqs has {freqs.shape[-1]} pairs, x has {size // 2}")
    if pos.shape not in ((length,), (1, length), (batch, length)):
        raise ValueError(
            f"pos has shape {tuple(pos.shape)}, x has length {length} and batch {batch}"
        )
    if layout not in ("half", "interleaved"):
        raise ValueError(f"layout is {layout!r}, needs 'half' or 'interleaved'")


def angles(
    pos: Tensor, freqs: Tensor, dtype: torch.dtype, layout: Layout = "half"
) -> tuple[Tensor, Tensor]:
    """Return cosines and signed sines for each number, computed in float64.

    They are the same for queries and keys, and in every layer: a model that decodes
    computes them once a step.

    Args:
        pos: ``[L]`` or ``[B, L]``.
        freqs: ``[F]`` or ``[H, F]``.
        dtype: of the result.
        layout: which numbers are a pair.

    Returns:
        Two tensors that broadcast with ``[B, H, L, 2 F]``; sines are negative for the
        first number of each pair.
    """
    turns = freqs if freqs.ndim == 1 else freqs[:, None]  # [F] or [H, 1, F]
    at = pos.unsqueeze(-1) if pos.ndim == 1 else pos[:, None, :, None]
    angle = at.double() * turns.double()
    cos, sin = angle.cos().to(dtype), angle.sin().to(dtype)
    if layout == "half":
        return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)
    return cos.repeat_interleave(2, dim=-1), torch.stack([-sin, sin], dim=-1).flatten(
        -2
    )


def turn_by(x: Tensor, cos: Tensor, sin: Tensor, *, layout: Layout = "half") -> Tensor:
    """Turn ``[B, H, L, E]`` by what :func:`angles` returns: ``x cos + partner sin``."""
    many = cos.shape[-1]
    moving = x if many == x.shape[-1] else x[..., :many]
    if layout == "half":
        partner = moving.roll(many // 2, dims=-1)
    else:
        partner = moving.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    moved = torch.addcmul(moving * cos, partner, sin).to(x.dtype)
    return moved if moving is x else torch.cat([moved, x[..., many:]], dim=-1)


def rotate_2d(x: Tensor, pos: Tensor, freqs: Tensor) -> Tensor:
    """Turn by two coordinates: the first half by the row, the second by the column.

    Args:
        x: ``[B, H, L, E]``, ``E`` a multiple of 4.
        pos: ``[2, L]``, rows and columns.
        freqs: ``[F]`` with ``F`` at most ``E / 4``.

    Raises:
        ValueError: ``E`` is not a multiple of 4, or ``pos`` has not two rows.
    """
    if x.shape[-1] % 4:
        raise ValueError(f"x has head_dim {x.shape[-1]}, needs a multiple of 4")
    if pos.ndim != 2 or len(pos) != 2:
        raise ValueError(f"pos has shape {tuple(pos.shape)}, needs (2, L)")
    parts = zip(x.chunk(2, dim=-1), pos, strict=True)
    return torch.cat([rotate(part, at, freqs) for part, at in parts], dim=-1)


def to_half(x: Tensor) -> Tensor:
    """Reorder the last axis of ``[..., E]`` from the interleaved to the half layout."""
    return torch.cat([x[..., 0::2], x[..., 1::2]], dim=-1)


def to_interleaved(x: Tensor) -> Tensor:
    """Reorder the last axis of ``[..., E]`` from the half to the interleaved layout."""
    return torch.stack(x.chunk(2, dim=-1), dim=-1).flatten(-2)


def xpos_scales(
    pos: Tensor, head_dim: int, *, gamma: float = 0.4, span: float = 512.0
) -> Tensor:
    """Return by what xPos multiplies each pair of a query; keys are divided by it.

    Of the two factors only ``zeta_i^((m - n) / span)`` is left in a score, with
    ``zeta_i = (2 i / E + gamma) / (1 + gamma)``: keys fade with their distance, the
    fast pairs first. Only causal attention makes sense with it.

    Args:
        pos: ``[L]`` or ``[B, L]``.
        head_dim: ``E``, even.
        gamma: smaller fades faster.
        span: positions over which a pair fades by its ``zeta``.

    Returns:
        ``[..., L, E / 2]``, float64.
    """
    place = torch.arange(0, head_dim, 2, device=pos.device, dtype=torch.float64)
    zeta = (place / head_dim + gamma) / (1 + gamma)
    return zeta ** (pos.unsqueeze(-1).double() / span)


def xpos(
    query: Tensor,
    key: Tensor,
    q_pos: Tensor,
    kv_pos: Tensor,
    freqs: Tensor,
    *,
    gamma: float = 0.4,
    span: float = 512.0,
) -> tuple[Tensor, Tensor]:
    """Turn queries and keys, and let keys fade with their distance (xPos).

    Args:
        query: ``[B, H, L, E]``.
        key: ``[B, Hkv, S, E]``.
        q_pos: ``[L]`` or ``[B, L]``.
        kv_pos: ``[S]`` or ``[B, S]``.
        freqs: ``[E / 2]``.
        gamma: see :func:`xpos_scales`.
        span: see :func:`xpos_scales`.

    Returns:
        The query and the key, in the half layout.
    """
    ends = []
    for x, pos, sign in ((query, q_pos, 1), (key, kv_pos, -1)):
        scale = xpos_scales(pos, x.shape[-1], gamma=gamma, span=span) ** sign
        scale = scale if pos.ndim == 1 else scale.unsqueeze(1)
        ends.append(
            rotate(x, pos, freqs) * scale.repeat(*[1] * (scale.ndim - 1), 2).to(x)
        )
    return ends[0], ends[1]


def with_rotary(
    attend: Callable[..., Any], freqs: Tensor, *, layout: Layout = "half"
) -> Callable[..., Any]:
    """Make an ``attend`` function that turns queries and keys first.

    It is for calls without a cache: keys are turned once, before they are cached.

    Args:
        attend: any ``attend`` function.
        freqs: see :func:`rotate`.
        layout: which numbers are a pair.
    """

    def turned(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        q_pos: Tensor | None = None,
        kv_pos: Tensor | None = None,
        **options: Any,
    ) -> Any:
        length, kv_length = query.shape[2], key.shape[2]
        at = torch.arange(kv_length - length, kv_length, device=query.device)
        query = rotate(query, at if q_pos is None else q_pos, freqs, layout=layout)
        at = torch.arange(kv_length, device=key.device)
        key = rotate(key, at if kv_pos is None else kv_pos, freqs, layout=layout)
        return attend(query, key, value, q_pos=q_pos, kv_pos=kv_pos, **options)

    return turned
