"""Lightning attention as a Triton kernel: one kernel for the output and each gradient.

What :mod:`minitransformer.attention.linear.lightning_attention` computes, block by
block, with the state in registers. The gradients have the form of the output, so that
one kernel serves for all four, two of them with the time reversed::

    O = f(Q, K, V)    dQ = f(dO, V, K)    dV = f'(K, Q, dO)    dK = f'(V, dO, Q)

A head alone keeps one processor of a GPU busy and leaves the others idle, so a long
sequence is cut into parts that run at the same time: a first kernel takes the keys and
values of each part into a state that starts at zero, a second adds these up from part
to part, and the third starts each part with what came before it. That reads keys and
values twice; where there are heads enough for all processors, there is one part. The
states are kept for dQ, which starts from them too, and dK and dV share theirs.

Sources: Qin et al., arXiv 2401.04658 (Lightning Attention-2), which walks over a whole
sequence in one program; the parts are as in Yang et al., 2312.06635 (GLA).
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from minitransformer.kernels.descriptors import aligned, descriptor
from minitransformer.kernels.launch import check_inputs
from minitransformer.kernels.tiles import LightningTile, lightning_tile

HEAD_DIMS = (16, 32, 64, 128)


@triton.jit
def _take_in(
    state, k, v, fade, i, size, PRECISION: tl.constexpr, REVERSE: tl.constexpr
):
    """Let the state shrink over a block, and add the block's keys and values."""
    age = i if REVERSE else size - 1 - i
    left = tl.where(i < size, tl.math.exp2(fade * age), 0.0)
    faded = (v * left[:, None]).to(v.dtype)
    state = state * tl.math.exp2(fade * size)
    return tl.dot(k.T, faded, state, input_precision=PRECISION)


@triton.jit
def _state_of_parts(
    k_desc, v_desc, parts_ptr, fade_ptr, heads, length, part, num_parts,
    C: tl.constexpr, E: tl.constexpr, EV: tl.constexpr, VALUE_DIM: tl.constexpr,
    PRECISION: tl.constexpr, REVERSE: tl.constexpr,
):  # fmt: skip
    """Take in each part alone but the last in time, whose state no part reads."""
    b, h = tl.program_id(1) // heads, tl.program_id(1) % heads
    number, column = tl.program_id(0), tl.program_id(2) * EV
    if REVERSE:
        number += 1
    fade = tl.load(fade_ptr + h)
    begin = number * part
    blocks = tl.cdiv(tl.minimum(part, length - begin), C)
    i = tl.arange(0, C)
    state = tl.zeros([E, EV], tl.float32)
    for step in tl.range(0, blocks):
        n = begin + (blocks - 1 - step if REVERSE else step) * C
        k = k_desc.load([b, h, n, 0]).reshape(C, E)
        v = v_desc.load([b, h, n, column]).reshape(C, EV)
        size = tl.minimum(C, length - n)
        state = _take_in(state, k, v, fade, i, size, PRECISION, REVERSE)
    at = (tl.program_id(1) * num_parts + number) * E * VALUE_DIM + column
    at = at + tl.arange(0, E)[:, None] * VALUE_DIM + tl.arange(0, EV)[None, :]
    tl.store(parts_ptr + at, state)


@triton.jit
def _add_up(
    parts_ptr, state_ptr, fade_ptr, heads, length, part, num_parts,
    NUMBERS: tl.constexpr, BLOCK: tl.constexpr, REVERSE: tl.constexpr,
):  # fmt: skip
    """Replace what a part took in by what came before it."""
    head = tl.program_id(1)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < NUMBERS
    fade = tl.load(fade_ptr + head % heads)
    state = tl.load(state_ptr + head * NUMBERS + at, mask=inside, other=0.0)
    for step in range(0, num_parts - 1):
        number = num_parts - 1 - step if REVERSE else step
        here = parts_ptr + (head * num_parts + number) * NUMBERS + at
        own = tl.load(here, mask=inside, other=0.0)
        tl.store(here, state, mask=inside)
        size = tl.minimum(part, length - number * part)
        state = state * tl.math.exp2(fade * size) + own
    number = 0 if REVERSE else num_parts - 1
    tl.store(parts_ptr + (head * num_parts + number) * NUMBERS + at, state, mask=inside)


@triton.jit
def _attend(
    q_desc, k_desc, v_desc, out_desc, start_ptr, end_ptr, fade_ptr, heads, length, part,
    num_parts, C: tl.constexpr, E: tl.constexpr, EV: tl.constexpr,
    VALUE_DIM: tl.constexpr, PRECISION: tl.constexpr, REVERSE: tl.constexpr,
    TURNED: tl.constexpr, END: tl.constexpr,
):  # fmt: skip
    """Walk over the blocks of a part, with the state that came before it.

    If ``TURNED``, the states lie in memory with their axes swapped.
    """
    b, h = tl.program_id(1) // heads, tl.program_id(1) % heads
    number, column = tl.program_id(0), tl.program_id(2) * EV
    fade = tl.load(fade_ptr + h)
    begin = number * part
    blocks = tl.cdiv(tl.minimum(part, length - begin), C)
    i = tl.arange(0, C)
    gap = i[None, :] - i[:, None] if REVERSE else i[:, None] - i[None, :]
    weight = tl.where(gap >= 0, tl.math.exp2(fade * gap), 0.0)
    cell = tl.arange(0, E)[:, None] * VALUE_DIM + column + tl.arange(0, EV)[None, :]
    at = (tl.program_id(1) * num_parts + number) * E * VALUE_DIM
    if TURNED:
        rows, columns = tl.arange(0, E)[:, None], column + tl.arange(0, EV)[None, :]
        state = tl.load(start_ptr + at + rows + columns * E)
    else:
        state = tl.load(start_ptr + at + cell)
    for step in tl.range(0, blocks):
        n = begin + (blocks - 1 - step if REVERSE else step) * C
        size = tl.minimum(C, length - n)
        q = q_desc.load([b, h, n, 0]).reshape(C, E)
        k = k_desc.load([b, h, n, 0]).reshape(C, E)
        v = v_desc.load([b, h, n, column]).reshape(C, EV)
        before = tl.math.exp2(fade * (size - i if REVERSE else i + 1))
        out = tl.dot(q, state.to(q.dtype), input_precision=PRECISION)
        out = out * before[:, None]
        s = tl.dot(q, k.T, input_precision=PRECISION) * weight
        out = tl.dot(s.to(v.dtype), v, out, input_precision=PRECISION)
        out_desc.store([b, h, n, column], out.to(v.dtype).reshape(1, 1, C, EV))
        state = _take_in(state, k, v, fade, i, size, PRECISION, REVERSE)
    if END:  # noqa: SIM102 -- known when compiled, the next is not
        if number == (0 if REVERSE else num_parts - 1):
            tl.store(end_ptr + tl.program_id(1) * E * VALUE_DIM + cell, state)


def _constants(query: Tensor, value: Tensor, tile: LightningTile) -> dict[str, Any]:
    return {
        "C": tile.block,
        "E": query.shape[3],
        "EV": tile.columns,
        "VALUE_DIM": value.shape[3],
        "PRECISION": "ieee" if query.dtype == torch.float32 else "tf32",
        "num_warps": tile.warps,
        "num_stages": tile.stages,
    }


def _starts(
    key: Tensor,
    value: Tensor,
    fade: Tensor,
    first: Tensor,
    tile: LightningTile,
    *,
    reverse: bool = False,
) -> Tensor:
    """Return the state before each part, ``[B, H, parts, E, Ev]``; first is given."""
    (batch, heads, length, head_dim), value_dim = key.shape, value.shape[3]
    parts = triton.cdiv(length, tile.part)
    if parts == 1:
        return first.unsqueeze(2)
    shape = (batch, heads, parts, head_dim, value_dim)
    start = torch.empty(shape, dtype=torch.float32, device=key.device)
    sizes = (fade, heads, length, tile.part, parts)
    _state_of_parts[(parts - 1, batch * heads, value_dim // tile.columns)](
        descriptor(key, tile.block),
        descriptor(value, tile.block, tile.columns),
        start,
        *sizes,
        **_constants(key, value, tile),
        REVERSE=reverse,
    )
    numbers = head_dim * value_dim
    _add_up[(triton.cdiv(numbers, 1024), batch * heads)](
        start, first, *sizes, NUMBERS=numbers, BLOCK=1024, REVERSE=reverse
    )
    return start


def _outputs(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    fade: Tensor,
    start: Tensor,
    tile: LightningTile,
    *,
    reverse: bool = False,
    turned: bool = False,
    end: Tensor | None = None,
) -> Tensor:
    """Return the output of all parts; if ``end`` is given, write the last state there.

    ``start`` is what ``_starts`` returned for these keys and values; or, ``turned``,
    for what are here the values and keys.
    """
    (batch, heads, length, _), value_dim = query.shape, value.shape[3]
    parts, columns = start.shape[2], min(tile.columns, value_dim)
    tile = tile._replace(columns=columns)
    out = torch.empty(value.shape, dtype=value.dtype, device=value.device)
    _attend[(parts, batch * heads, value_dim // columns)](
        descriptor(query, tile.block),
        descriptor(key, tile.block),
        descriptor(value, tile.block, columns),
        descriptor(out, tile.block, columns),
        start,
        start if end is None else end,
        *(fade, heads, length, tile.part, parts),
        **_constants(query, value, tile),
        REVERSE=reverse,
        TURNED=turned,
        END=end is not None,
    )
    return out


class _Lightning(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        fade: Tensor,
        state: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        query, key, value = aligned(query), aligned(key), aligned(value)
        (batch, heads, length, head_dim), value_dim = query.shape, value.shape[3]
        sizes = (batch * heads, length, head_dim, value_dim)
        ctx.tile = lightning_tile(*sizes, query.dtype)
        shape = (batch, heads, head_dim, value_dim)
        if state is None:
            first = torch.zeros(shape, dtype=torch.float32, device=query.device)
        else:
            first = state.to(torch.float32, copy=True).contiguous()
        start = _starts(key, value, fade, first, ctx.tile)
        end = torch.empty_like(first)
        out = _outputs(query, key, value, fade, start, ctx.tile, end=end)
        ctx.save_for_backward(query, key, value, fade, start)
        ctx.stateful = state is not None
        return out, end

    @staticmethod
    def backward(ctx: Any, dout: Tensor, dend: Tensor) -> tuple[Any, ...]:
        query, key, value, fade, start = ctx.saved_tensors
        dout, tile = aligned(dout), ctx.tile
        dq = _outputs(dout, value, key, fade, start, tile, turned=True)
        fading = torch.exp2(-fade).view(-1, 1, 1)  # it fades before it is read
        first = (dend * fading).contiguous()
        after = _starts(query, dout, fade, first, tile, reverse=True)
        dstate = torch.empty_like(first) if ctx.stateful else None
        dv = _outputs(key, query, dout, fade, after, tile, reverse=True, end=dstate)
        dk = _outputs(value, dout, query, fade, after, tile, reverse=True, turned=True)
        if dstate is None:
            return dq, dk, dv, None, None
        return dq, dk, dv, None, dstate / fading


def lightning_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    decay: Tensor,
    state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Attend linearly.

    Args:
        query: ``[B, H, L, E]``; E and Ev are 16, 32, 64 or 128.
        key: ``[B, H, L, E]``.
        value: ``[B, H, L, Ev]``.
        decay: ``[H]``, above 0 and at most 1: what is left of the state after a step;
            it has no gradient.
        state: ``[B, H, E, Ev]``, what an earlier call handed back; by default zeros.

    Returns:
        The output ``[B, H, L, Ev]`` in the type of ``value``, and the state after the
        last token in float32.

    Raises:
        ValueError: an input is not on a GPU (and the kernels not interpreted), or its
            type, shape or a dimension is another than the kernel takes; ``decay`` needs
            a gradient.
    """
    check_inputs(query=query, key=key, value=value)
    _check_shapes(query, key, value, decay, state)
    if decay.requires_grad:
        raise ValueError("decay needs a gradient, which this kernel does not compute")
    fade = decay.to(query.device, torch.float32).log2().contiguous()
    if query.numel() == 0:  # no program would run
        shape = (*query.shape[:2], query.shape[3], value.shape[3])
        if state is None:
            state = torch.zeros(shape, dtype=torch.float32, device=query.device)
        return torch.zeros_like(value), state.float()
    return _Lightning.apply(query, key, value, fade, state)


def _check_shapes(
    query: Tensor, key: Tensor, value: Tensor, decay: Tensor, state: Tensor | None
) -> None:
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
        if x.shape[3] not in HEAD_DIMS:
            raise ValueError(f"{name} has dim {x.shape[3]}, needs one of {HEAD_DIMS}")
    if key.shape[3] != query.shape[3]:
        raise ValueError(f"key has head_dim {key.shape[3]}, query has {query.shape[3]}")
    if tuple(decay.shape) != query.shape[1:2]:
        raise ValueError(
            f"decay has shape {tuple(decay.shape)}, needs ({query.shape[1]},)"
        )
    wanted = (*query.shape[:2], query.shape[3], value.shape[3])
    if state is not None and tuple(state.shape) != wanted:
        raise ValueError(f"state has shape {tuple(state.shape)}, needs {wanted}")
