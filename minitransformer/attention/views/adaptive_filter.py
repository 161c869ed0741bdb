r"""Adaptive filter attention: keys are noisy measurements of a state that moves on.

A token holds complex numbers, its modes: numbers 2k and 2k + 1 of a head are the real
and the imaginary part of mode k. Each follows the equation of
:mod:`minitransformer.attention.views.linear_sde`. A key that is :math:`D = t_i - t_j`
old predicts the query as :math:`e^{\lambda D} k_j`, with the variance :math:`V(D)` that
:func:`~minitransformer.attention.views.linear_sde.propagated_variance` gives. With the
surprise :math:`s_{ij}`, the mean of :math:`|q_i - e^{\lambda D} k_j|^2 / V(D)` over the
modes, the weight is

.. math:: w_{ij} \propto \Big(\frac{1}{V(D)\,(1 + s_{ij} / \nu)}\Big)^{\tau},
    \qquad o_i = \sum_j w_{ij}\, e^{\lambda D} v_j, \quad \sum_j w_{ij} = 1,

or what another function in the slot ``weight`` says: :func:`precision`,
:func:`student`, :func:`gaussian`, :func:`forgetting`.

If the modes share :math:`\mu, \sigma^2, \eta^2, \gamma^2` (isotropic; the frequencies
:math:`\omega_k` stay their own), tokens can be turned back to time 0 one by one, as in
rotary positions, and the weights cost two matrix products, as in attention. With
:math:`\mu = \sigma = 0`, :func:`gaussian` and keys of equal length, they *are* those
of dot-product attention, with the scale :math:`2 / (\nu V \cdot E/2)`.

Source: Peter Racioppo, arXiv:2509.04154 (Attention as an Adaptive Filter; from version
4 on, Robust Filter Attention). The isotropic form and the choice of weights are those
of the author's code. Differs: a query uses keys up to its own time, where the paper
also runs backward; parameters are passed in, not learned here; the weights of keys and
the transport of values share one dynamics. That forgetting is what the Kalman filter
does in the long run is worked out in :mod:`minitransformer.attention.views.kalman`.
"""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minitransformer.attention.core import check_shapes
from minitransformer.attention.views.linear_sde import (
    Dynamics,
    numbers_of,
    propagated_variance,
    space_of,
)

Weight = Callable[[Any, Any, Any], Any]


def precision(surprise: Any, variance: Any, lag: Any) -> Any:
    """Return the log weight of independent measurements: the precision, 1 / V."""
    return -space_of(variance).log(variance)


def student(
    surprise: Any, variance: Any, lag: Any, nu: float = 1.0, tau: float = 1.0
) -> Any:
    """Return the robust log weight: the precision, less where a key surprises.

    Args:
        surprise: squared residual by its variance, mean over the modes.
        variance: of the prediction.
        lag: age of the key.
        nu: the surprise at which the precision is halved.
        tau: factor of the log weight (the paper's temperature, squared).
    """
    xp = space_of(surprise)
    return -tau * (xp.log(variance) + xp.log1p(surprise / nu))


def gaussian(surprise: Any, variance: Any, lag: Any, nu: float = 1.0) -> Any:
    """Return the log weight exp(-surprise / nu) / V, which softmax attention has."""
    return -space_of(variance).log(variance) - surprise / nu


def forgetting(surprise: Any, variance: Any, lag: Any, rate: float = 1.0) -> Any:
    """Return the log weight of steady forgetting, -rate * lag: a linear bias."""
    return -rate * lag


def naive_adaptive_filter(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    *,
    dynamics: Dynamics,
    weight: Weight = precision,
    q_pos: Any = None,
    kv_pos: Any = None,
) -> np.ndarray:
    """Compute :func:`adaptive_filter` by its definition, in loops, in NumPy.

    Shapes, defaults and errors are those of :func:`adaptive_filter`.
    """
    _check(query, key, value, dynamics, q_pos, kv_pos)
    queries, keys, values = (
        np.ascontiguousarray(x, dtype=np.float64).view(np.complex128)
        for x in (query, key, value)
    )
    (batch, heads, length, _), size = queries.shape, keys.shape[2]
    if q_pos is None or kv_pos is None:
        q_pos, kv_pos = np.arange(size - length, size), np.arange(size)
    q_time = np.broadcast_to(q_pos, (batch, length))
    k_time = np.broadcast_to(kv_pos, (batch, size))
    rows = {}
    for field in fields(dynamics):
        numbers = np.atleast_1d(numbers_of(getattr(dynamics, field.name)))
        rows[field.name] = np.broadcast_to(numbers, (heads, numbers.shape[-1]))
    out = np.zeros((batch, heads, length, values.shape[-1]), dtype=np.complex128)
    for b, h, i in np.ndindex(batch, heads, length):
        group = h * keys.shape[1] // heads
        omega, mu, *noise = (numbers[h] for numbers in rows.values())
        log_weights, predictions = [], []
        for j in range(size):
            if not 0 <= k_time[b, j] <= q_time[b, i]:
                continue
            lag = float(q_time[b, i] - k_time[b, j])
            carry = np.exp((mu + 1j * omega) * lag)
            variance = propagated_variance(lag, mu, *noise)
            residual = queries[b, h, i] - carry * keys[b, group, j]
            surprise = np.mean(np.abs(residual) ** 2 / variance)
            log_weight = weight(surprise, variance, lag)
            log_weights.append(np.broadcast_to(log_weight, variance.shape))
            predictions.append(carry * values[b, group, j])
        if predictions:
            weights = np.exp(log_weights - np.max(log_weights, axis=0))
            out[b, h, i] = np.sum(weights / weights.sum(axis=0) * predictions, axis=0)
    return out.view(np.float64)


def adaptive_filter(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    dynamics: Dynamics,
    weight: Weight = precision,
    q_pos: Tensor | None = None,
    kv_pos: Tensor | None = None,
) -> Tensor:
    """Filter by attention, each mode with dynamics and noise of its own.

    Every mode has weights of its own, so memory grows as L * S * E.

    Args:
        query: ``[B, H, L, E]``, E even: pairs of neighbors are complex numbers.
        key: ``[B, Hkv, S, E]``.
        value: ``[B, Hkv, S, Ev]``, Ev even.
        dynamics: of queries, keys and values.
        weight: (surprise, variance, lag) -> log weight.
        q_pos: times of the queries, ``[L]`` or ``[B, L]``; by default those of the
            last L keys.
        kv_pos: times of the keys, ``[S]`` or ``[B, S]``; by default 0, 1, 2, ...
            Times need not be whole numbers; a negative one marks an empty slot.

    Returns:
        ``[B, H, L, Ev]``; zeros where no key is as old as the query, or older.

    Raises:
        ValueError: shapes do not fit each other, or the dynamics.
    """
    _check(query, key, value, dynamics, q_pos, kv_pos)
    (q, k, v), lag, seen, back = _aligned(query, key, value, dynamics, q_pos, kv_pos)
    lag, seen = lag[..., None], seen[..., None]
    mu, *noise = (_field(x, q, 2) for x in _noise(dynamics))
    decay = torch.exp(mu * lag)
    variance = propagated_variance(lag, mu, *noise).clamp_min(torch.finfo(q.dtype).tiny)
    q, k, v = (x.unflatten(-1, (-1, 2)) for x in (q, k, v))  # [..., modes, 2]
    residual = q[..., :, None, :, :] - decay[..., None] * k[..., None, :, :, :]
    surprise = (residual.square().sum(-1) / variance).mean(-1, keepdim=True)
    weights = _normalize(weight(surprise, variance, lag), seen, -2)
    out = (weights * decay).unsqueeze(-1) * v[..., None, :, :, :]
    return back(out.sum(-3).flatten(-2)).to(value.dtype)


def isotropic_adaptive_filter(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    dynamics: Dynamics,
    weight: Weight = precision,
    q_pos: Tensor | None = None,
    kv_pos: Tensor | None = None,
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Compute :func:`adaptive_filter` at the cost of attention, for shared noise.

    All modes of a head share ``mu``, ``sigma2``, ``eta2`` and ``gamma2`` (numbers, or
    ``[heads, 1]``); frequencies may differ. Arguments are those of
    :func:`adaptive_filter`.

    Returns:
        ``[B, H, L, Ev]``, and with ``return_lse`` the log of the sum of the weights
        before they are normalized, ``[B, H, L]``: for :func:`precision` that sum is the
        precision that independent measurements would have together.

    Raises:
        ValueError: as :func:`adaptive_filter`, or modes of a head differ.
    """
    _check(query, key, value, dynamics, q_pos, kv_pos)
    for name in ("mu", "sigma2", "eta2", "gamma2"):
        shape = numbers_of(getattr(dynamics, name)).shape
        if shape and shape[-1] != 1:
            raise ValueError(f"{name} has shape {shape}, needs (heads, 1)")
    (q, k, v), lag, seen, back = _aligned(query, key, value, dynamics, q_pos, kv_pos)
    mu, *noise = (_field(x, q, 1) for x in _noise(dynamics))
    decay = torch.exp(mu * lag)
    variance = propagated_variance(lag, mu, *noise).clamp_min(torch.finfo(q.dtype).tiny)
    # |q - decay k|^2 = |q|^2 + decay (decay |k|^2 - 2 q.k), two passes over L x S
    of_q, of_k = (x.square().sum(-1, keepdim=True) for x in (q, k))
    residual = torch.addcmul(
        of_q, decay, torch.addcmul((-2 * q) @ k.mT, decay, of_k.mT)
    )
    surprise = (residual * (2 / (query.shape[-1] * variance))).clamp_min(0)
    log_weights = weight(surprise, variance, lag)
    out = back((_normalize(log_weights, seen, -1) * decay) @ v).to(value.dtype)
    if not return_lse:
        return out
    lse = log_weights.masked_fill(~seen, torch.finfo(q.dtype).min).logsumexp(-1)
    lse = torch.where(seen.any(-1), lse, -torch.inf)
    return out, lse.expand(out.shape[:-1])


def _noise(dynamics: Dynamics) -> tuple[Any, Any, Any, Any]:
    return dynamics.mu, dynamics.sigma2, dynamics.eta2, dynamics.gamma2


def _check(query: Any, key: Any, value: Any, dynamics: Dynamics, *pos: Any) -> None:
    """Raise ValueError, naming what does not fit."""
    check_shapes(query, key, value, *pos)
    for name, x in (("query", query), ("value", value)):
        if x.shape[-1] % 2:
            raise ValueError(f"{name} has head_dim {x.shape[-1]}, needs an even one")
    for field in fields(dynamics):
        shape = tuple(np.shape(numbers_of(getattr(dynamics, field.name))))
        for name, x in (("query", query), ("value", value)):
            if shape and shape[-1] not in (1, x.shape[-1] // 2):
                raise ValueError(
                    f"{field.name} has {shape[-1]} modes, {name} has {x.shape[-1] // 2}"
                )
        if len(shape) > 2 or (len(shape) == 2 and shape[0] != query.shape[1]):
            raise ValueError(f"{field.name} has shape {shape}, needs (heads, modes)")


def _aligned(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dynamics: Dynamics,
    q_pos: Any,
    kv_pos: Any,
) -> tuple[list[Tensor], Tensor, Tensor, Callable[[Tensor], Tensor]]:
    """Turn all tokens back to time 0, one key head a query head, and give their ages.

    Returns:
        query, key and value ``[B, H, L or S, E]``; the ages and whether they are seen,
        ``[B or 1, 1, L, S]``; and the function that turns an output to its time.
    """
    size, length = key.shape[2], query.shape[2]
    if q_pos is None or kv_pos is None:
        q_pos, kv_pos = torch.arange(size - length, size), torch.arange(size)
    q_time, k_time = (
        torch.atleast_2d(pos.to(query.device, torch.float64)) for pos in (q_pos, kv_pos)
    )
    lag = q_time[:, None, :, None] - k_time[:, None, None, :]
    seen = (lag >= 0) & (k_time >= 0)[:, None, None, :]
    dtype = torch.promote_types(query.dtype, torch.float32)
    tokens = []
    for x, time in ((query, q_time), (key, k_time), (value, k_time)):
        x = x.to(dtype).repeat_interleave(query.shape[1] // x.shape[1], dim=1)
        tokens.append(_turn(x, dynamics.omega, -time))
    lag = torch.where(seen, lag, 0).to(dtype)
    return tokens, lag, seen, lambda out: _turn(out, dynamics.omega, q_time)


def _turn(x: Tensor, omega: Any, time: Tensor) -> Tensor:
    """Multiply each mode of ``[B, H, L, E]`` by exp(i omega time)."""
    if isinstance(omega, (int, float)) and omega == 0:
        return x
    angle = _field(omega, time, 1) * time[:, None, :, None]
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    real, imaginary = x.unflatten(-1, (-1, 2)).unbind(-1)
    turned = (real * cos - imaginary * sin, real * sin + imaginary * cos)
    return torch.stack(turned, dim=-1).flatten(-2)


def _field(x: Any, like: Tensor, axes: int) -> Tensor:
    """Return a field of the dynamics, with new axes between heads and modes."""
    field = torch.as_tensor(x, dtype=like.dtype, device=like.device)
    return field if field.ndim < 2 else field.view(len(field), *[1] * axes, -1)


def _normalize(log_weights: Tensor, seen: Tensor, dim: int) -> Tensor:
    """Return weights that sum to 1, and zeros where nothing is seen."""
    lowest = torch.finfo(log_weights.dtype).min
    return log_weights.masked_fill(~seen, lowest).softmax(dim) * seen
