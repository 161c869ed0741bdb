"""Cross-entropy and its gradient in one kernel.

Of a row of logits ``z`` and the id ``y`` that came::

    loss  = log sum_v exp(z_v) - z_y
    dz_v  = exp(z_v) / sum_w exp(z_w) - [v = y]

A program has one row. It goes through the vocabulary in blocks, keeping the greatest
logit and the sum up to date as :mod:`minitransformer.kernels.softmax` does, and then,
if a gradient will be asked for, once more from the end to write it at once. So the
logits are read from memory about once, the gradient is written once, and no table of
probabilities is kept. Going back, the gradient is only multiplied by what comes in,
and not even touched where that is 1, as it is at the end of a model.

Sources: Milakov & Gimelshein, arXiv 1805.02867 (online softmax); the gradient on the
way forward, Hsu et al., "Liger Kernel", 2410.10989.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from minitransformer.kernels.launch import INTERPRETED, as_rows, check_inputs
from minitransformer.kernels.tiles import LONGEST, power_of_two

BLOCK = 8192
"""Numbers of a row at a time, where it does not fit into one tile."""


@triton.jit
def _cross_entropy_kernel(
    logits_ptr, target_ptr, weight_ptr, loss_ptr, grad_ptr, stride, columns, ignore,
    GRAD: tl.constexpr, WHOLE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Find the loss of one row, and write its gradient."""
    row, column = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    logits_ptr += row * stride
    target = tl.load(target_ptr + row)
    asked = target != ignore
    read = tl.where(asked, columns, 0)  # of a row that does not count, nothing
    top = tl.full([], float("-inf"), tl.float32)
    total = tl.full([], 0.0, tl.float32)
    if WHOLE:  # one load serves both ways
        z = tl.load(logits_ptr + column, column < read, other=float("-inf"))
        z = z.to(tl.float32)
    for start in range(0, read, BLOCK):
        if not WHOLE:
            at = start + column
            z = tl.load(logits_ptr + at, at < columns, other=float("-inf"))
            z = z.to(tl.float32)
        higher = tl.maximum(top, tl.max(z, axis=0))
        shift = tl.where(higher == float("-inf"), 0.0, higher)
        total = total * tl.exp(top - shift) + tl.sum(tl.exp(z - shift), axis=0)
        top = higher
    inside = (target >= 0) & (target < columns)
    there = tl.load(logits_ptr + target, inside, other=float("nan")).to(tl.float32)
    weight = tl.load(weight_ptr)
    lse = tl.where(asked, top + tl.log(tl.where(asked, total, 1.0)), 0.0)
    tl.store(loss_ptr + row, tl.where(asked, (lse - there) * weight, 0.0))
    if GRAD:
        grad_ptr += row * columns
        blocks = tl.cdiv(columns, BLOCK)
        for block in range(0, blocks):
            at = (blocks - 1 - block) * BLOCK + column
            if not WHOLE:
                z = tl.load(logits_ptr + at, at < read, other=float("-inf"))
                z = z.to(tl.float32)
            p = tl.exp(z - lse)
            grad = tl.where(asked, (p - tl.where(at == target, 1.0, 0.0)) * weight, 0.0)
            tl.store(grad_ptr + at, grad.to(grad_ptr.dtype.element_ty), at < columns)


@triton.jit
def _scale_rows_kernel(grad_ptr, by_ptr, by_stride, columns, BLOCK: tl.constexpr):
    """Multiply one row, unless by 1."""
    row = tl.program_id(0).to(tl.int64)
    by = tl.load(by_ptr + row * by_stride)
    if by != 1.0:
        for start in range(0, columns, BLOCK):
            at = start + tl.arange(0, BLOCK)
            grad = tl.load(grad_ptr + row * columns + at, at < columns, other=0.0)
            grad = grad.to(tl.float32) * by
            tl.store(
                grad_ptr + row * columns + at,
                grad.to(grad_ptr.dtype.element_ty),
                at < columns,
            )


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, target: Tensor, weight: Tensor, ignore: int
    ) -> Tensor:
        rows, columns = logits.shape
        device, needed = logits.device, ctx.needs_input_grad[0]
        loss = torch.empty(rows, dtype=torch.float32, device=device)
        size = logits.shape if needed else (1,)
        grad = torch.empty(size, dtype=logits.dtype, device=device)
        whole = columns <= LONGEST
        block = power_of_two(columns) if whole else BLOCK
        _cross_entropy_kernel[(rows,)](
            *(logits, target, weight, loss, grad),
            *(logits.stride(0), columns, ignore),
            GRAD=needed,
            WHOLE=whole,
            BLOCK=block,
            num_warps=min(max(block // 1024, 1), 16) if whole else 16,
        )
        ctx.grad = grad
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by: Tensor) -> tuple[Tensor | None, ...]:
        grad, ctx.grad = ctx.grad, None
        if grad is None:
            raise RuntimeError(
                "the gradient of this cross_entropy has been taken; it is kept once, "
                "call cross_entropy again"
            )
        rows, columns = grad.shape
        block = min(power_of_two(columns), BLOCK)
        _scale_rows_kernel[(rows,)](grad, by, by.stride(0), columns, BLOCK=block)
        return grad, None, None, None


def cross_entropy(
    logits: Tensor, target: Tensor, *, ignore: int = -100, reduction: str = "mean"
) -> Tensor:
    """Return how surprising the targets are, in nats.

    The twin of ``minitransformer.training.loss.cross_entropy``. Its gradient is
    computed on the way forward and can be taken once.

    Args:
        logits: ``[..., V]``, the last axis contiguous.
        target: ``[...]``, ids of the vocabulary, or ``ignore`` where nothing is asked.
        ignore: the target that does not count.
        reduction: "mean" over what counts, or "sum".

    Returns:
        One number in float32; NaN for the mean of nothing. On a GPU, where looking at
        the targets would make everything wait, one outside of the vocabulary gives NaN.

    Raises:
        ValueError: shapes do not fit, ``reduction`` is unknown, a target is no whole
            number or, in the interpreter, lies outside of the vocabulary, or the kernel
            cannot run on them
            (:func:`~minitransformer.kernels.launch.check_inputs`).
    """
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(f"logits have shape {tuple(logits.shape)}, need a vocabulary")
    if logits.shape[:-1] != target.shape:
        raise ValueError(
            f"target has shape {tuple(target.shape)}, logits have "
            f"{tuple(logits.shape[:-1])} before their last axis"
        )
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction is {reduction!r}, needs 'mean' or 'sum'")
    if target.is_floating_point():
        raise ValueError(f"target has {target.dtype}, needs whole numbers")
    check_inputs(logits=logits)
    if target.device != logits.device:
        raise ValueError(f"target is on {target.device}, logits on {logits.device}")
    if INTERPRETED:
        outside = (target < 0) | (target >= logits.shape[-1])
        wrong = target[outside & (target != ignore)]
        if len(wrong):
            raise ValueError(
                f"target has the id {int(wrong[0])}, the vocabulary has "
                f"{logits.shape[-1]}"
            )
    rows, weight = as_rows(logits), logits.new_ones((), dtype=torch.float32)
    if reduction == "mean":
        weight /= (target != ignore).sum()
    if len(rows) == 0:
        return rows.sum(dtype=torch.float32) * weight
    losses = _CrossEntropy.apply(rows, target.reshape(-1), weight, ignore)
    return losses.sum() + 0 * weight  # NaN where nothing counts
