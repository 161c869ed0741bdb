"""What every ``attend`` and every ``recur`` must do, whatever its mechanism.

``check_attend(fn)`` and ``check_recur(fn)`` call a function of yours on small random
input and raise ``AssertionError`` with one sentence on the first promise it breaks.
The tests of this package run them on each mechanism; run them on your own::

    attend(query, key, value, *, q_pos=None, kv_pos=None, return_lse=False)
        -> out | (out, lse)
    recur(query, key, value, *, <gates>, state=None) -> (out, state)
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

NONE: Mapping[str, Tensor] = {}


class Shape(NamedTuple):
    """Sizes of one call: batch, heads, key heads, queries, keys."""

    batch: int
    heads: int
    kv_heads: int
    length: int
    kv_length: int


SHAPES = (
    Shape(1, 1, 1, 1, 1),  # the least there is
    Shape(2, 2, 2, 5, 5),
    Shape(3, 4, 2, 1, 7),  # one query, as in decoding
    Shape(2, 4, 1, 4, 9),  # one key head for all
    Shape(1, 6, 3, 7, 3),  # more queries than keys
)


def example(
    shape: Shape,
    *,
    head_dim: int = 8,
    value_dim: int = 6,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return a random query, key and value.

    Args:
        shape: their sizes.
        head_dim: numbers in one query or key, ``E``.
        value_dim: numbers in one value, ``Ev``.
        seed: of the generator.
        dtype: of all three.
    """
    generator = torch.Generator().manual_seed(seed)
    batch, heads, kv_heads, length, kv_length = shape

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)

    return (
        normal(batch, heads, length, head_dim),
        normal(batch, kv_heads, kv_length, head_dim),
        normal(batch, kv_heads, kv_length, value_dim),
    )


def assert_close(got: Tensor, wanted: Tensor, tolerance: float, promise: str) -> None:
    """Raise ``AssertionError`` with the promise if two tensors differ.

    Args:
        got: what came, of any shape.
        wanted: what should have come, of the same shape; infinite and NaN entries must
            be the same.
        tolerance: greatest difference, relative to the greatest entry or to 1.
        promise: the sentence that a difference would break.
    """
    assert got.shape == wanted.shape, (
        f"{promise}: got shape {tuple(got.shape)}, wanted {tuple(wanted.shape)}"
    )
    got, wanted = got.detach().double(), wanted.detach().double()
    finite = wanted.isfinite()
    same = torch.equal(got.isfinite(), finite) and torch.equal(
        got[~finite].nan_to_num(), wanted[~finite].nan_to_num()
    )
    assert same, f"{promise}: not finite in the same places"
    if finite.any():
        size = max(1.0, float(wanted[finite].abs().max()))
        error = float((got[finite] - wanted[finite]).abs().max()) / size
        assert error <= tolerance, f"{promise}: off by {error:.1e}"


def check_attend(
    attend: Callable[..., Any],
    *,
    like: Callable[..., Any] | None = None,
    lse: bool = True,
    head_dim: int = 8,
    tolerance: float = 1e-10,
) -> None:
    """Check what an ``attend`` promises.

    It runs in float64 on the sizes of ``SHAPES``: shapes and types; the same result for
    memory that is not contiguous; each sequence and head for itself; heads that share a
    key; positions as data (those that stand for the default, empty slots, queries
    without any key); finite gradients; and a refusal of a key that does not fit.

    Args:
        attend: the function, with its options bound.
        like: a function that it must agree with.
        lse: whether it can return the ``lse``.
        head_dim: ``E``.
        tolerance: see :func:`assert_close`.

    Raises:
        AssertionError: a promise is broken; the message says which.
    """
    for shape in SHAPES:
        query, key, value = example(shape, head_dim=head_dim)
        out = attend(query, key, value)
        wanted = (*query.shape[:3], value.shape[3])
        assert tuple(out.shape) == wanted, f"out has shape {tuple(out.shape)}"
        assert out.dtype == value.dtype, f"out is {out.dtype}, value is {value.dtype}"
        if like is not None:
            other = like(query, key, value)
            assert_close(out, other, tolerance, f"agrees with its peer at {shape}")
        strided = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (key, value)]
        same = attend(query, *strided)
        assert_close(same, out, tolerance, "memory need not be contiguous")
        _check_independence(attend, query, key, value, out, tolerance)
        _check_positions(attend, query, key, value, out, lse, tolerance)
    _check_empty(attend, head_dim, lse)
    query, key, value = example(SHAPES[1], head_dim=head_dim)
    try:
        attend(query, key[..., :-1], value)
    except (ValueError, RuntimeError):
        return
    raise AssertionError("a key whose head_dim is not the query's was not refused")


def _check_independence(
    attend: Callable[..., Any],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    tolerance: float,
) -> None:
    groups = query.shape[1] // key.shape[1]
    for b in range(query.shape[0]):
        for h in range(query.shape[1]):
            kv = h // groups
            alone = attend(
                query[b : b + 1, h : h + 1],
                key[b : b + 1, kv : kv + 1],
                value[b : b + 1, kv : kv + 1],
            )
            assert_close(
                alone[0, 0], out[b, h], tolerance, f"head {h} stands by itself"
            )


def _check_positions(
    attend: Callable[..., Any],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    lse: bool,
    tolerance: float,
) -> None:
    (batch, _, length, _), kv_length = query.shape, key.shape[2]
    if length > kv_length:  # the default positions of the first would be negative
        return
    q_pos, kv_pos = torch.arange(kv_length - length, kv_length), torch.arange(kv_length)
    for rows in ((), (batch,)):
        given = {
            "q_pos": q_pos.expand(*rows, -1).contiguous(),
            "kv_pos": kv_pos.expand(*rows, -1).contiguous(),
        }
        same = attend(query, key, value, **given)
        assert_close(same, out, tolerance, "no positions means bottom-right alignment")
    slot = torch.tensor([-1])
    longer = {"q_pos": q_pos, "kv_pos": torch.cat([slot, kv_pos, slot])}
    junk_k, junk_v = key[:, :, :1] + 3.0, value[:, :, :1] + 1e3
    padded_k = torch.cat([junk_k, key, junk_k], dim=2)
    padded_v = torch.cat([junk_v, value, junk_v], dim=2)
    same = attend(query, padded_k, padded_v, **longer)
    assert_close(same, out, tolerance, "a key at position -1 is never seen")
    if lse:
        both, sums = attend(query, key, value, return_lse=True)
        assert_close(both, out, tolerance, "return_lse does not change the output")
        assert sums.shape == query.shape[:3], f"lse has shape {tuple(sums.shape)}"


def _check_empty(attend: Callable[..., Any], head_dim: int, lse: bool) -> None:
    inputs = [x.requires_grad_() for x in example(SHAPES[1], head_dim=head_dim)]
    length = inputs[0].shape[2]
    q_pos, kv_pos = torch.arange(length), torch.arange(length)
    q_pos[1], kv_pos[0] = -1, -1
    out = attend(*inputs, q_pos=q_pos, kv_pos=kv_pos)
    assert not out[:, :, 1].any(), "a query without any key does not give zeros"
    grads = torch.autograd.grad(out.sum(), inputs, allow_unused=True)
    for name, grad in zip(("query", "key", "value"), grads, strict=True):
        finite = grad is None or grad.isfinite().all()  # a hard choice has none
        assert finite, f"the gradient of {name} is not finite"
    if lse:
        _, sums = attend(*inputs, q_pos=q_pos, kv_pos=kv_pos, return_lse=True)
        assert torch.isneginf(sums[:, :, 1]).all(), "the lse of no key is not -inf"


def check_recur(
    recur: Callable[..., Any],
    *,
    gates: Callable[[Tensor], Mapping[str, Tensor]] | None = None,
    like: Callable[..., Any] | None = None,
    head_dim: int = 8,
    tolerance: float = 1e-4,
) -> None:
    """Check what a ``recur`` promises.

    Shapes and types; a state in float32 (float64 for float64 input) that it hands back
    and does not write into; the same result in one call and in parts; nothing seen of
    the future; each sequence for itself; finite gradients.

    Args:
        recur: the function.
        gates: from a query ``[B, H, L, E]`` to the gates by name, each with the queries
            along axis 2.
        like: a function ``like(query, key, value, **gates) -> (out, state)`` that it
            must agree with.
        head_dim: ``E``.
        tolerance: see :func:`assert_close`; the state may be kept in float32.

    Raises:
        AssertionError: a promise is broken; the message says which.
    """
    for batch, heads, length in ((1, 1, 1), (2, 3, 7), (1, 2, 16)):
        shape = Shape(batch, heads, heads, length, length)
        query, key, value = example(shape, head_dim=head_dim)
        gate = gates(query) if gates else NONE
        out, _ = recur(query, key, value, **gate)
        wanted = (*query.shape[:3], value.shape[3])
        assert tuple(out.shape) == wanted, f"out has shape {tuple(out.shape)}"
        assert out.dtype == value.dtype, f"out is {out.dtype}, value is {value.dtype}"
        if like is not None:
            other, _ = like(query, key, value, **gate)
            assert_close(out, other, tolerance, "agrees with its peer")
        _check_parts(recur, (query, key, value), gate, out, tolerance)
        first = recur(
            query[:1], key[:1], value[:1], **{k: g[:1] for k, g in gate.items()}
        )
        assert_close(first[0], out[:1], tolerance, "each sequence stands by itself")
        inputs = [x.clone().requires_grad_() for x in (query, key, value)]
        total = recur(*inputs, **gate)[0].sum()
        for grad in torch.autograd.grad(total, inputs, allow_unused=True):
            assert grad is None or grad.isfinite().all(), "a gradient is not finite"
    half = [
        x.to(torch.bfloat16) for x in example(Shape(1, 1, 1, 4, 4), head_dim=head_dim)
    ]
    gate = (
        {k: g.to(torch.bfloat16) for k, g in gates(half[0]).items()} if gates else NONE
    )
    for part in _tensors(recur(*half, **gate)[1]):
        assert not part.is_floating_point() or part.dtype == torch.float32, (
            f"the state of bfloat16 input is kept in {part.dtype}, not in float32"
        )


def _tensors(state: Any) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state]
    return [part for each in state for part in _tensors(each)]


def _check_parts(
    recur: Callable[..., Any],
    inputs: tuple[Tensor, ...],
    gate: Mapping[str, Tensor],
    out: Tensor,
    tolerance: float,
) -> None:
    length = out.shape[2]
    for cut in {0, 1, length // 2, length}:
        state: Any = None
        parts = []
        for part in (slice(0, cut), slice(cut, length)):
            if part.start == part.stop:
                continue
            old = [] if state is None else _tensors(state)
            copies = [x.clone() for x in old]
            piece, state = recur(
                *(x[:, :, part] for x in inputs),
                **{name: g[:, :, part] for name, g in gate.items()},
                state=state,
            )
            parts.append(piece)
            kept = all(map(torch.equal, copies, old))
            assert kept, "the state that came was written into"
        whole = torch.cat(parts, dim=2)
        assert_close(whole, out, tolerance, f"cut at {cut} it gives the same")
        later = [torch.cat([x[:, :, :cut], x[:, :, cut:] + 1.0], dim=2) for x in inputs]
        changed, _ = recur(*later, **gate)
        promise = "nothing is seen of the future"
        assert_close(changed[:, :, :cut], out[:, :, :cut], tolerance, promise)
