"""RMS norm and layer norm in one kernel each way.

With a gain ``w`` for each number of a row ``x`` and, in layer norm, a bias ``b``::

    r = 1 / sqrt(mean((x - m)^2) + eps)     m = mean(x), or 0 for the RMS norm
    z = r (x - m)                           y = w z + b

    g  = w dy                               dw = sum over rows of dy z
    dx = r (g - mean(g) - z mean(g z))      db = sum over rows of dy

(without ``mean(g)`` for the RMS norm). Going forward, each row is read once and written
once. Going backward, a program takes every ``P``-th tile of rows and keeps its share of
``dw`` and ``db`` in registers; the ``P`` shares are added up at the end, always in the
same order, so that the gradients of two runs are equal bit for bit. Rows that are too
long for one tile come in blocks, and are read anew for each mean.

Sources: Ba et al., arXiv 1607.06450; Zhang & Sennrich, 1910.07467.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from minitransformer.kernels.launch import as_rows, check_inputs, processors
from minitransformer.kernels.tiles import (
    LONG_BLOCK,
    LONG_WARPS,
    norm_backward_tile,
    norm_tile,
)

LONGEST = 16384
"""Numbers of a row that one program holds at once, going forward."""
LONGEST_BACK = 8192
"""The same going backward, where a mean is taken off: then there is more to hold."""


@triton.jit
def load_tile(ptr, row, column, stride, rows, columns):
    """Load a tile as float32, zeros outside of the matrix."""
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    at = ptr + row[:, None] * stride + column[None, :]
    return tl.load(at, inside, other=0.0).to(tl.float32)


@triton.jit
def store_tile(ptr, tile, row, column, rows, columns):
    """Store the part of a tile that lies in a contiguous matrix."""
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    at = ptr + row[:, None] * columns + column[None, :]
    tl.store(at, tile.to(ptr.dtype.element_ty), inside)


@triton.jit
def _norm_kernel(
    x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, scale_ptr, x_stride, rows, columns,
    eps, CENTER: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """Normalize tiles of rows."""
    column, step = tl.arange(0, BLOCK), tl.num_programs(0) * ROWS
    known = column < columns
    weight = tl.load(weight_ptr + column, known, other=0.0).to(tl.float32)[None, :]
    if CENTER:
        bias = tl.load(bias_ptr + column, known, other=0.0).to(tl.float32)[None, :]
    for first in tl.range(tl.program_id(0) * ROWS, rows, step, num_stages=STAGES):
        row = (first + tl.arange(0, ROWS)).to(tl.int64)
        x = load_tile(x_ptr, row, column, x_stride, rows, columns)
        if CENTER:
            mean = tl.sum(x, axis=1) / columns
            tl.store(mean_ptr + row, mean, row < rows)
            x = tl.where(known[None, :], x - mean[:, None], 0.0)
        scale = 1.0 / tl.sqrt(tl.sum(x * x, axis=1) / columns + eps)
        tl.store(scale_ptr + row, scale, row < rows)
        out = x * scale[:, None] * weight
        if CENTER:
            out += bias
        store_tile(out_ptr, out, row, column, rows, columns)


@triton.jit
def _long_norm_kernel(
    x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, scale_ptr, x_stride, columns, eps,
    CENTER: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Normalize one long row."""
    row, column = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    x_ptr += row * x_stride
    mean = 0.0
    if CENTER:
        sums = tl.zeros([BLOCK], tl.float32)
        for start in range(0, columns, BLOCK):
            at = start + column
            sums += tl.load(x_ptr + at, at < columns, other=0.0).to(tl.float32)
        mean = tl.sum(sums, axis=0) / columns
        tl.store(mean_ptr + row, mean)
    squares = tl.zeros([BLOCK], tl.float32)
    for start in range(0, columns, BLOCK):
        at = start + column
        x = tl.load(x_ptr + at, at < columns, other=0.0).to(tl.float32)
        x = tl.where(at < columns, x - mean, 0.0)
        squares += x * x
    scale = 1.0 / tl.sqrt(tl.sum(squares, axis=0) / columns + eps)
    tl.store(scale_ptr + row, scale)
    for start in range(0, columns, BLOCK):
        at = start + column
        x = tl.load(x_ptr + at, at < columns, other=0.0).to(tl.float32)
        weight = tl.load(weight_ptr + at, at < columns, other=0.0).to(tl.float32)
        out = (x - mean) * scale * weight
        if CENTER:
            out += tl.load(bias_ptr + at, at < columns, other=0.0).to(tl.float32)
        out = out.to(out_ptr.dtype.element_ty)
        tl.store(out_ptr + row * columns + at, out, at < columns)


@triton.jit
def _norm_backward_kernel(
    x_ptr, weight_ptr, dy_ptr, mean_ptr, scale_ptr, dx_ptr, dweight_ptr, dbias_ptr,
    x_stride, rows, columns, CENTER: tl.constexpr, ROWS: tl.constexpr,
    BLOCK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Go back through every P-th tile of rows."""
    program, column = tl.program_id(0), tl.arange(0, BLOCK)
    step = tl.num_programs(0) * ROWS
    weight = tl.load(weight_ptr + column, column < columns, other=0.0).to(tl.float32)
    dweight = tl.zeros([ROWS, BLOCK], tl.float32)
    dbias = tl.zeros([ROWS, BLOCK], tl.float32)
    for first in tl.range(program * ROWS, rows, step, num_stages=STAGES):
        row = (first + tl.arange(0, ROWS)).to(tl.int64)
        z = load_tile(x_ptr, row, column, x_stride, rows, columns)
        dy = load_tile(dy_ptr, row, column, columns, rows, columns)
        scale = tl.load(scale_ptr + row, row < rows, other=0.0)
        if CENTER:
            z -= tl.load(mean_ptr + row, row < rows, other=0.0)[:, None]
        z *= scale[:, None]  # where it is not 0 outside of the matrix, dy is
        dweight += dy * z
        grad = dy * weight[None, :]
        dx = grad - z * (tl.sum(grad * z, axis=1) / columns)[:, None]
        if CENTER:
            dbias += dy
            dx -= (tl.sum(grad, axis=1) / columns)[:, None]
        store_tile(dx_ptr, dx * scale[:, None], row, column, rows, columns)
    at = program.to(tl.int64) * columns + column
    tl.store(dweight_ptr + at, tl.sum(dweight, axis=0), column < columns)
    if CENTER:
        tl.store(dbias_ptr + at, tl.sum(dbias, axis=0), column < columns)


@triton.jit
def _long_norm_dx_kernel(
    x_ptr, weight_ptr, dy_ptr, mean_ptr, scale_ptr, dx_ptr, x_stride, columns,
    CENTER: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Go back through one long row."""
    row, column = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    scale, mean = tl.load(scale_ptr + row), 0.0
    if CENTER:
        mean = tl.load(mean_ptr + row)
    sums, dots = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    for start in range(0, columns, BLOCK):
        at = start + column
        inside = at < columns
        z = tl.load(x_ptr + row * x_stride + at, inside, other=0.0).to(tl.float32)
        z = (z - mean) * scale
        grad = tl.load(dy_ptr + row * columns + at, inside, other=0.0).to(tl.float32)
        grad *= tl.load(weight_ptr + at, inside, other=0.0).to(tl.float32)
        sums += grad
        dots += grad * z
    dot, sum = tl.sum(dots, axis=0) / columns, 0.0
    if CENTER:
        sum = tl.sum(sums, axis=0) / columns
    for start in range(0, columns, BLOCK):
        at = start + column
        inside = at < columns
        z = tl.load(x_ptr + row * x_stride + at, inside, other=0.0).to(tl.float32)
        z = (z - mean) * scale
        grad = tl.load(dy_ptr + row * columns + at, inside, other=0.0).to(tl.float32)
        grad *= tl.load(weight_ptr + at, inside, other=0.0).to(tl.float32)
        dx = scale * (grad - sum - z * dot)
        tl.store(dx_ptr + row * columns + at, dx.to(dx_ptr.dtype.element_ty), inside)


@triton.jit
def _long_norm_dweight_kernel(
    x_ptr, dy_ptr, mean_ptr, scale_ptr, dweight_ptr, dbias_ptr, x_stride, rows,
    columns, CENTER: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add up a share of the gradients of gains and biases."""
    share, at = tl.program_id(1), tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < columns
    dweight, dbias = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    for first in range(share, rows, tl.num_programs(1)):
        row = tl.full([], 0, tl.int64) + first
        z = tl.load(x_ptr + row * x_stride + at, inside, other=0.0).to(tl.float32)
        dy = tl.load(dy_ptr + row * columns + at, inside, other=0.0).to(tl.float32)
        if CENTER:
            z -= tl.load(mean_ptr + row)
        dweight += dy * z * tl.load(scale_ptr + row)
        dbias += dy
    out = share.to(tl.int64) * columns + at
    tl.store(dweight_ptr + out, dweight, inside)
    if CENTER:
        tl.store(dbias_ptr + out, dbias, inside)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, eps: float
    ) -> Tensor:
        rows, columns = x.shape
        out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        scale = torch.empty(rows, dtype=torch.float32, device=x.device)
        mean = scale if bias is None else torch.empty_like(scale)
        tile = norm_tile(min(columns, LONGEST))
        tensors = (x, weight, weight if bias is None else bias, out, mean, scale)
        if tile.block >= columns:
            _norm_kernel[(tile.programs(rows, processors(x.device)),)](
                *(*tensors, x.stride(0), rows, columns, eps),
                CENTER=bias is not None,
                ROWS=tile.rows,
                BLOCK=tile.block,
                STAGES=tile.stages,
                num_warps=tile.warps,
            )
        else:
            _long_norm_kernel[(rows,)](
                *(*tensors, x.stride(0), columns, eps),
                CENTER=bias is not None,
                BLOCK=LONG_BLOCK,
                num_warps=LONG_WARPS,
            )
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.center = bias is not None
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale = ctx.saved_tensors
        grad = grad.contiguous()
        rows, columns = x.shape
        longest = LONGEST_BACK if ctx.center else LONGEST
        tile = norm_backward_tile(min(columns, longest))
        shares = tile.programs(rows, processors(x.device))
        dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        size = (1 + ctx.center, shares, columns)
        parts = torch.empty(size, dtype=torch.float32, device=x.device)
        stats = (mean, scale)
        if tile.block >= columns:
            _norm_backward_kernel[(shares,)](
                *(x, weight, grad, *stats, dx, parts[0], parts[-1]),
                *(x.stride(0), rows, columns),
                CENTER=ctx.center,
                ROWS=tile.rows,
                BLOCK=tile.block,
                STAGES=tile.stages,
                num_warps=tile.warps,
            )
        else:
            _long_norm_dx_kernel[(rows,)](
                *(x, weight, grad, *stats, dx, x.stride(0), columns),
                CENTER=ctx.center,
                BLOCK=4096,
                num_warps=8,
            )
            _long_norm_dweight_kernel[(triton.cdiv(columns, 1024), shares)](
                *(x, grad, *stats, parts[0], parts[-1]),
                *(x.stride(0), rows, columns),
                CENTER=ctx.center,
                BLOCK=1024,
                num_warps=4,
            )
        sums = parts.sum(dim=1).to(weight.dtype)
        return dx, sums[0], sums[1] if ctx.center else None, None


def _norm(x: Tensor, eps: float, **params: Tensor) -> Tensor:
    if x.ndim == 0:
        raise ValueError("x is a single number, needs an axis to normalize")
    for name, param in params.items():
        if param.shape != x.shape[-1:]:
            raise ValueError(
                f"{name} has shape {tuple(param.shape)}, x has dim {x.shape[-1]}"
            )
    check_inputs(x=x, weight=params["weight"], bias=params.get("bias", x))
    if x.numel() == 0:
        return x + sum(param.sum() for param in params.values())  # for their gradients
    out = _Norm.apply(as_rows(x), params["weight"], params.get("bias"), eps)
    return out.view(x.shape)


def rms_norm(x: Tensor, weight: Tensor, *, eps: float = 1e-6) -> Tensor:
    """Give every token a root mean square of 1, times a gain.

    The twin of :class:`minitransformer.layers.norm.RMSNorm`. All is computed in float32
    and rounded once.

    Args:
        x: ``[..., dim]``, its last axis contiguous.
        weight: ``[dim]``, the gains.
        eps: added to the mean square.

    Returns:
        The shape and type of ``x``, contiguous.

    Raises:
        ValueError: ``weight`` does not fit, or the kernel cannot run on them
            (:func:`~minitransformer.kernels.launch.check_inputs`).
    """
    return _norm(x, eps, weight=weight)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, *, eps: float = 1e-5) -> Tensor:
    """Give every token the mean 0 and the variance 1, times a gain, plus a bias.

    It computes what ``torch.nn.functional.layer_norm`` does over the last axis.

    Args:
        x: ``[..., dim]``, its last axis contiguous.
        weight: ``[dim]``, the gains.
        bias: ``[dim]``.
        eps: added to the variance.

    Returns:
        The shape and type of ``x``, contiguous.

    Raises:
        ValueError: as :func:`rms_norm`, for ``bias`` too.
    """
    return _norm(x, eps, weight=weight, bias=bias)
