"""Turns of queries and keys (RoPE) in one kernel.

Pair ``i`` of a vector at position ``n`` is turned by the angle ``n w_i``; see
:mod:`minitransformer.positions.rotary` for the two layouts. A turn keeps lengths, so
its gradient is the turn by the opposite angle::

    y = R(n) x        dx = R(-n) dy

Angles are computed in float64, and only what is left after whole turns is rounded to
float32: at position 100,000 a float32 angle would be off by 0.004. A program computes
its angles once for several heads.

Source: Su et al., arXiv 2104.09864.
"""

import math
from typing import Any, Literal

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from minitransformer.kernels.launch import check_inputs
from minitransformer.kernels.tiles import power_of_two

Layout = Literal["half", "interleaved"]
HEADS = 4
"""Heads that a program turns by the same angles."""
QUARTER_TURN = tl.constexpr(math.pi / 2)


@triton.jit
def cos_and_sin(angle):
    """Return both, in float32, of angles in float64.

    What is left after whole quarter turns goes into two short series (those of the
    Cephes library); after one or three of them cosine and sine change places.
    """
    turns = angle * (1 / QUARTER_TURN)
    whole = tl.floor(turns + 0.5)
    x = ((turns - whole) * QUARTER_TURN).to(tl.float32)
    xx = x * x
    sin = (-1.9515295891e-4 * xx + 8.3321608736e-3) * xx - 1.6666654611e-1
    sin = sin * xx * x + x
    cos = (2.443315711809948e-5 * xx - 1.388731625493765e-3) * xx + 4.166664568298827e-2
    cos = cos * xx * xx - 0.5 * xx + 1.0
    quarter = whole.to(tl.int64) & 3
    odd, negative = (quarter & 1) == 1, quarter >= 2
    left = tl.where(odd, -sin, cos)
    up = tl.where(odd, cos, sin)
    return tl.where(negative, -left, left), tl.where(negative, -up, up)


@triton.jit
def _rotate_kernel(
    x_ptr, pos_ptr, freqs_ptr, out_ptr, x_b, x_h, x_l, pos_b, freqs_h, heads, length,
    size, pairs, sign, HALF: tl.constexpr, HEADS: tl.constexpr, PLACES: tl.constexpr,
    PAIRS: tl.constexpr, REST: tl.constexpr, PER_HEAD: tl.constexpr,
):  # fmt: skip
    """Turn some places of several heads."""
    batch = tl.program_id(2).to(tl.int64)
    place = tl.program_id(0) * PLACES + tl.arange(0, PLACES)
    there, pair = place < length, tl.arange(0, PAIRS)
    pos = tl.load(pos_ptr + batch * pos_b + place, there, other=0).to(tl.float64)
    freqs = tl.load(freqs_ptr + pair, pair < pairs, other=0.0)
    cos, sin = cos_and_sin(pos[:, None] * freqs[None, :])
    for each in range(0, HEADS):
        head = tl.program_id(1).to(tl.int64) * HEADS + each
        if PER_HEAD:
            known = pair < tl.where(head < heads, pairs, 0)
            freqs = tl.load(freqs_ptr + head * freqs_h + pair, known, other=0.0)
            cos, sin = cos_and_sin(pos[:, None] * freqs[None, :])
        rows = place < tl.where(head < heads, length, 0)
        x_at = x_ptr + batch * x_b + head * x_h + place.to(tl.int64) * x_l
        out_at = out_ptr + ((batch * heads + head) * length + place) * size
        if HALF:
            inside = rows[:, None] & (pair < pairs)[None, :]
            a = tl.load(x_at[:, None] + pair[None, :], inside, other=0.0)
            b = tl.load(x_at[:, None] + pairs + pair[None, :], inside, other=0.0)
        else:
            both = tl.arange(0, 2 * PAIRS)
            inside = rows[:, None] & (both < 2 * pairs)[None, :]
            x = tl.load(x_at[:, None] + both[None, :], inside, other=0.0)
            a, b = tl.split(tl.reshape(x, [PLACES, PAIRS, 2]))
        a, b = a.to(tl.float32), b.to(tl.float32)
        new_a, new_b = a * cos - b * sin * sign, a * sin * sign + b * cos
        new_a = new_a.to(out_ptr.dtype.element_ty)
        new_b = new_b.to(out_ptr.dtype.element_ty)
        if HALF:
            tl.store(out_at[:, None] + pair[None, :], new_a, inside)
            tl.store(out_at[:, None] + pairs + pair[None, :], new_b, inside)
        else:
            moved = tl.reshape(tl.join(new_a, new_b), [PLACES, 2 * PAIRS])
            tl.store(out_at[:, None] + both[None, :], moved, inside)
        if REST > 0:
            rest = 2 * pairs + tl.arange(0, REST)
            inside = rows[:, None] & (rest < size)[None, :]
            still = tl.load(x_at[:, None] + rest[None, :], inside, other=0.0)
            tl.store(out_at[:, None] + rest[None, :], still, inside)


def _turned(x: Tensor, pos: Tensor, freqs: Tensor, half: bool, sign: float) -> Tensor:
    batch, heads, length, size = x.shape
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    pairs = freqs.shape[-1]
    block = power_of_two(pairs)
    places = max(min(power_of_two(length), 2048 // block), 1)
    rest = size - 2 * pairs
    _rotate_kernel[(triton.cdiv(length, places), triton.cdiv(heads, HEADS), batch)](
        *(x, pos, freqs, out, *x.stride()[:3]),
        pos.stride(0) if pos.ndim == 2 and len(pos) > 1 else 0,
        freqs.stride(0) if freqs.ndim == 2 else 0,
        *(heads, length, size, pairs, sign),
        HALF=half,
        HEADS=HEADS,
        PLACES=places,
        PAIRS=block,
        REST=power_of_two(rest) if rest else 0,
        PER_HEAD=freqs.ndim == 2,
        num_warps=4,
    )
    return out


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, pos: Tensor, freqs: Tensor, half: bool) -> Tensor:
        ctx.save_for_backward(pos, freqs)
        ctx.half = half
        return _turned(x, pos, freqs, half, 1.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad = grad if grad.stride(-1) == 1 else grad.contiguous()
        pos, freqs = ctx.saved_tensors
        return _turned(grad, pos, freqs, ctx.half, -1.0), None, None, None


def rotate(x: Tensor, pos: Tensor, freqs: Tensor, *, layout: Layout = "half") -> Tensor:
    """Turn queries or keys by their positions.

    The twin of :func:`minitransformer.positions.rotary.rotate`. Frequencies get no
    gradient here.

    Args:
        x: ``[B, H, L, E]``, its last axis contiguous.
        pos: ``[L]`` or ``[B, L]``, whole numbers on the device of ``x``.
        freqs: ``[F]`` with ``F`` at most ``E / 2``; numbers beyond ``2 F`` stay as they
            are. With ``[H, F]`` each head has its own.
        layout: which numbers are a pair.

    Returns:
        ``[B, H, L, E]``, in the type of ``x``, contiguous.

    Raises:
        ValueError: ``x`` has not four axes, ``E`` is odd, there are too many
            frequencies, positions or frequencies do not fit, the layout is unknown, or
            the kernel cannot run on it
            (:func:`~minitransformer.kernels.launch.check_inputs`).
    """
    if x.ndim != 4:
        raise ValueError(f"x has shape {tuple(x.shape)}, needs (B, H, L, E)")
    batch, heads, length, size = x.shape
    if size % 2:
        raise ValueError(f"x has head_dim {size}, needs an even number")
    if freqs.shape[-1] > size // 2:
        raise ValueError(f"freqs has {freqs.shape[-1]} pairs, x has {size // 2}")
    if freqs.ndim == 2 and len(freqs) != heads:
        raise ValueError(f"freqs has {len(freqs)} heads, x has {heads}")
    if pos.shape not in ((length,), (1, length), (batch, length)):
        raise ValueError(
            f"pos has shape {tuple(pos.shape)}, x has length {length} and batch {batch}"
        )
    if pos.is_floating_point():
        raise ValueError(f"pos has {pos.dtype}, needs whole numbers")
    if layout not in ("half", "interleaved"):
        raise ValueError(f"layout is {layout!r}, needs 'half' or 'interleaved'")
    check_inputs(x=x)
    if pos.device != x.device:
        raise ValueError(f"pos is on {pos.device}, x on {x.device}")
    if x.numel() == 0 or freqs.shape[-1] == 0:
        return x.clone()
    freqs = freqs.detach().to(x.device, torch.float64).contiguous()
    return _Rotate.apply(x, pos.contiguous(), freqs, layout == "half")
