"""A tiled product of matrices, and the order of its tiles.

``C = A B`` with ``A [m, k]`` and ``B [k, n]``. A program makes one tile of ``C``: it
walks along ``k``, loads a tile of ``A`` and a tile of ``B``, multiplies them and adds
to sums that stay in float32 in its registers::

    C[I, J] = sum over K of A[I, K] B[K, J]

A tile ``[M, N]`` with ``K`` numbers of each sum costs ``2 M N K`` operations for
``(M + N) K`` numbers read: the larger the tile, the more arithmetic for a number.

Programs that run side by side read the same tiles of ``A`` and ``B``, so their order
decides how much of that comes from the cache. Row after row, a row of ``C`` needs one
row of ``A`` but all of ``B``. In groups of ``GROUP`` rows, a block of about as many
rows as columns is under way at any time, which needs the fewest tiles.

Source of the grouped order: the Triton documentation, "Matrix Multiplication".
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from minitransformer.kernels.launch import check_inputs
from minitransformer.kernels.tiles import matmul_tile


def program_order(tiles_m: int, tiles_n: int, group: int) -> list[tuple[int, int]]:
    """Return which tile (row, column) of the result each program makes, in order.

    Args:
        tiles_m: rows of tiles.
        tiles_n: columns of tiles.
        group: rows of tiles that are worked on together; 1 is row after row.

    Returns:
        ``tiles_m * tiles_n`` pairs.

    Raises:
        ValueError: ``group`` is below 1.
    """
    if group < 1:
        raise ValueError(f"group is {group}, needs to be at least 1")
    return [
        (first + row, column)
        for first in range(0, tiles_m, group)
        for column in range(tiles_n)
        for row in range(min(group, tiles_m - first))
    ]


@triton.jit
def tile_of(program, tiles_m, tiles_n, GROUP: tl.constexpr):
    """Return what ``program_order`` has for one program, by arithmetic."""
    first = program // (GROUP * tiles_n) * GROUP
    height = tl.minimum(tiles_m - first, GROUP)
    inside = program % (GROUP * tiles_n)
    return first + inside % height, inside // height


@triton.jit
def _matmul_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k, a_m, a_k, b_k, b_n, M: tl.constexpr,
    N: tl.constexpr, K: tl.constexpr, GROUP: tl.constexpr, EVEN: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Make one tile of the product."""
    tiles_m, tiles_n = tl.cdiv(m, M), tl.cdiv(n, N)
    tile_m, tile_n = tile_of(tl.program_id(0), tiles_m, tiles_n, GROUP)
    row = tile_m.to(tl.int64) * M + tl.arange(0, M)
    column = tile_n.to(tl.int64) * N + tl.arange(0, N)
    inner = tl.arange(0, K)
    a_at = a_ptr + row[:, None] * a_m + inner[None, :] * a_k
    b_at = b_ptr + inner[:, None] * b_k + column[None, :] * b_n
    total = tl.zeros([M, N], tl.float32)
    for start in range(0, k, K):
        if EVEN:
            a, b = tl.load(a_at), tl.load(b_at)
        else:
            left = inner < k - start
            a = tl.load(a_at, (row < m)[:, None] & left[None, :], other=0.0)
            b = tl.load(b_at, left[:, None] & (column < n)[None, :], other=0.0)
        total = tl.dot(a, b, total, input_precision=PRECISION)
        a_at += K * a_k
        b_at += K * b_k
    inside = (row < m)[:, None] & (column < n)[None, :]
    out_at = out_ptr + row[:, None] * n + column[None, :]
    tl.store(out_at, total.to(out_ptr.dtype.element_ty), inside)


def _product(a: Tensor, b: Tensor) -> Tensor:
    (m, k), n = a.shape, b.shape[1]
    out = torch.empty((m, n), dtype=a.dtype, device=a.device)
    if out.numel():
        tile = matmul_tile(m, n, k, a.dtype)
        _matmul_kernel[(triton.cdiv(m, tile.m) * triton.cdiv(n, tile.n),)](
            *(a, b, out, m, n, k, *a.stride(), *b.stride()),
            M=tile.m,
            N=tile.n,
            K=tile.k,
            GROUP=tile.group,
            EVEN=m % tile.m == 0 and n % tile.n == 0 and k % tile.k == 0,
            PRECISION="ieee",
            num_warps=tile.warps,
            num_stages=tile.stages,
        )
    return out


class _Matmul(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return _product(a, b)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        a, b = ctx.saved_tensors
        needs_a, needs_b = ctx.needs_input_grad
        return (
            _product(grad, b.T) if needs_a else None,
            _product(a.T, grad) if needs_b else None,
        )


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Return ``a @ b``.

    The sums are kept in float32, and float32 is multiplied in full precision.

    Args:
        a: ``[m, k]``, contiguous along one of its axes.
        b: ``[k, n]``, likewise, so that a transposed view costs nothing.

    Returns:
        ``[m, n]``, in the type of ``a``.

    Raises:
        ValueError: one is no matrix, their shapes do not fit, or the kernel cannot run
            on them (:func:`~minitransformer.kernels.launch.check_inputs`).
    """
    for name, x in (("a", a), ("b", b)):
        if x.ndim != 2:
            raise ValueError(f"{name} has shape {tuple(x.shape)}, needs two axes")
    if a.shape[1] != b.shape[0]:
        raise ValueError(f"b has {b.shape[0]} rows, a has {a.shape[1]} columns")
    check_inputs(
        a=a.T if a.stride(0) == 1 else a,
        b=b.T if b.stride(0) == 1 else b,
    )
    return _Matmul.apply(a, b)
