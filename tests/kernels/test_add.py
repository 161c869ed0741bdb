"""The smallest kernel adds what it is given, and nothing else."""

import pytest
import torch

pytest.importorskip("triton")

from minitransformer.kernels.add import BLOCK, add

from .budget import DTYPES, normal


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 7, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
def test_it_is_the_sum_exactly(size, dtype):
    x, y = normal(size, dtype=dtype), normal(size, seed=1, dtype=dtype)
    assert torch.equal(add(x, y), x + y)


def test_any_shape_will_do():
    x, y = normal(2, 3, 5), normal(2, 3, 5, seed=1)
    assert torch.equal(add(x, y), x + y)


def test_of_nothing_it_is_nothing():
    assert add(normal(0, 4), normal(0, 4)).shape == (0, 4)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (normal(3), normal(4), r"y has shape \(4,\), x has \(3,\)"),
        (normal(4, 6)[:, :3], normal(4, 3), "x is not contiguous"),
        (normal(4, 3), normal(4, 6)[:, :3], "y is not contiguous"),
        (normal(3), normal(3).half(), "y has torch.float16, x has torch.float32"),
        (normal(3).long(), normal(3).long(), "x has torch.int64"),
    ],
)
def test_it_refuses_what_it_cannot_add(x, y, message):
    with pytest.raises(ValueError, match=message):
        add(x, y)
