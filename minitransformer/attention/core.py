"""Attention: every query takes a weighted mean of the values.

For query ``i`` and key ``j``, with a scale ``s``::

    score_ij  = score_mod(s * similarity(q_i, k_j))      -inf where mask_mod says no
    weight_ij = normalize(score_i)_j                     softmax: exp(score_ij - lse_i)
    out_i     = sum_j weight_ij v_j                      lse_i = log sum_j exp(score_ij)

Shapes are those of ``torch.nn.functional.scaled_dot_product_attention``: query
``[B, H, L, E]``, key ``[B, Hkv, S, E]``, value ``[B, Hkv, S, Ev]``. ``Hkv`` divides
``H``: with ``Hkv = H`` these are plain heads, with ``Hkv = 1`` one key for all of them
(multi-query), between the two they are grouped. ``score_mod`` and ``mask_mod`` are
those of ``torch.nn.attention.flex_attention``.

Positions are data. ``q_pos`` and ``kv_pos`` are whole numbers ``[L]``, ``[S]`` or
``[B, L]``, ``[B, S]``; -1 marks an empty slot. Without them the last query stands on
the last key (PyTorch's own causal flag aligns the first ones). A query that may see no
key gives zeros and finite gradients.

Source: Vaswani et al., "Attention Is All You Need", arXiv 1706.03762.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minitransformer.attention.normalizers import softmax
from minitransformer.attention.similarities import dot

ScoreMod = Callable[[Any, Any, Any, Any, Any], Any]
"""``score_mod(score, b, h, q_idx, kv_idx) -> score``."""

MaskMod = Callable[[Any, Any, Any, Any], Any]
"""``mask_mod(b, h, q_idx, kv_idx) -> may the query see the key?``."""


def check_shapes(query: Any, key: Any, value: Any, q_pos: Any, kv_pos: Any) -> None:
    """Refuse arrays that do not fit each other, naming the first that does not.

    Args:
        query: ``[B, H, L, E]``.
        key: ``[B, Hkv, S, E]``.
        value: ``[B, Hkv, S, Ev]``.
        q_pos: ``[L]`` or ``[B, L]``, or None.
        kv_pos: ``[S]`` or ``[B, S]``, or None.

    Raises:
        ValueError: a number of axes, a size or a pair of positions does not fit.
    """
    for name, array in (("query", query), ("key", key), ("value", value)):
        if array.ndim != 4:
            raise ValueError(f"{name} has shape {tuple(array.shape)}, needs 4 axes")
    batch, heads, length, head_dim = query.shape
    kv_heads, kv_length = key.shape[1:3]
    for name, got, wanted in (
        ("key has batch", key.shape[0], batch),
        ("key has head_dim", key.shape[3], head_dim),
        ("value has batch", value.shape[0], batch),
    ):
        if got != wanted:
            raise ValueError(f"{name} {got}, query has {wanted}")
    if value.shape[1:3] != key.shape[1:3]:
        got, wanted = tuple(value.shape[1:3]), tuple(key.shape[1:3])
        raise ValueError(f"value has (heads, length) {got}, key has {wanted}")
    if kv_heads == 0 or heads % kv_heads:
        raise ValueError(f"key has {kv_heads} heads, which do not divide {heads}")
    if (q_pos is None) != (kv_pos is None):
        given, missing = ("kv_pos", "q_pos") if q_pos is None else ("q_pos", "kv_pos")
        raise ValueError(f"{given} is given without {missing}")
    if q_pos is not None:
        for name, pos, size in (
            ("q_pos", q_pos, length),
            ("kv_pos", kv_pos, kv_length),
        ):
            if tuple(pos.shape) not in ((size,), (batch, size)):
                raise ValueError(
                    f"{name} has shape {tuple(pos.shape)}, "
                    f"needs ({size},) or ({batch}, {size})"
                )


def naive_attention(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    *,
    q_pos: np.ndarray | None = None,
    kv_pos: np.ndarray | None = None,
    return_lse: bool = False,
    scale: float | None = None,
    score_mod: ScoreMod | None = None,
    mask_mod: MaskMod | None = None,
) -> Any:
    """Compute softmax attention as it is defined, one query at a time, in float64.

    Arguments, results and errors are those of :func:`attention`, for NumPy arrays.
    """
    out, _, lse = _naive_forward(
        query, key, value, q_pos, kv_pos, scale, score_mod, mask_mod
    )
    return (out, lse) if return_lse else out


def naive_weights(
    query: np.ndarray,
    key: np.ndarray,
    *,
    q_pos: np.ndarray | None = None,
    kv_pos: np.ndarray | None = None,
    scale: float | None = None,
    score_mod: ScoreMod | None = None,
    mask_mod: MaskMod | None = None,
) -> np.ndarray:
    """Return the weights ``[B, H, L, S]`` of :func:`naive_attention`, to look at."""
    nothing = np.zeros((*key.shape[:3], 0))
    _, weights, _ = _naive_forward(
        query, key, nothing, q_pos, kv_pos, scale, score_mod, mask_mod
    )
    return weights


def _naive_forward(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    q_pos: np.ndarray | None,
    kv_pos: np.ndarray | None,
    scale: float | None,
    score_mod: ScoreMod | None,
    mask_mod: MaskMod | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    check_shapes(query, key, value, q_pos, kv_pos)
    query, key, value = (np.asarray(x, dtype=np.float64) for x in (query, key, value))
    (batch, heads, length, head_dim), (kv_heads, kv_length) = (
        query.shape,
        key.shape[1:3],
    )
    scale = head_dim**-0.5 if scale is None else scale
    weights = np.zeros((batch, heads, length, kv_length))
    lse = np.full((batch, heads, length), -np.inf)
    for b, h, i in np.ndindex(batch, heads, length):
        row = np.full(kv_length, -np.inf)
        for j in range(kv_length):
            at_q: Any = np.int64(kv_length - length + i)
            at_kv: Any = np.int64(j)
            if q_pos is not None and kv_pos is not None:
                at_q = q_pos[i] if q_pos.ndim == 1 else q_pos[b, i]
                at_kv = kv_pos[j] if kv_pos.ndim == 1 else kv_pos[b, j]
                if at_q < 0 or at_kv < 0:
                    continue
            if mask_mod is not None and not mask_mod(b, h, at_q, at_kv):
                continue
            score = scale * (query[b, h, i] @ key[b, h * kv_heads // heads, j])
            row[j] = score_mod(score, b, h, at_q, at_kv) if score_mod else score
        if np.max(row, initial=-np.inf) > -np.inf:
            peak = row.max()
            lse[b, h, i] = peak + np.log(np.exp(row - peak).sum())
            weights[b, h, i] = np.exp(row - lse[b, h, i])
    value_of_head = value[:, np.arange(heads) * kv_heads // heads]
    return weights @ value_of_head, weights, lse


def naive_attention_backward(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    grad_out: np.ndarray,
    *,
    q_pos: np.ndarray | None = None,
    kv_pos: np.ndarray | None = None,
    scale: float | None = None,
    mask_mod: MaskMod | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Derive by hand what automatic differentiation would compute.

    With the weights ``P`` and the scores ``S`` of one head::

        dV = P^T dO        dP = dO V^T        dS_ij = P_ij (dP_ij - sum_j P_ij dP_ij)
        dQ = s dS K        dK = s dS^T Q

    and the heads that share a key add up their parts.

    Args:
        query: ``[B, H, L, E]``.
        key: ``[B, Hkv, S, E]``.
        value: ``[B, Hkv, S, Ev]``.
        grad_out: ``[B, H, L, Ev]``, the derivative of a number by the output.
        q_pos: see :func:`attention`.
        kv_pos: see :func:`attention`.
        scale: see :func:`attention`.
        mask_mod: see :func:`attention`.

    Returns:
        The derivatives of that number by query, key and value, in their shapes.

    Raises:
        ValueError: shapes do not fit.
    """
    out, weights, _ = _naive_forward(
        query, key, value, q_pos, kv_pos, scale, None, mask_mod
    )
    if grad_out.shape != out.shape:
        raise ValueError(f"grad_out has shape {grad_out.shape}, out has {out.shape}")
    (heads, _, head_dim), kv_heads = query.shape[1:], key.shape[1]
    scale = head_dim**-0.5 if scale is None else scale
    grad_q = np.zeros(query.shape)
    grad_k, grad_v = np.zeros(key.shape), np.zeros(value.shape)
    for b, h in np.ndindex(query.shape[0], heads):
        kv = h * kv_heads // heads
        p, g = weights[b, h], np.asarray(grad_out[b, h], dtype=np.float64)
        grad_p = g @ value[b, kv].T
        grad_s = p * (grad_p - (p * grad_p).sum(axis=1, keepdims=True))
        grad_q[b, h] = scale * grad_s @ key[b, kv]
        grad_k[b, kv] += scale * grad_s.T @ query[b, h]
        grad_v[b, kv] += p.T @ g
    return grad_q, grad_k, grad_v


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    q_pos: Tensor | None = None,
    kv_pos: Tensor | None = None,
    return_lse: bool = False,
    scale: float | None = None,
    similarity: Callable[[Tensor, Tensor], Tensor] = dot,
    score_mod: ScoreMod | None = None,
    mask_mod: MaskMod | None = None,
    normalize: Callable[[Tensor], Tensor] = softmax,
) -> Any:
    """Let every query take a weighted mean of the values.

    Args:
        query: ``[B, H, L, E]``.
        key: ``[B, Hkv, S, E]``, where ``Hkv`` divides ``H``.
        value: ``[B, Hkv, S, Ev]``.
        q_pos: whole numbers ``[L]`` or ``[B, L]``, where each query stands; -1 marks an
            empty slot. By default the last query stands on the last key.
        kv_pos: the same for the keys, ``[S]`` or ``[B, S]``.
        return_lse: also return the logarithm of the sum of exponentials of each row of
            scores, by which results over parts of the keys can be merged.
        scale: what similarities are multiplied by; ``1/sqrt(E)`` by default.
        similarity: a function of :mod:`~minitransformer.attention.similarities`.
        score_mod: changes each score, see :mod:`~minitransformer.attention.scores`.
        mask_mod: says which keys a query may see, see
            :mod:`~minitransformer.attention.masks`. Hidden keys and values must still
            be finite, as in PyTorch's: one that gives a score of NaN or plus infinity
            makes the row NaN, hidden or not.
        normalize: a function of :mod:`~minitransformer.attention.normalizers`.

    Returns:
        The output ``[B, H, L, Ev]`` in the type of ``value``; with ``return_lse`` also
        the ``lse`` ``[B, H, L]`` in float32 (float64 if the query is), -inf where a
        query may see no key.

    Raises:
        ValueError: shapes do not fit, positions come for one side only, or
            ``return_lse`` is asked of another normalizer than softmax.
    """
    check_shapes(query, key, value, q_pos, kv_pos)
    if return_lse and normalize is not softmax:
        name = getattr(normalize, "__name__", repr(normalize))
        raise ValueError(f"return_lse needs normalize=softmax, got {name}")
    (batch, heads, length, head_dim), (kv_heads, kv_length) = (
        query.shape,
        key.shape[1:3],
    )
    rows = length * heads // kv_heads  # heads that share a key lie side by side
    scale = head_dim**-0.5 if scale is None else scale
    together = (query * scale if similarity is dot else query).reshape(
        batch, kv_heads, rows, head_dim
    )
    scores = similarity(together, key)
    scores = scores if similarity is dot else scores * scale
    if scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.float()
    if heads != kv_heads:
        scores = scores.view(batch, heads, length, kv_length)
    scores = _modify(scores, q_pos, kv_pos, score_mod, mask_mod)
    weights = normalize(scores).to(value.dtype)
    out = weights.view(batch, kv_heads, rows, kv_length) @ value
    out = out.view(batch, heads, length, value.shape[3])
    return (out, _logsumexp(scores)) if return_lse else out


def _modify(
    scores: Tensor,
    q_pos: Tensor | None,
    kv_pos: Tensor | None,
    score_mod: ScoreMod | None,
    mask_mod: MaskMod | None,
) -> Tensor:
    """Apply both mods to scores ``[B, H, L, S]``; -inf is what must not be seen."""
    batch, heads, length, kv_length = scores.shape
    if q_pos is None and score_mod is None and mask_mod is None:
        return scores
    device = scores.device
    b = torch.arange(batch, device=device).view(-1, 1, 1, 1)
    h = torch.arange(heads, device=device).view(-1, 1, 1)
    if q_pos is None or kv_pos is None:
        q_idx = torch.arange(kv_length - length, kv_length, device=device).view(-1, 1)
        kv_idx = torch.arange(kv_length, device=device)
        mask = None
    else:
        q_idx = q_pos.unsqueeze(-1) if q_pos.ndim == 1 else q_pos[:, None, :, None]
        kv_idx = kv_pos if kv_pos.ndim == 1 else kv_pos[:, None, None, :]
        mask = (q_idx >= 0) & (kv_idx >= 0)
    if score_mod is not None:
        scores = score_mod(scores, b, h, q_idx, kv_idx)
    if mask_mod is not None:
        seen = torch.as_tensor(mask_mod(b, h, q_idx, kv_idx), device=device)
        mask = seen if mask is None else mask & seen
    if mask is None:
        return scores
    bias = torch.zeros(mask.shape, dtype=scores.dtype, device=device)
    bias = bias.masked_fill(~mask, -torch.inf)
    # A sum is the cheapest change to derive (a fill costs up to a third more, and would
    # still leave 0 * NaN of a hidden value); in place it saves a copy, where that is
    # safe: not on the result of a mod, nor on a view that needs a derivative.
    in_place = score_mod is None and (scores._base is None or not scores.requires_grad)
    return scores.add_(bias) if in_place else scores + bias


def _logsumexp(scores: Tensor) -> Tensor:
    empty = torch.isneginf(scores).all(dim=-1)
    finite = scores.masked_fill(empty.unsqueeze(-1), 0.0)
    return torch.logsumexp(finite, dim=-1).masked_fill(empty, -torch.inf)
