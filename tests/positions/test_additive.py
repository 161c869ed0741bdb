import math

import numpy as np
import pytest
import torch

from minitransformer.positions.additive import (
    LearnedPositions,
    naive_sinusoidal,
    sinusoidal,
)

EXACT = {"rtol": 0, "atol": 1e-12}


def codes(pos, dim=6, **options):
    return sinusoidal(torch.as_tensor(pos), dim, dtype=torch.float64, **options)


def test_a_code_by_hand():
    wanted = [[math.sin(3), math.cos(3), math.sin(0.03), math.cos(0.03)]]
    got = codes([3], dim=4)
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float64), **EXACT)


@pytest.mark.parametrize("base", [1e4, 10.0])
def test_it_is_the_definition(base):
    wanted = np.stack([naive_sinusoidal(n, 6, base=base) for n in range(9)])
    got = codes(range(9), base=base)
    torch.testing.assert_close(got, torch.from_numpy(wanted), **EXACT)


def test_dot_products_depend_on_the_distance_alone():
    code = codes(range(50), dim=32)
    products = code @ code.T
    for distance in (0, 1, 7, 30):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), **EXACT)


def test_a_step_is_the_same_linear_map_everywhere():
    here, there = codes(range(40), dim=8), codes(range(5, 45), dim=8)
    step = torch.linalg.lstsq(here, there).solution
    torch.testing.assert_close(here @ step, there, rtol=0, atol=1e-9)


def test_positions_are_data():
    pos = torch.tensor([[4, -1, 0], [0, 4, 4]])
    got = codes(pos)
    assert got.shape == (2, 3, 6)
    assert not got[0, 1].any()
    torch.testing.assert_close(got[0, 0], got[1, 1], **EXACT)
    torch.testing.assert_close(got[1, 0], codes([0])[0], **EXACT)


def test_far_positions_keep_their_digits_in_float32():
    far = sinusoidal(torch.tensor([1_000_000]), 6)
    torch.testing.assert_close(far.double(), codes([1_000_000]), rtol=0, atol=1e-7)


def test_no_positions_give_no_codes():
    assert codes(torch.zeros(2, 0)).shape == (2, 0, 6)


@pytest.mark.parametrize("code", [codes, LearnedPositions(9, 6)])
def test_a_position_below_an_empty_slot_is_refused(code):
    with pytest.raises(ValueError, match="pos goes down to -3, needs -1 or more"):
        code(torch.tensor([0, -3, 2]))


def test_an_odd_dim_is_refused():
    with pytest.raises(ValueError, match="dim is 5, needs an even number"):
        codes([1], dim=5)


def test_learned_codes_are_rows_of_a_table_that_trains():
    learned = LearnedPositions(5, 3)
    got = learned(torch.tensor([[2, -1], [2, 4]]))
    assert torch.equal(got[0, 0], learned.weight[2])
    assert torch.equal(got[1, 1], learned.weight[4])
    assert not got[0, 1].any()
    got.sum().backward()
    assert learned.weight.grad.sum(dim=1).tolist() == [0, 0, 6, 0, 3]


def test_a_position_beyond_the_table_is_refused():
    with pytest.raises(ValueError, match="pos goes up to 5, the table to 4"):
        LearnedPositions(5, 3)(torch.tensor([0, 5]))
