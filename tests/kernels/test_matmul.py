"""The tiled product is the product, whatever the shapes; its tiles come in order."""

import pytest
import torch

pytest.importorskip("triton")

from minitransformer.kernels import matmul as module
from minitransformer.kernels.matmul import matmul, program_order
from minitransformer.kernels.tiles import MatmulTile

from .budget import DEVICE, DTYPES, needs_gpu, normal, within_budget

SHAPES = [
    *((1, 1, 1), (1, 5, 7), (16, 16, 16), (33, 17, 65), (64, 64, 64), (100, 3, 40)),
    *((130, 70, 129), (1, 200, 33)),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_keeps_to_its_budget_of_errors(shape, dtype):
    m, n, k = shape
    a, b = normal(m, k, dtype=dtype), normal(k, n, seed=1, dtype=dtype)
    within_budget(matmul, torch.matmul, [a, b])


def test_by_hand():
    a = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=DEVICE)
    b = torch.tensor([[5.0, 6.0], [7.0, 8.0]], device=DEVICE)
    assert matmul(a, b).tolist() == [[19.0, 22.0], [43.0, 50.0]]


def test_views_cost_no_copy_and_give_the_same():
    a, b = normal(40, 70)[:, 3:36], normal(50, 66)[:, ::2].T
    with pytest.raises(ValueError, match="b has stride"):
        matmul(a, b)
    b = b.contiguous()
    for x, y in ((a, b), (a, b.T.contiguous().T), (a.T.contiguous().T, b)):
        torch.testing.assert_close(matmul(x, y), x @ y, rtol=1e-5, atol=1e-5)


def test_sums_are_kept_in_float32():
    a = torch.ones(1, 5000, dtype=torch.float16, device=DEVICE)
    assert matmul(a, a.T).item() == 5000.0  # float16 alone stops counting at 2048


def test_of_no_numbers_the_sum_is_zero():
    assert not matmul(normal(3, 0), normal(0, 4)).any()
    assert matmul(normal(0, 3), normal(3, 4)).shape == (0, 4)


@pytest.mark.parametrize("group", [1, 2, 3, 8])
def test_every_group_makes_each_tile_once(group, monkeypatch):
    tile = MatmulTile(16, 16, 16, group, 4, 2)
    monkeypatch.setattr(module, "matmul_tile", lambda *_: tile)
    a, b = normal(16 * 5 + 3, 20), normal(20, 16 * 3 + 1, seed=1)
    torch.testing.assert_close(matmul(a, b), a @ b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("tiles_m", "tiles_n"), [(1, 1), (4, 4), (5, 3), (2, 7)])
@pytest.mark.parametrize("group", [1, 2, 4, 9])
def test_the_order_names_each_tile_once(tiles_m, tiles_n, group):
    order = program_order(tiles_m, tiles_n, group)
    assert sorted(order) == [(i, j) for i in range(tiles_m) for j in range(tiles_n)]


def test_a_group_of_one_is_row_after_row_and_a_group_of_all_column_after_column():
    assert program_order(2, 3, 1) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert program_order(2, 2, 2) == [(0, 0), (1, 0), (0, 1), (1, 1)]


def test_a_group_below_one_is_refused():
    with pytest.raises(ValueError, match="group is 0, needs to be at least 1"):
        program_order(2, 2, 0)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (normal(3, 4), normal(5, 6), "b has 5 rows, a has 4 columns"),
        (normal(3), normal(3, 4), r"a has shape \(3,\), needs two axes"),
        (normal(3, 4), normal(1, 4, 5), r"b has shape \(1, 4, 5\), needs two axes"),
        (normal(3, 4), normal(4, 5).half(), "b has torch.float16, a has"),
        (normal(6, 8)[::2, ::2], normal(4, 5), "a has stride 2 in its last axis"),
    ],
)
def test_it_refuses_what_it_cannot_multiply(a, b, message):
    with pytest.raises(ValueError, match=message):
        matmul(a, b)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "shape",
    [pytest.param(s, marks=needs_gpu) for s in ((2048, 4096, 512), (3000, 2500, 1024))],
)
def test_large_tiles_multiply_as_small_ones_do(shape, dtype):
    m, n, k = shape
    a, b = normal(m, k, dtype=dtype), normal(k, n, seed=1, dtype=dtype)
    within_budget(matmul, torch.matmul, [a, b])
