"""Softmax of rows in one kernel: each row is read once and written once.

With ``m = max_j x_j`` of a row::

    y_i  = exp(x_i - m) / sum_j exp(x_j - m)
    dx_i = y_i (dy_i - sum_j y_j dy_j)

A row that fits in one tile stays in registers between these steps. A longer row comes
in blocks, and its greatest number and its sum are kept up to date ("online"): when a
block raises the maximum from ``m`` to ``m'``, the sum so far is multiplied by
``exp(m - m')``. Then the row is read a second time, from its end, where the cache still
holds it. A row of ``-inf`` only gives zeros and zero gradients, as everywhere here.

Source: Milakov & Gimelshein, arXiv 1805.02867 (online softmax).
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from minitransformer.kernels.launch import as_rows, check_inputs, processors
from minitransformer.kernels.tiles import LONG_BLOCK, LONG_WARPS, row_tile


@triton.jit
def _softmax_kernel(
    x_ptr, out_ptr, x_stride, rows, columns, ROWS: tl.constexpr, BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """Normalize tiles of rows."""
    column, step = tl.arange(0, BLOCK), tl.num_programs(0) * ROWS
    for first in tl.range(tl.program_id(0) * ROWS, rows, step, num_stages=STAGES):
        row = (first + tl.arange(0, ROWS)).to(tl.int64)
        inside = (row < rows)[:, None] & (column < columns)[None, :]
        x_at = x_ptr + row[:, None] * x_stride + column[None, :]
        x = tl.load(x_at, inside, other=float("-inf")).to(tl.float32)
        top = tl.max(x, axis=1)
        top = tl.where(top == float("-inf"), 0.0, top)
        power = tl.exp(x - top[:, None])
        total = tl.sum(power, axis=1)
        out = power / tl.where(total == 0.0, 1.0, total)[:, None]
        out_at = out_ptr + row[:, None] * columns + column[None, :]
        tl.store(out_at, out.to(out_ptr.dtype.element_ty), inside)


@triton.jit
def _online_softmax_kernel(x_ptr, out_ptr, x_stride, columns, BLOCK: tl.constexpr):
    """Normalize one long row."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    top = tl.full([], float("-inf"), tl.float32)
    total = tl.full([], 0.0, tl.float32)
    for start in range(0, columns, BLOCK):
        inside = start + column < columns
        x = tl.load(
            x_ptr + row * x_stride + start + column, inside, other=float("-inf")
        ).to(tl.float32)
        higher = tl.maximum(top, tl.max(x, axis=0))
        shift = tl.where(higher == float("-inf"), 0.0, higher)
        total = total * tl.exp(top - shift) + tl.sum(tl.exp(x - shift), axis=0)
        top = higher
    shift = tl.where(top == float("-inf"), 0.0, top)
    scale = 1.0 / tl.where(total == 0.0, 1.0, total)
    blocks = tl.cdiv(columns, BLOCK)
    for block in range(0, blocks):
        at = (blocks - 1 - block) * BLOCK + column
        inside = at < columns
        x = tl.load(x_ptr + row * x_stride + at, inside, other=float("-inf"))
        out = tl.exp(x.to(tl.float32) - shift) * scale
        tl.store(out_ptr + row * columns + at, out.to(out_ptr.dtype.element_ty), inside)


@triton.jit
def _softmax_backward_kernel(
    y_ptr, dy_ptr, dx_ptr, rows, columns, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    """Go back through a tile of rows."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    at = row[:, None] * columns + column[None, :]
    y = tl.load(y_ptr + at, inside, other=0.0).to(tl.float32)
    dy = tl.load(dy_ptr + at, inside, other=0.0).to(tl.float32)
    dx = y * (dy - tl.sum(y * dy, axis=1)[:, None])
    tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), inside)


@triton.jit
def _long_softmax_backward_kernel(y_ptr, dy_ptr, dx_ptr, columns, BLOCK: tl.constexpr):
    """Go back through one long row."""
    first = tl.program_id(0).to(tl.int64) * columns
    column = tl.arange(0, BLOCK)
    dot = tl.zeros([BLOCK], tl.float32)
    for start in range(0, columns, BLOCK):
        inside = start + column < columns
        y = tl.load(y_ptr + first + start + column, inside, other=0.0).to(tl.float32)
        dy = tl.load(dy_ptr + first + start + column, inside, other=0.0)
        dot += y * dy.to(tl.float32)
    dot = tl.sum(dot, axis=0)
    blocks = tl.cdiv(columns, BLOCK)
    for block in range(0, blocks):
        at = (blocks - 1 - block) * BLOCK + column
        inside = at < columns
        y = tl.load(y_ptr + first + at, inside, other=0.0).to(tl.float32)
        dy = tl.load(dy_ptr + first + at, inside, other=0.0).to(tl.float32)
        dx = y * (dy - dot)
        tl.store(dx_ptr + first + at, dx.to(dx_ptr.dtype.element_ty), inside)


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        ctx.save_for_backward(out)
        rows, columns = x.shape
        tile = row_tile(columns)
        if tile.block >= columns:
            programs = tile.programs(rows, processors(x.device))
            _softmax_kernel[(programs,)](
                *(x, out, x.stride(0), rows, columns),
                ROWS=tile.rows,
                BLOCK=tile.block,
                STAGES=tile.stages,
                num_warps=tile.warps,
            )
        else:
            _online_softmax_kernel[(rows,)](
                x, out, x.stride(0), columns, BLOCK=LONG_BLOCK, num_warps=LONG_WARPS
            )
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (out,) = ctx.saved_tensors
        grad = grad.contiguous()
        rows, columns = out.shape
        dx = torch.empty_like(out)
        tile = row_tile(columns, most=16384)
        if tile.block >= columns:
            programs = triton.cdiv(rows, tile.rows)
            _softmax_backward_kernel[(programs,)](
                *(out, grad, dx, rows, columns),
                ROWS=tile.rows,
                BLOCK=tile.block,
                num_warps=tile.warps,
            )
        else:
            _long_softmax_backward_kernel[(rows,)](
                out, grad, dx, columns, BLOCK=LONG_BLOCK, num_warps=LONG_WARPS
            )
        return dx


def softmax(scores: Tensor) -> Tensor:
    """Return ``exp(s)``, divided by its sum, along the last axis.

    The twin of :func:`minitransformer.attention.normalizers.softmax`. All is computed
    in float32.

    Args:
        scores: ``[..., n]``, its last axis contiguous.

    Returns:
        The shape and type of ``scores``, contiguous.

    Raises:
        ValueError: it has no axis, or the kernel cannot run on it
            (:func:`~minitransformer.kernels.launch.check_inputs`).
    """
    if scores.ndim == 0:
        raise ValueError("scores is a single number, needs an axis to normalize")
    check_inputs(scores=scores)
    if scores.numel() == 0:
        return scores.clone()
    return _Softmax.apply(as_rows(scores)).view(scores.shape)
