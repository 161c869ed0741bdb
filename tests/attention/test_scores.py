import math

import numpy as np
import pytest
import torch

from minitransformer.attention import scores

SCORE = np.array([[0.0, 2.0, -2.0]])
QUERIES, KEYS = np.arange(2)[:, None], np.arange(3)


def test_a_soft_cap_by_hand():
    capped = scores.soft_cap(2.0)(SCORE, 0, 0, 0, KEYS)
    np.testing.assert_allclose(capped, [[0, 2 * math.tanh(1), -2 * math.tanh(1)]])


def test_a_high_cap_changes_nothing_and_no_score_passes_it():
    np.testing.assert_allclose(scores.soft_cap(1e6)(SCORE, 0, 0, 0, KEYS), SCORE)
    assert scores.soft_cap(3.0)(np.float64(1e9), 0, 0, 0, 0) <= 3.0


def test_a_bias_is_looked_up_by_position():
    table = np.arange(12.0).reshape(2, 2, 3)
    got = scores.bias(table)(np.zeros((2, 3)), 0, 1, QUERIES, KEYS)
    np.testing.assert_array_equal(got, [[6, 7, 8], [9, 10, 11]])


def test_a_relative_bias_is_looked_up_by_distance_and_ends_at_its_reach():
    table = np.array([[10.0, 20.0, 30.0]])  # one before, the same, one after
    got = scores.relative_bias(table)(np.zeros((2, 3)), 0, 0, QUERIES, KEYS)
    np.testing.assert_array_equal(got, [[20, 30, 30], [10, 20, 30]])


def test_a_chain_applies_the_first_mod_first():
    double = scores.chain(lambda s, *_: s + 1, lambda s, *_: s * 10)
    np.testing.assert_array_equal(double(SCORE, 0, 0, 0, KEYS), (SCORE + 1) * 10)
    np.testing.assert_array_equal(scores.chain()(SCORE, 0, 0, 0, KEYS), SCORE)


@pytest.mark.parametrize(
    "make",
    [
        lambda _: scores.soft_cap(1.5),
        lambda kind: scores.bias(kind(np.arange(12.0).reshape(2, 2, 3))),
        lambda kind: scores.relative_bias(kind(np.array([[1.0, 2, 4], [8, 16, 32]]))),
    ],
)
def test_the_same_mod_serves_numpy_and_torch(make):
    wanted = make(np.asarray)(
        np.zeros((2, 2, 3)), 0, np.array([[[0]], [[1]]]), QUERIES, KEYS
    )
    got = make(torch.as_tensor)(
        torch.zeros(2, 2, 3, dtype=torch.float64),
        0,
        torch.tensor([[[0]], [[1]]]),
        torch.as_tensor(QUERIES),
        torch.as_tensor(KEYS),
    )
    np.testing.assert_allclose(got.numpy(), wanted)


def test_what_cannot_be_a_mod_is_refused():
    with pytest.raises(ValueError, match="cap is 0, needs to be above 0"):
        scores.soft_cap(0)
    with pytest.raises(ValueError, match=r"table has shape \(1, 4\), needs \(H, 2 R"):
        scores.relative_bias(np.zeros((1, 4)))
