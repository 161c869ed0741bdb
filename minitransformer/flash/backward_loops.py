"""The tile loops of the backward pass for one head, run on a memory that counts.

As :mod:`~minitransformer.flash.forward_loops`, with ``dO [L, Ev]``, the derivative of a
number by the output. The weights are not kept; each tile of them is made again from
what the forward pass left of a row, its ``lse`` (or its peak and total)::

    P_ij = exp(s Q_i K_j^T - lse_i)             D_i = rowsum(dO_i * O_i)
    dV_j += P_ij^T dO_i                         dP_ij = dO_i V_j^T
    dS_ij = P_ij * (dP_ij - D_i)                dK_j += s dS_ij^T Q_i
                                                dQ_i += s dS_ij K_j

``D_i`` stands for ``rowsum(P_i * dP_i)``, which would need the whole row: the two are
equal, because ``sum_j P_ij (dO_i . V_j) = dO_i . sum_j P_ij V_j = dO_i . O_i``.

Both flash loops go over key tiles outside and query tiles inside: ``dK_j`` and ``dV_j``
stay, ``dQ_i`` moves. They differ in where ``D`` is summed.

Sources: Dao et al., "FlashAttention", arXiv 2205.14135, algorithms 3 and 4; Dao,
"FlashAttention-2", 2307.08691, algorithm 2. Without dropout.
"""

from collections.abc import Callable

import numpy as np

from minitransformer.flash.forward_loops import Seen, blocks, mix, product, scores_of
from minitransformer.flash.memory import TwoLevelMemory

Grads = tuple[np.ndarray, np.ndarray, np.ndarray]


def standard_backward(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    weights: np.ndarray,
    grad_out: np.ndarray,
    memory: TwoLevelMemory,
    *,
    block_q: int,
    block_k: int,
    scale: float | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Derive with the weights that the forward pass has kept.

    Args:
        query: ``[L, E]``.
        key: ``[S, E]``.
        value: ``[S, Ev]``.
        weights: ``[L, S]``.
        grad_out: ``[L, Ev]``, the derivative of a number by the output.
        memory: where the tiles lie, and what counts them.
        block_q: queries in a tile.
        block_k: keys in a tile.
        scale: as in the forward pass.

    Returns:
        The derivatives by query, key and value.
    """
    scale = query.shape[1] ** -0.5 if scale is None else scale
    grads = [np.empty(x.shape) for x in (query, key, value)]
    grad_weights, grad_scores = np.empty((2, *weights.shape))
    mix(weights.T, grad_out, grads[2], memory, block_k, block_q)
    product(grad_out, value.T, grad_weights, memory, block_q, block_k, 1.0)
    for i in range(len(query)):
        p, dp = memory.load(weights[i], "P", i), memory.load(grad_weights[i], "dP", i)
        dp -= p @ dp
        dp *= scale * p
        memory.store(dp, grad_scores[i])
        memory.free(p, dp)
    mix(grad_scores, key, grads[0], memory, block_q, block_k)
    mix(grad_scores.T, query, grads[1], memory, block_k, block_q)
    return grads[0], grads[1], grads[2]


def flash1_backward(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    out: np.ndarray,
    peak: np.ndarray,
    total: np.ndarray,
    grad_out: np.ndarray,
    memory: TwoLevelMemory,
    *,
    block_q: int,
    block_k: int,
    scale: float | None = None,
    seen: Seen | None = None,
) -> Grads:
    """Derive, with each tile made again (FlashAttention, algorithm 4).

    Args:
        query: ``[L, E]``.
        key: ``[S, E]``.
        value: ``[S, Ev]``.
        out: ``[L, Ev]``, from the forward pass, like ``peak`` and ``total`` ``[L]``.
        peak: the greatest score of each row.
        total: its sum of exponentials, the peak subtracted.
        grad_out: ``[L, Ev]``, the derivative of a number by the output.
        memory: where the tiles lie, and what counts them.
        block_q: queries in a tile.
        block_k: keys in a tile.
        scale: as in the forward pass.
        seen: as in the forward pass.

    Returns:
        The derivatives by query, key and value.
    """
    kept = {"O": out, "m": peak, "l": total}

    def row(tiles: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        some = np.where(tiles["l"] == 0, 1.0, tiles["l"])
        return tiles["m"] + np.log(some), (tiles["dO"] * tiles["O"]).sum(axis=1)

    inputs = query, key, value, grad_out
    return _backward(inputs, kept, row, memory, (block_q, block_k), scale, seen)


def flash2_backward(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    out: np.ndarray,
    lse: np.ndarray,
    grad_out: np.ndarray,
    memory: TwoLevelMemory,
    *,
    block_q: int,
    block_k: int,
    scale: float | None = None,
    seen: Seen | None = None,
) -> Grads:
    """Derive, with each tile made again from ``lse`` (FlashAttention-2, algorithm 2).

    Arguments and results are those of :func:`flash1_backward`, with ``lse`` ``[L]`` in
    place of ``peak`` and ``total``.
    """
    delta = np.empty(len(query))
    for i, rows in enumerate(blocks(len(query), block_q)):
        o, do = memory.load(out[rows], "O", i), memory.load(grad_out[rows], "dO", i)
        d = memory.new(delta[rows].shape, "D", i)
        d += (o * do).sum(axis=1)
        memory.store(d, delta[rows])
        memory.free(o, do, d)
    kept = {"lse": lse, "D": delta}

    def row(tiles: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        return tiles["lse"], tiles["D"]

    inputs = query, key, value, grad_out
    return _backward(inputs, kept, row, memory, (block_q, block_k), scale, seen)


def _backward(
    inputs: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    kept: dict[str, np.ndarray],
    row: Callable[[dict[str, np.ndarray]], tuple[np.ndarray, np.ndarray]],
    memory: TwoLevelMemory,
    sizes: tuple[int, int],
    scale: float | None,
    seen: Seen | None,
) -> Grads:
    """Run both loops; ``row`` makes lse and D of the tiles of ``kept``, and of dO."""
    query, key, value, grad_out = inputs
    scale = query.shape[1] ** -0.5 if scale is None else scale
    grad_q, grad_k, grad_v = (np.empty(x.shape) for x in (query, key, value))
    for i, rows in enumerate(blocks(len(query), sizes[0])):
        dq = memory.new(grad_q[rows].shape, "dQ", i)
        memory.store(dq, grad_q[rows])
        memory.free(dq)
    for j, columns in enumerate(blocks(len(key), sizes[1])):
        k, v = memory.load(key[columns], "K", j), memory.load(value[columns], "V", j)
        dk, dv = memory.new(k.shape, "dK", j), memory.new(v.shape, "dV", j)
        for i, rows in enumerate(blocks(len(query), sizes[0])):
            mask = None if seen is None else seen(rows, columns)
            if mask is not None and not mask.any():
                continue
            q = memory.load(query[rows], "Q", i)
            dq = memory.load(grad_q[rows], "dQ", i)
            slow = {"dO": grad_out, **kept}
            tiles = {name: memory.load(x[rows], name, i) for name, x in slow.items()}
            p = scores_of(q, k, memory, scale, mask, (i, j))
            lse, delta = row(tiles)
            p -= np.where(np.isneginf(lse), 0.0, lse)[:, None]
            np.exp(p, out=p)
            ds = memory.new(p.shape, "dS", i, j)
            np.matmul(tiles["dO"], v.T, out=ds)
            ds -= delta[:, None]
            ds *= scale * p
            dv += p.T @ tiles["dO"]
            dk += ds.T @ q
            dq += ds @ k
            memory.store(dq, grad_q[rows])
            memory.free(q, dq, p, ds, *tiles.values())
        memory.store(dk, grad_k[columns])
        memory.store(dv, grad_v[columns])
        memory.free(k, v, dk, dv)
    return grad_q, grad_k, grad_v
