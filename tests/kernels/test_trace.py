"""The record of a kernel says who touched what, and who got in whose way."""

import pytest
import torch

pytest.importorskip("triton")

import triton
import triton.language as tl
from triton.runtime.interpreter import interpreter_builder

from minitransformer.kernels import launch, matmul, softmax
from minitransformer.kernels import trace as module
from minitransformer.kernels.descriptors import descriptor
from minitransformer.kernels.trace import trace

pytestmark = pytest.mark.skipif(
    not launch.INTERPRETED, reason="a trace needs the interpreter"
)


@triton.jit
def copy_kernel(x_ptr, out_ptr, size, MASK: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if MASK:
        tl.store(out_ptr + i, tl.load(x_ptr + i, mask=i < size), mask=i < size)
    else:
        tl.store(out_ptr + i, tl.load(x_ptr + i))


@triton.jit
def total_kernel(x_ptr, out_ptr, ATOMIC: tl.constexpr, BLOCK: tl.constexpr):
    x = tl.load(x_ptr + tl.program_id(0) * BLOCK + tl.arange(0, BLOCK))
    if ATOMIC:
        tl.atomic_add(out_ptr, tl.sum(x, axis=0))
    else:
        tl.store(out_ptr, tl.load(out_ptr) + tl.sum(x, axis=0))


@triton.jit
def grid_kernel(out_ptr):
    x, y, z = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    tl.store(out_ptr + x * 4 + y * 2 + z, 1.0)


def test_each_program_touches_its_block():
    x, out = torch.arange(10.0), torch.empty(10)
    with trace(x, out) as record:
        copy_kernel[(3,)](x, out, 10, MASK=True, BLOCK=4)
    assert torch.equal(out, x)
    for tensor, kind in ((x, "read"), (out, "write")):
        touched = record.touched(tensor, kind)
        assert list(touched) == [0, 1, 2]
        assert [list(mask.nonzero()[0]) for mask in touched.values()] == [
            [0, 1, 2, 3],
            [4, 5, 6, 7],
            [8, 9],
        ]
    assert record.touched(x, "write") == {} == record.touched(out, "read")
    assert record.races() == {}


def test_a_missing_mask_is_refused_before_it_does_harm():
    memory = torch.zeros(32)
    x, out = memory[:10], memory[16:26]
    with (
        pytest.raises(Exception, match="program 2 reads 2 numbers outside of the tens"),
        trace(x, out),
    ):
        copy_kernel[(3,)](x, out, 10, MASK=False, BLOCK=4)
    with (
        pytest.raises(Exception, match="program 2 writes 2 numbers outside of the ten"),
        trace(memory[:12], out),
    ):
        copy_kernel[(3,)](x, out, 10, MASK=False, BLOCK=4)
    with trace() as record:  # without tensors nothing is refused
        copy_kernel[(3,)](x, out, 10, MASK=False, BLOCK=4)
    assert record.count(memory, "write") == 12


def test_programs_that_write_one_number_race():
    x, out = torch.ones(12), torch.zeros(2)
    with trace(x, out) as record:
        total_kernel[(3,)](x, out, ATOMIC=False, BLOCK=4)
    assert out[0] == 12  # the interpreter is right all the same
    assert record.races(out) == {(0,): [0, 1, 2]}
    assert record.races(x) == {}
    assert record.races() == {out.data_ptr(): [0, 1, 2]}


def test_atomic_additions_do_not_race():
    x, out = torch.ones(12), torch.zeros(1)
    with trace(x, out) as record:
        total_kernel[(3,)](x, out, ATOMIC=True, BLOCK=4)
    assert out[0] == 12
    assert record.races() == {}
    assert list(record.touched(out, "atomic")) == [0, 1, 2]


def test_one_program_may_read_what_it_wrote_but_no_other_may():
    x = torch.arange(12.0)
    with trace(x) as record:
        copy_kernel[(3,)](x, x, 12, MASK=True, BLOCK=4)
    assert record.races() == {}
    with trace(x) as record:  # each reads what the one after it writes
        copy_kernel[(2,)](x[4:], x, 8, MASK=True, BLOCK=4)
    assert record.races(x) == {(i,): [0, 1] for i in (4, 5, 6, 7)}


def test_programs_are_counted_as_a_gpu_does():
    out = torch.zeros(2, 2, 2)
    with trace(out) as record:
        grid_kernel[(2, 2, 2)](out)
    for program, mask in record.touched(out, "write").items():
        ((x, y, z),) = mask.nonzero() and zip(*mask.nonzero(), strict=True)
        assert program == x + 2 * y + 4 * z


def test_strides_are_understood():
    x, out = torch.randn(6, 8).T[:5], torch.empty(6, 5)
    with trace(x.T, out) as record:
        softmax._softmax_kernel[(3,)](x.T, out, 8, 6, 5, ROWS=2, BLOCK=8, STAGES=1)
    touched = record.touched(x, "read")
    assert touched[1].shape == (5, 6)
    assert touched[1][:, 2:4].all() and touched[1].sum() == 10


def test_the_grouped_order_is_the_order_of_the_kernel():
    a, b, out = torch.randn(80, 16), torch.randn(16, 48), torch.empty(80, 48)
    for group in (1, 2, 3):
        with trace(a, b, out) as record:
            matmul._matmul_kernel[(15,)](
                *(a, b, out, 80, 48, 16, 16, 1, 48, 1),
                **{"M": 16, "N": 16, "K": 16, "GROUP": group, "EVEN": True},
                PRECISION="ieee",
            )
        written = record.touched(out, "write")
        corners = [mask.nonzero() for mask in written.values()]
        tiles = [(int(r[0]) // 16, int(c[0]) // 16) for r, c in corners]
        assert tiles == matmul.program_order(5, 3, group)
        assert record.count(a, "read") == 3 * a.numel()
        assert record.count(b, "read") == 5 * b.numel()


@triton.jit
def tile_kernel(x_desc, out_desc, start):
    out_desc.store([0, 0, start, 0], x_desc.load([0, 0, start, 0]))


def test_a_tile_that_a_descriptor_loads_is_seen_and_ends_where_the_tensor_ends():
    x = torch.arange(24.0).reshape(1, 1, 6, 4)
    out = torch.full_like(x, torch.nan)
    with trace(x, out) as record:
        tile_kernel[(1,)](descriptor(x, 4), descriptor(out, 4), 4)
    for each, kind in ((x, "read"), (out, "write")):
        (rows,) = record.touched(each, kind).values()
        assert rows[0, 0].all(1).tolist() == [False] * 4 + [True] * 2
    assert torch.equal(out[:, :, 4:], x[:, :, 4:])


def test_afterwards_nothing_is_watched():
    x, out = torch.arange(4.0), torch.empty(4)
    with pytest.raises(RuntimeError), trace(x) as record:
        raise RuntimeError
    copy_kernel[(1,)](x, out, 4, MASK=True, BLOCK=4)
    assert torch.equal(out, x) and record.accesses == []
    assert not [name for name in vars(interpreter_builder) if name.startswith("create")]


def test_it_needs_the_interpreter_and_the_cpu(monkeypatch):
    with (
        pytest.raises(ValueError, match="a tensor is on meta, a trace needs it on"),
        trace(torch.empty(3, device="meta")),
    ):
        pass
    monkeypatch.setattr(module, "INTERPRETED", False)
    with pytest.raises(ValueError, match="needs TRITON_INTERPRET=1"), trace():
        pass
