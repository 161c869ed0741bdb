"""The fused softmax is the softmax, both ways, for short and long rows."""

import pytest
import torch

pytest.importorskip("triton")

from minitransformer.attention import normalizers
from minitransformer.kernels import softmax as module
from minitransformer.kernels.softmax import softmax
from minitransformer.kernels.tiles import LONGEST

from .budget import DTYPES, normal, within_budget

INF = float("inf")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 7), (5, 64), (33, 100), (3, 4097), (2, 3, 17)]
)
def test_it_keeps_to_its_budget_of_errors(shape, dtype):
    x = 4 * normal(*shape, dtype=dtype)
    within_budget(softmax, lambda x: x.softmax(-1), [x])


@pytest.mark.parametrize("columns", [16385, LONGEST, LONGEST + 1, 2 * LONGEST + 777])
def test_a_row_longer_than_a_tile_comes_in_blocks(columns):
    x = 4 * normal(2, columns)
    within_budget(softmax, lambda x: x.softmax(-1), [x])


@pytest.mark.parametrize("where", [0, 16383, 16384, LONGEST + 5])
def test_a_maximum_in_any_block_rescales_the_sum(where):
    x = normal(1, LONGEST + 6)
    x[0, where] = 90.0  # exp of it alone would fill float32
    out = softmax(x)
    assert out[0, where] == 1.0
    torch.testing.assert_close(out, x.softmax(-1))


@pytest.mark.parametrize("columns", [5, LONGEST + 5])
def test_it_is_its_twin_where_keys_are_hidden(columns):
    x = normal(4, columns)
    x[0] = -INF
    x[1, 1:] = -INF
    x[2, ::2] = -INF
    x.requires_grad_()
    out, wanted = softmax(x), normalizers.softmax(x)
    assert not out[0].any()
    torch.testing.assert_close(out, wanted)
    by = normal(4, columns, seed=3)
    (grad,) = torch.autograd.grad((out * by).sum(), x)
    (wanted,) = torch.autograd.grad((wanted * by).sum(), x)
    assert not grad[0].any()
    torch.testing.assert_close(grad, wanted)


def test_what_is_no_number_stays_visible():
    x = normal(3, 9)
    x[1, 4] = float("nan")
    assert softmax(x).isnan().any(1).tolist() == [False, True, False]


def test_rows_need_not_lie_side_by_side():
    x = normal(6, 20)[::2, :13]
    assert not x.is_contiguous()
    torch.testing.assert_close(softmax(x), x.softmax(-1))
    long = normal(2, LONGEST + 9)[:, : LONGEST + 3]
    torch.testing.assert_close(softmax(long), long.softmax(-1))


def test_a_gradient_that_is_one_number_spread_out_will_do():
    x = normal(4, 6).requires_grad_()
    softmax(x).sum().backward()  # its gradient comes with strides of 0
    assert x.grad.abs().max() < 1e-6


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (2, 0, 3)])
def test_of_nothing_it_is_nothing(shape):
    assert softmax(normal(*shape)).shape == shape


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (normal(3, 3).T, "scores has stride 3 in its last axis"),
        (normal(3).double(), "scores has torch.float64"),
        (torch.tensor(1.0), "scores is a single number"),
    ],
)
def test_it_refuses_what_it_cannot_run_on(x, message):
    with pytest.raises(ValueError, match=message):
        softmax(x)


def test_each_kernel_has_been_tried(monkeypatch):
    tried = []
    names = [name for name in vars(module) if name.endswith("_kernel")]
    for name in names:
        kernel = getattr(module, name)

        class Noting:
            def __getitem__(self, grid, name=name, kernel=kernel):
                tried.append(name)
                return kernel[grid]

        monkeypatch.setattr(module, name, Noting())
    for columns in (9, LONGEST + 1):
        softmax(normal(1, columns).requires_grad_()).sum().backward()
    assert sorted(tried) == sorted(names)
