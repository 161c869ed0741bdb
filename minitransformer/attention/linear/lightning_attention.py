"""Lightning attention: linear attention with a decay, block by block.

A state ``S`` (``E`` by ``Ev`` numbers a head) takes in a key and its value at every
step, after it has shrunk by the decay ``g`` of its head; a query reads it::

    S_t = g S_(t-1) + k_t^T v_t        o_t = q_t S_t

so ``o_t = sum over j <= t of g^(t-j) (q_t . k_j) v_j``: attention without softmax. Step
by step that is linear in the length, but slow. In blocks of ``n`` tokens, with the
state ``S`` before the block and ``M_ij = g^(i-j)`` for ``i >= j``, else 0::

    O = ((Q K^T) * M) V + diag(g^(i+1)) Q S
    S <- g^n S + (diag(g^(n-1-i)) K)^T V            i = 0 .. n-1 in the block

The first part is attention within the block, the second all that came before it. The
gradients have the same form: dQ is the output for (dO, V, K), and dV and dK are those
for (K, Q, dO) and (V, dO, Q) with the time reversed.

Sources: Qin et al., arXiv 2401.04658 (Lightning Attention-2), 2405.17381. There the
model normalizes the output afterwards; nothing is scaled here.
"""

import numpy as np
import torch
from torch import Tensor


def naive_lightning_attention(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    *,
    decay: np.ndarray,
    state: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Compute it as it is defined, step by step, in float64.

    Arguments and results are those of :func:`lightning_attention`, as NumPy arrays.
    """
    query, key, value = (np.asarray(x, dtype=np.float64) for x in (query, key, value))
    (batch, heads, length, head_dim), value_dim = query.shape, value.shape[3]
    shape = (batch, heads, head_dim, value_dim)
    now = np.zeros(shape) if state is None else np.array(state, dtype=np.float64)
    out = np.zeros((batch, heads, length, value_dim))
    for b, h, t in np.ndindex(batch, heads, length):
        now[b, h] = decay[h] * now[b, h] + np.outer(key[b, h, t], value[b, h, t])
        out[b, h, t] = query[b, h, t] @ now[b, h]
    return out, now


def _check_shapes(
    query: Tensor, key: Tensor, value: Tensor, decay: Tensor, state: Tensor | None
) -> None:
    """Raise ``ValueError`` unless the inputs of lightning attention fit together."""
    for name, x in (("query", query), ("key", key), ("value", value)):
        if x.ndim != 4:
            raise ValueError(
                f"{name} has {x.ndim} axes, needs (batch, heads, len, dim)"
            )
        if x.shape[:3] != query.shape[:3]:
            raise ValueError(
                f"{name} has (batch, heads, length) {tuple(x.shape[:3])}, "
                f"query {tuple(query.shape[:3])}"
            )
    if key.shape[3] != query.shape[3]:
        raise ValueError(f"key has head_dim {key.shape[3]}, query has {query.shape[3]}")
    if tuple(decay.shape) != query.shape[1:2]:
        raise ValueError(
            f"decay has shape {tuple(decay.shape)}, needs ({query.shape[1]},)"
        )
    wanted = (*query.shape[:2], query.shape[3], value.shape[3])
    if state is not None and tuple(state.shape) != wanted:
        raise ValueError(f"state has shape {tuple(state.shape)}, needs {wanted}")


def lightning_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    decay: Tensor,
    state: Tensor | None = None,
    block: int = 64,
) -> tuple[Tensor, Tensor]:
    """Attend linearly, block by block.

    Args:
        query: ``[B, H, L, E]``.
        key: ``[B, H, L, E]``.
        value: ``[B, H, L, Ev]``.
        decay: ``[H]``, above 0 and at most 1: what is left of the state after a step.
        state: ``[B, H, E, Ev]``, what an earlier call handed back; by default zeros.
        block: tokens that are taken in at once.

    Returns:
        The output ``[B, H, L, Ev]`` in the type of ``value``, and the state after the
        last token in float32 (float64 if the query is).

    Raises:
        ValueError: shapes do not fit, or ``block`` is below 1.
    """
    _check_shapes(query, key, value, decay, state)
    if block < 1:
        raise ValueError(f"block is {block}, needs at least 1")
    (batch, heads, length, head_dim), value_dim = query.shape, value.shape[3]
    wide = torch.promote_types(query.dtype, torch.float32)
    if state is None:
        state = query.new_zeros(batch, heads, head_dim, value_dim, dtype=wide)
    state, fade = state.to(wide), decay.to(wide).log().view(-1, 1, 1)
    out = []
    for start in range(0, length, block):
        q, k, v = (x[:, :, start : start + block].to(wide) for x in (query, key, value))
        size = q.shape[2]
        i = torch.arange(size, device=q.device, dtype=wide)
        gap = i.view(-1, 1) - i
        inside = torch.exp(fade * gap.clamp_min(0)).masked_fill(gap < 0, 0)
        before = torch.exp(fade * (i + 1).view(-1, 1))
        out.append((q @ k.mT * inside) @ v + before * (q @ state))
        left = torch.exp(fade * (size - 1 - i).view(-1, 1))
        state = torch.exp(fade * size) * state + (left * k).mT @ v
    whole = torch.cat(out, dim=2) if out else value.new_zeros(value.shape)
    return whole.to(value.dtype), state
