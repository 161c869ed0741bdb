r"""Attention as conditioning: a key announces a value, a query tests what was learned.

Pavlov's dog hears a bell, a *conditional stimulus* (CS, the key), and is fed, an
*unconditional stimulus* (US, the value). A *test stimulus* (the query) shows what the
sequence has taught. The memory is a matrix :math:`S` of shape ``[E, Ev]``, each token
is a trial, and with rows as vectors the two learning rules are

.. math::
    \text{Hebb:} \quad S_t &= g_t S_{t-1} + k_t^\top v_t \\
    \text{delta:} \quad S_t &= S_{t-1} + \beta_t\, k_t^\top (v_t - k_t S_{t-1}) \\
    \text{test:} \quad o_t &= q_t S_t.

Hebb's rule with :math:`g = 1` is causal linear attention, :math:`o_t = \sum_{s \le t}
(q_t \cdot k_s)\, v_s`, without normalizer and with scale 1. The delta rule is that of
Rescorla and Wagner: what is learned is the surprise. Hence it blocks a second cue that
tells nothing new, which Hebb's rule cannot. How much each holds is in
:mod:`minitransformer.attention.views.pavlovian_capacity`.

Source: Mu Qiao, arXiv:2508.08289, read through its abstracts; the third version,
renamed "Attention as Conditioning", has the delta rule as well. The delta rule in
attention: Schlag et al., arXiv:2102.11174; its chunked form: Yang et al.,
arXiv:2406.06484. The code is worked out from the equations above. Gates are numbers
that the caller gives; in a model a layer computes them.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Array = NDArray[np.float64]
Phase = tuple[str, float, int]
"""Cues shown together, strength of the US that follows, number of trials."""


def naive_hebbian(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    *,
    decay: ArrayLike = 1.0,
    state: ArrayLike | None = None,
) -> tuple[Array, Array]:
    """Learn by Hebb's rule, trial by trial: the definition of :func:`hebbian`."""
    q, k, v, memory, out = _arrays(query, key, value, state)
    keep = np.broadcast_to(np.asarray(decay, dtype=float), k.shape[:3])
    for b, h, t in np.ndindex(k.shape[:3]):
        memory[b, h] = keep[b, h, t] * memory[b, h] + np.outer(k[b, h, t], v[b, h, t])
        out[b, h, t] = q[b, h, t] @ memory[b, h]
    return out, memory


def naive_delta(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    *,
    rate: ArrayLike = 1.0,
    state: ArrayLike | None = None,
) -> tuple[Array, Array]:
    """Learn by the delta rule, trial by trial: the definition of :func:`delta`."""
    q, k, v, memory, out = _arrays(query, key, value, state)
    step = np.broadcast_to(np.asarray(rate, dtype=float), k.shape[:3])
    for b, h, t in np.ndindex(k.shape[:3]):
        surprise = v[b, h, t] - k[b, h, t] @ memory[b, h]
        memory[b, h] += step[b, h, t] * np.outer(k[b, h, t], surprise)
        out[b, h, t] = q[b, h, t] @ memory[b, h]
    return out, memory


def hebbian(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    decay: Tensor | float = 1.0,
    state: Tensor | None = None,
    chunk: int = 64,
) -> tuple[Tensor, Tensor]:
    """Learn by Hebb's rule; with ``decay`` 1 this is causal linear attention.

    Within a chunk all pairs are compared at once, between chunks only the state passes,
    so the cost grows linearly with ``L``.

    Args:
        query: ``[B, H, L, E]``, test stimuli; token t is answered after trial t.
        key: ``[B, H, L, E]``, conditional stimuli.
        value: ``[B, H, L, Ev]``, unconditional stimuli.
        decay: what remains of the memory at each trial, in [0, 1]; a number or a tensor
            that broadcasts to ``[B, H, L]``.
        state: memory before the first trial, ``[B, H, E, Ev]``; empty by default.
        chunk: tokens worked on at once; it changes the speed, not the result.

    Returns:
        out ``[B, H, L, Ev]`` in the dtype of ``value``, and the memory after the last
        trial, in float32 or better.

    Raises:
        ValueError: shapes do not fit, or ``chunk`` is not positive.
    """
    memory = _memory(query, key, value, state, chunk)
    keep = _gate("decay", decay, key, memory.dtype)
    outs = []
    for q, k, v, g in _chunks(chunk, memory.dtype, query, key, value, keep):
        size = g.shape[-1]
        # kept[t, s] is what trial t still has of trial s: the product of g over (s, t]
        steps = g[..., None].expand(*g.shape, size).tril(-1)
        upper = torch.ones(size, size, dtype=g.dtype, device=g.device).triu()
        kept = (steps + upper).cumprod(-2).tril()
        since = g.cumprod(-1)[..., None]
        outs.append((q @ k.mT * kept) @ v + since * (q @ memory))
        memory = since[..., -1:, :] * memory + (k * kept[..., -1, :, None]).mT @ v
    return _joined(outs, value), memory


def delta(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    rate: Tensor | float = 1.0,
    state: Tensor | None = None,
    chunk: int = 64,
) -> tuple[Tensor, Tensor]:
    r"""Learn by the delta rule of Rescorla and Wagner: Hebb's rule on surprises.

    The surprises :math:`u_t = \beta_t (v_t - k_t S_{t-1})` of a chunk solve a
    triangular system (:func:`surprises`); with them in place of the values, the delta
    rule is Hebb's. It is stable for :math:`0 \le \beta |k|^2 \le 2`, so scale the keys
    to length 1.

    Args:
        query: ``[B, H, L, E]``, test stimuli; token t is answered after trial t.
        key: ``[B, H, L, E]``, conditional stimuli.
        value: ``[B, H, L, Ev]``, unconditional stimuli.
        rate: share of the surprise that is learned, in [0, 1] for unit keys; a number
            or a tensor that broadcasts to ``[B, H, L]``.
        state: memory before the first trial, ``[B, H, E, Ev]``; empty by default.
        chunk: tokens worked on at once; it changes the speed, not the result.

    Returns:
        out ``[B, H, L, Ev]`` in the dtype of ``value``, and the memory after the last
        trial, in float32 or better.

    Raises:
        ValueError: shapes do not fit, or ``chunk`` is not positive.
    """
    memory = _memory(query, key, value, state, chunk)
    step = _gate("rate", rate, key, memory.dtype)
    outs = []
    for q, k, v, b in _chunks(chunk, memory.dtype, query, key, value, step):
        u = surprises(k, v - k @ memory, b)
        outs.append(q @ memory + (q @ k.mT).tril() @ u)
        memory = memory + k.mT @ u
    return _joined(outs, value), memory


def surprises(key: Tensor, value: Tensor, rate: Tensor) -> Tensor:
    r"""Return what each trial teaches, starting from an empty memory.

    Solves :math:`u_t + \beta_t \sum_{s < t} (k_t \cdot k_s)\, u_s = \beta_t v_t`.

    Args:
        key: ``[..., L, E]``.
        value: ``[..., L, Ev]``.
        rate: ``[..., L]``.

    Returns:
        ``[..., L, Ev]``, by which Hebb's rule learns what the delta rule learns.
    """
    overlap = (rate[..., None] * (key @ key.mT)).tril(-1)
    return torch.linalg.solve_triangular(
        overlap, rate[..., None] * value, upper=False, unitriangular=True
    )


def trials(
    phases: Sequence[Phase], salience: Mapping[str, float] | None = None
) -> tuple[Array, Array, str]:
    """Turn an experiment into keys and values, one row a trial.

    Args:
        phases: (cues, us, times), such as ``("AB", 1.0, 20)``: the cues A and B are
            shown together and followed by a US of strength 1, twenty times.
        salience: cue -> the size of its entry in a key, 1 by default.

    Returns:
        key ``[trials, cues]``, value ``[trials, 1]`` and the cues in the order of the
        columns. Cues shown together add up, as in Rescorla and Wagner's rule.

    Raises:
        ValueError: a phase shows no cue or has a negative number of trials.
    """
    cues = "".join(sorted({cue for shown, _, _ in phases for cue in shown}))
    size = dict.fromkeys(cues, 1.0) | dict(salience or {})
    keys, values = [], []
    for shown, us, times in phases:
        if not shown or times < 0:
            shape = "a cue and no negative number of trials"
            raise ValueError(f"phase is {(shown, us, times)}, needs {shape}")
        keys += [[size[cue] if cue in shown else 0.0 for cue in cues]] * times
        values += [[us]] * times
    return np.array(keys).reshape(-1, len(cues)), np.array(values).reshape(-1, 1), cues


def _check(
    query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the shape of the memory, or say what does not fit."""
    named = {"query": query, "key": key, "value": value}
    for name, shape in named.items():
        if len(shape) != 4:
            raise ValueError(f"{name} has shape {shape}, needs (B, H, L, head_dim)")
    for name, shape in named.items():
        if shape[:3] != key[:3]:
            raise ValueError(f"{name} has (B, H, L) {shape[:3]}, key has {key[:3]}")
    if key[3] != query[3]:
        raise ValueError(f"key has head_dim {key[3]}, query has {query[3]}")
    return (*key[:2], key[3], value[3])


def _arrays(
    query: ArrayLike, key: ArrayLike, value: ArrayLike, state: ArrayLike | None
) -> tuple[Array, Array, Array, Array, Array]:
    q, k, v = (np.asarray(each, dtype=float) for each in (query, key, value))
    shape = _check(q.shape, k.shape, v.shape)
    memory = np.zeros(shape) if state is None else np.asarray(state, dtype=float).copy()
    if memory.shape != shape:
        raise ValueError(f"state has shape {memory.shape}, needs {shape}")
    return q, k, v, memory, np.zeros(v.shape)


def _memory(
    query: Tensor, key: Tensor, value: Tensor, state: Tensor | None, chunk: int
) -> Tensor:
    shape = _check(tuple(query.shape), tuple(key.shape), tuple(value.shape))
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}, needs 1 or more")
    dtype = torch.promote_types(query.dtype, torch.float32)
    if state is None:
        return torch.zeros(shape, dtype=dtype, device=query.device)
    if tuple(state.shape) != shape:
        raise ValueError(f"state has shape {tuple(state.shape)}, needs {shape}")
    return state.to(dtype)


def _gate(name: str, gate: Tensor | float, key: Tensor, dtype: torch.dtype) -> Tensor:
    gate = torch.as_tensor(gate, dtype=dtype, device=key.device)
    try:
        return gate.expand(key.shape[:3])
    except RuntimeError:
        wanted = tuple(key.shape[:3])
        raise ValueError(
            f"{name} has shape {tuple(gate.shape)}, needs to broadcast to {wanted}"
        ) from None


def _chunks(
    chunk: int,
    dtype: torch.dtype,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    gate: Tensor,
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    for start in range(0, key.shape[2], chunk):
        at = slice(start, start + chunk)
        q, k, v = (each[:, :, at].to(dtype) for each in (query, key, value))
        yield q, k, v, gate[:, :, at]


def _joined(outs: list[Tensor], value: Tensor) -> Tensor:
    if not outs:  # no token, no answer
        return torch.zeros_like(value)
    return torch.cat(outs, dim=2).to(value.dtype)
