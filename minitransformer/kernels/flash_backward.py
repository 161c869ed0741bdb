"""The backward kernels of FlashAttention.

The weights are computed again from the scores and the saved ``lse``, in two kernels:
one holds a block of keys and walks over queries (dK, dV), one holds queries and walks
over keys (dQ)::

    p = exp(s - lse)    delta = rowsum(dO * out) - dlse    dS = p (dO v^T - delta)
    dV = p^T dO         dK = scale dS^T q                  dQ = scale dS k

So nothing is added up by several programs, and the result is the same every time. The
papers add up dQ in the first kernel by atomic additions: two products less, but on an
H200 slower in these kernels.

Sources: Dao et al., arXiv 2205.14135; Dao, 2307.08691.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from minitransformer.kernels.descriptors import descriptor
from minitransformer.kernels.flash_scores import (
    INF,
    LOG2E,
    keys_of,
    positions,
    queries_of,
    score,
    score_grad,
    seen,
)
from minitransformer.kernels.tiles import flash_tiles


@triton.jit
def _delta(
    out_desc, dout_desc, dlse_ptr, delta_ptr, heads, q_len,
    BM: tl.constexpr, E: tl.constexpr,
):  # fmt: skip
    start = tl.program_id(0) * BM
    b, h = tl.program_id(1) // heads, tl.program_id(1) % heads
    at = tl.program_id(1) * q_len + start + tl.arange(0, BM)
    inside = start + tl.arange(0, BM) < q_len
    out = out_desc.load([b, h, start, 0]).reshape(BM, E).to(tl.float32)
    dout = dout_desc.load([b, h, start, 0]).reshape(BM, E).to(tl.float32)
    delta = tl.sum(out * dout, 1) - tl.load(dlse_ptr + at, mask=inside, other=0.0)
    tl.store(delta_ptr + at, delta, mask=inside)


@triton.jit
def _walk_queries(
    dk, dv, k, v, q_desc, dout_desc, lse_ptr, delta_ptr, q_pos_ptr, slope, b, h, heads,
    kv_idx, inside, q_len, offset, scale, lo, hi, BM: tl.constexpr, E: tl.constexpr,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, POS: tl.constexpr, CAP: tl.constexpr,
    ALIBI: tl.constexpr, MOD: tl.constexpr, MOD_GRAD: tl.constexpr, MASK: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Add what the queries from ``lo`` to ``hi`` give to dK and dV."""
    PLAIN: tl.constexpr = CAP == 0 and not ALIBI and MOD is None
    at = (b * heads + h) * q_len
    for start in tl.range(lo, hi, BM):
        rows = start + tl.arange(0, BM)
        q = q_desc.load([b, h, start, 0]).reshape(BM, E)
        lse = tl.load(lse_ptr + at + rows, mask=rows < q_len, other=INF) * LOG2E
        s = tl.dot(k, q.T, input_precision=PRECISION)
        if MASK or not PLAIN:
            q_idx = positions(q_pos_ptr, rows, q_len, b, offset, POS)[None, :]
        if PLAIN:
            p = tl.math.exp2(s * scale - lse[None, :])
        else:
            bent = score(s, slope, b, h, q_idx, kv_idx, scale, CAP, ALIBI, MOD)
            p = tl.math.exp2(bent - lse[None, :])
        if MASK:
            p = tl.where(seen(q_idx, kv_idx, inside, CAUSAL, WINDOW, POS), p, 0.0)
        dout = dout_desc.load([b, h, start, 0]).reshape(BM, E)
        dv = tl.dot(p.to(dout.dtype), dout, dv, input_precision=PRECISION)
        dp = tl.dot(v, dout.T, input_precision=PRECISION)
        delta = tl.load(delta_ptr + at + rows, mask=rows < q_len, other=0.0)
        ds = p * (dp - delta[None, :])
        if not PLAIN:
            ds *= score_grad(
                s, slope, b, h, q_idx, kv_idx, scale, CAP, ALIBI, MOD, MOD_GRAD
            )
        dk = tl.dot(ds.to(q.dtype), q, dk, input_precision=PRECISION)
    return dk, dv


@triton.jit
def _backward_kv(
    q_desc, k_desc, v_desc, dout_desc, dk_desc, dv_desc, lse_ptr, delta_ptr, q_pos_ptr,
    kv_pos_ptr, slopes_ptr, heads, kv_heads, q_len, kv_len, scale, grad_scale,
    BM: tl.constexpr, BN: tl.constexpr, E: tl.constexpr, CAUSAL: tl.constexpr,
    WINDOW: tl.constexpr, POS: tl.constexpr, CAP: tl.constexpr, ALIBI: tl.constexpr,
    MOD: tl.constexpr, MOD_GRAD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    start = tl.program_id(0) * BN
    b, kv_head = tl.program_id(1) // kv_heads, tl.program_id(1) % kv_heads
    cols = start + tl.arange(0, BN)
    inside = (cols < kv_len)[:, None]
    offset = kv_len - q_len
    kv_idx = positions(kv_pos_ptr, cols, kv_len, b, 0, POS)[:, None]
    k = k_desc.load([b, kv_head, start, 0]).reshape(BN, E)
    v = v_desc.load([b, kv_head, start, 0]).reshape(BN, E)
    dk = tl.zeros([BN, E], tl.float32)
    dv = tl.zeros([BN, E], tl.float32)
    bounds = queries_of(start, offset, q_len, BM, BN, CAUSAL, WINDOW, POS)
    for member in range(heads // kv_heads):
        h = kv_head * (heads // kv_heads) + member
        slope = 0.0
        if ALIBI:
            slope = tl.load(slopes_ptr + h)
        for part in tl.static_range(
            3
        ):  # queries at the first edge, within, at the last
            if part == 1 or (CAUSAL if part == 0 else POS or WINDOW > 0):
                dk, dv = _walk_queries(
                    dk, dv, k, v, q_desc, dout_desc, lse_ptr, delta_ptr, q_pos_ptr,
                    slope, b, h, heads, kv_idx, inside, q_len, offset, scale,
                    bounds[part], bounds[part + 1], BM, E, CAUSAL, WINDOW, POS, CAP,
                    ALIBI, MOD, MOD_GRAD, part != 1, PRECISION,
                )  # fmt: skip
    dk_desc.store(
        [b, kv_head, start, 0],
        (dk * grad_scale).to(dk_desc.dtype).reshape(1, 1, BN, E),
    )
    dv_desc.store([b, kv_head, start, 0], dv.to(dv_desc.dtype).reshape(1, 1, BN, E))


@triton.jit
def _walk_keys(
    dq, q, dout, lse, delta, k_desc, v_desc, kv_pos_ptr, slope, b, h, kv_head, q_idx,
    kv_len, scale, lo, hi, BN: tl.constexpr, E: tl.constexpr, CAUSAL: tl.constexpr,
    WINDOW: tl.constexpr, POS: tl.constexpr, CAP: tl.constexpr, ALIBI: tl.constexpr,
    MOD: tl.constexpr, MOD_GRAD: tl.constexpr, MASK: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Add what the keys from ``lo`` to ``hi`` give to dQ."""
    PLAIN: tl.constexpr = CAP == 0 and not ALIBI and MOD is None
    for n in tl.range(lo, hi, BN):
        k = k_desc.load([b, kv_head, n, 0]).reshape(BN, E)
        v = v_desc.load([b, kv_head, n, 0]).reshape(BN, E)
        s = tl.dot(q, k.T, input_precision=PRECISION)
        dp = tl.dot(dout, v.T, input_precision=PRECISION)
        if MASK or not PLAIN:
            cols = n + tl.arange(0, BN)
            kv_idx = positions(kv_pos_ptr, cols, kv_len, b, 0, POS)[None, :]
        if PLAIN:
            p = tl.math.exp2(s * scale - lse[:, None])
        else:
            bent = score(s, slope, b, h, q_idx, kv_idx, scale, CAP, ALIBI, MOD)
            p = tl.math.exp2(bent - lse[:, None])
        if MASK:
            inside = (cols < kv_len)[None, :]
            p = tl.where(seen(q_idx, kv_idx, inside, CAUSAL, WINDOW, POS), p, 0.0)
        ds = p * (dp - delta[:, None])
        if not PLAIN:
            ds *= score_grad(
                s, slope, b, h, q_idx, kv_idx, scale, CAP, ALIBI, MOD, MOD_GRAD
            )
        dq = tl.dot(ds.to(k.dtype), k, dq, input_precision=PRECISION)
    return dq


@triton.jit
def _backward_q(
    q_desc, k_desc, v_desc, dout_desc, dq_desc, lse_ptr, delta_ptr, q_pos_ptr,
    kv_pos_ptr, slopes_ptr, heads, kv_heads, q_len, kv_len, scale, grad_scale,
    BM: tl.constexpr, BN: tl.constexpr, E: tl.constexpr, CAUSAL: tl.constexpr,
    WINDOW: tl.constexpr, POS: tl.constexpr, CAP: tl.constexpr, ALIBI: tl.constexpr,
    MOD: tl.constexpr, MOD_GRAD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    start = (tl.num_programs(0) - 1 - tl.program_id(0)) * BM
    b, h = tl.program_id(1) // heads, tl.program_id(1) % heads
    kv_head = h // (heads // kv_heads)
    rows = start + tl.arange(0, BM)
    offset = kv_len - q_len
    q_idx = positions(q_pos_ptr, rows, q_len, b, offset, POS)[:, None]
    slope = 0.0
    if ALIBI:
        slope = tl.load(slopes_ptr + h)
    q = q_desc.load([b, h, start, 0]).reshape(BM, E)
    dout = dout_desc.load([b, h, start, 0]).reshape(BM, E)
    at = tl.program_id(1) * q_len + rows
    lse = tl.load(lse_ptr + at, mask=rows < q_len, other=INF) * LOG2E
    delta = tl.load(delta_ptr + at, mask=rows < q_len, other=0.0)
    dq = tl.zeros([BM, E], tl.float32)
    bounds = keys_of(start, offset, kv_len, BM, BN, CAUSAL, WINDOW, POS)
    for part in tl.static_range(3):  # the keys at the left edge, within, at the right
        if part != 0 or WINDOW > 0:
            dq = _walk_keys(
                dq, q, dout, lse, delta, k_desc, v_desc, kv_pos_ptr, slope, b, h,
                kv_head, q_idx, kv_len, scale, bounds[part], bounds[part + 1], BN, E,
                CAUSAL, WINDOW, POS, CAP, ALIBI, MOD, MOD_GRAD, part != 1, PRECISION,
            )  # fmt: skip
    dq = (dq * grad_scale).to(dq_desc.dtype).reshape(1, 1, BM, E)
    dq_desc.store([b, h, start, 0], dq)


def flash_backward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    tensors: tuple[Tensor | None, Tensor | None, Tensor | None],
    out: Tensor,
    lse: Tensor,
    dout: Tensor,
    dlse: Tensor,
    scale: float,
    **options: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """Launch the kernels on what the forward pass saved.

    Args:
        query: ``[B, H, L, E]``.
        key: ``[B, Hkv, S, E]``.
        value: ``[B, Hkv, S, E]``.
        tensors: positions of queries ``[B, L]`` and of keys ``[B, S]``, slopes ``[H]``.
        out: ``[B, H, L, E]``.
        lse: ``[B, H, L]``, float32.
        dout: the derivative by ``out``.
        dlse: the derivative by ``lse``.
        scale: what products are multiplied by.
        options: the constants of the kernels, see ``flash_attention``.

    Returns:
        The derivatives by query, key and value.
    """
    (batch, heads, q_len, head_dim), (kv_heads, kv_len) = query.shape, key.shape[1:3]
    grads = [
        torch.empty(x.shape, dtype=x.dtype, device=x.device)
        for x in (query, key, value)
    ]
    delta = torch.empty(lse.shape, dtype=torch.float32, device=lse.device)
    tiles = flash_tiles(head_dim, query.dtype)
    _delta[(triton.cdiv(q_len, 64), batch * heads)](
        descriptor(out, 64),
        descriptor(dout, 64),
        dlse,
        delta,
        heads,
        q_len,
        BM=64,
        E=head_dim,
        num_warps=4,
    )
    plain = not (options["CAP"] or options["ALIBI"] or options["MOD"])
    sizes = (heads, kv_heads, q_len, kv_len, scale * LOG2E.value if plain else scale)
    for kernel, outputs, tile in (
        (_backward_kv, grads[1:], tiles.keys),
        (_backward_q, grads[:1], tiles.queries),
    ):
        rows, columns, warps, stages = tile
        held = columns if kernel is _backward_kv else rows
        grid = (
            (triton.cdiv(kv_len, columns), batch * kv_heads)
            if kernel is _backward_kv
            else (triton.cdiv(q_len, rows), batch * heads)
        )
        kernel[grid](
            descriptor(query, rows),
            descriptor(key, columns),
            descriptor(value, columns),
            descriptor(dout, rows),
            *(descriptor(x, held) for x in outputs),
            lse,
            delta,
            *tensors,
            *sizes,
            scale,
            BM=rows,
            BN=columns,
            E=head_dim,
            **options,
            num_warps=warps,
            num_stages=stages,
        )
    return grads[0], grads[1], grads[2]
