import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.attention import normalizers

HIDDEN = -math.inf
# exp of the first row is 1, 2, 5; the second row hides its last key.
SCORES = torch.tensor(
    [[0.0, math.log(2), math.log(5)], [1.0, -1.0, HIDDEN]], dtype=torch.float64
)
E1, E2 = math.exp(1), math.exp(-1)
LOG2, LOG5 = math.log(2), math.log(5)
# sparsemax of (0, log 2, log 5): the two greatest, (1 +- (log 5 - log 2)) / 2.
GAP = LOG5 - LOG2


def logistic(x):
    return 1 / (1 + math.exp(-x))


def entmax_of_two(a, b):
    """Solve (a/2 - t)^2 + (b/2 - t)^2 = 1 by its quadratic formula."""
    mean, half = (a + b) / 4, (a - b) / 4
    threshold = mean - math.sqrt(0.5 - half**2)
    return [(a / 2 - threshold) ** 2, (b / 2 - threshold) ** 2]


BY_HAND = {
    "softmax": [[1 / 8, 2 / 8, 5 / 8], [E1 / (E1 + E2), E2 / (E1 + E2), 0]],
    "softmax_one": [[1 / 9, 2 / 9, 5 / 9], [E1 / (1 + E1 + E2), E2 / (1 + E1 + E2), 0]],
    "sigmoid": [
        [1 / 4, 2 / 5, 5 / 8],
        [logistic(1 - LOG2), logistic(-1 - LOG2), 0],
    ],
    "relu": [[0, LOG2 / 3, LOG5 / 3], [1 / 2, 0, 0]],
    "squared_relu": [[0, LOG2**2 / 3, LOG5**2 / 3], [1 / 2, 0, 0]],
    "softplus": [
        [LOG2 / 3, math.log(3) / 3, math.log(6) / 3],
        [math.log(1 + E1) / 2, math.log(1 + E2) / 2, 0],
    ],
    "identity": [[0, LOG2, LOG5], [1, -1, 0]],
    "l1": [[0, LOG2 / math.log(10), LOG5 / math.log(10)], [1 / 2, -1 / 2, 0]],
    "sparsemax": [[0, (1 - GAP) / 2, (1 + GAP) / 2], [1, 0, 0]],
    "entmax15": [None, [*entmax_of_two(1, -1), 0]],
    "hard": [[0, 0, 1], [1, 0, 0]],
}


@pytest.mark.parametrize(("name", "rows"), BY_HAND.items())
def test_each_normalizer_by_hand(name, rows):
    weights = getattr(normalizers, name)(SCORES)
    for got, wanted in zip(weights, rows, strict=True):
        if wanted is not None:
            wanted = torch.tensor(wanted, dtype=torch.float64)
            torch.testing.assert_close(got, wanted)


def test_top_k_is_the_softmax_of_the_greatest():
    weights = normalizers.top_k(SCORES, k=2)
    wanted = [[0, 2 / 7, 5 / 7], [E1 / (E1 + E2), E2 / (E1 + E2), 0]]
    torch.testing.assert_close(weights, torch.tensor(wanted, dtype=torch.float64))
    everything = normalizers.top_k(SCORES, k=9)
    torch.testing.assert_close(everything, normalizers.softmax(SCORES))


ALL = {
    **{name: getattr(normalizers, name) for name in BY_HAND},
    "top_k": partial(normalizers.top_k, k=2),
    "gumbel": lambda scores: normalizers.gumbel(
        scores, generator=torch.Generator().manual_seed(0)
    ),
}
SIMPLEX = ("softmax", "sparsemax", "entmax15", "hard", "top_k", "gumbel")
rows = st.lists(st.floats(-30, 30), min_size=1, max_size=9)


@pytest.mark.parametrize("normalize", ALL.values(), ids=ALL)
def test_a_hidden_key_weighs_nothing_and_changes_nothing(normalize):
    scores = torch.tensor([[0.3, -1.2, 2.0, 0.4]], dtype=torch.float64)
    hidden = torch.cat([scores, torch.full((1, 3), HIDDEN, dtype=torch.float64)], dim=1)
    weights = normalize(hidden)
    assert not weights[:, 4:].any()
    if normalize is not ALL["gumbel"]:  # whose noise falls elsewhere
        torch.testing.assert_close(weights[:, :4], normalize(scores))


@pytest.mark.parametrize("normalize", ALL.values(), ids=ALL)
def test_a_row_of_hidden_keys_gives_zeros_and_no_gradient(normalize):
    scores = torch.tensor(
        [[0.5, 1.0, HIDDEN], [HIDDEN] * 3], dtype=torch.float64, requires_grad=True
    )
    weights = normalize(scores)
    assert not weights[1].any()
    assert weights[0].any()
    if weights.requires_grad:
        (weights * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
        assert scores.grad.isfinite().all()
        assert not scores.grad[1].any()


@pytest.mark.parametrize("normalize", ALL.values(), ids=ALL)
def test_no_keys_give_no_weights(normalize):
    assert normalize(torch.zeros(2, 0)).shape == (2, 0)


@pytest.mark.parametrize("name", SIMPLEX)
@given(row=rows)
def test_weights_are_shares_where_they_are_meant_to_be(name, row):
    weights = ALL[name](torch.tensor(row, dtype=torch.float64))
    assert (weights >= 0).all()
    assert math.isclose(weights.sum().item(), 1, abs_tol=1e-9)


@pytest.mark.parametrize("name", ["softmax", "sparsemax", "entmax15"])
@given(row=rows, shift=st.floats(-100, 100))
def test_shares_do_not_change_when_all_scores_move(name, row, shift):
    scores = torch.tensor(row, dtype=torch.float64)
    moved = ALL[name](scores + shift)
    torch.testing.assert_close(moved, ALL[name](scores), rtol=0, atol=1e-9)


@given(row=rows)
def test_sparsemax_is_the_nearest_point_of_the_simplex(row):
    scores = torch.tensor(row, dtype=torch.float64)
    weights = normalizers.sparsemax(scores)
    # Optimal if and only if s - w is greatest, and equal, where w is not 0.
    slack = (scores - weights).max() - (scores - weights)
    assert (slack * weights).abs().max() < 1e-9


@given(row=rows)
def test_entmax_puts_a_squared_excess_over_one_threshold(row):
    scores = torch.tensor(row, dtype=torch.float64)
    weights = normalizers.entmax15(scores)
    threshold = scores / 2 - weights.sqrt()
    inside = weights > 1e-9
    spread = threshold[inside].max() - threshold[inside].min()
    assert spread < 1e-6
    assert (scores[~inside] / 2 <= threshold[inside].max() + 1e-4).all()


@pytest.mark.parametrize("name", sorted(set(ALL) - {"hard", "gumbel"}))
def test_each_normalizer_has_the_right_derivative(name):
    scores = torch.tensor(
        [[0.3, 1.1, -0.7, 0.9], [2.0, 0.1, 1.4, -0.2]], dtype=torch.float64
    )
    assert torch.autograd.gradcheck(ALL[name], scores.requires_grad_())


@pytest.mark.parametrize("name", SIMPLEX)
def test_huge_scores_do_not_overflow(name):
    scores = torch.tensor([1e9, 0.0, -1e9], dtype=torch.float32)
    torch.testing.assert_close(ALL[name](scores), torch.tensor([1.0, 0.0, 0.0]))


def test_of_equal_scores_hard_takes_the_first_and_top_k_only_k():
    scores = torch.ones(4)
    assert normalizers.hard(scores).tolist() == [1, 0, 0, 0]
    assert (normalizers.top_k(scores, k=3) > 0).sum() == 3


def test_softmax_one_attends_to_nothing_when_no_key_fits():
    assert normalizers.softmax_one(torch.full((5,), -40.0)).sum() < 1e-16


def test_a_cold_gumbel_chooses_as_often_as_softmax_weighs():
    generator = torch.Generator().manual_seed(1)
    scores = SCORES[0].expand(20_000, 3)
    chosen = normalizers.gumbel(scores, temperature=1e-4, generator=generator)
    shares = chosen.mean(dim=0)
    # 20,000 draws: five standard deviations of a share are below 0.018.
    torch.testing.assert_close(shares, SCORES[0].softmax(0), rtol=0, atol=0.018)
    assert ((chosen > 0.999) | (chosen < 0.001)).double().mean() > 0.999


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="k is 0, needs at least 1"):
        normalizers.top_k(SCORES, k=0)
    with pytest.raises(ValueError, match="temperature is 0, needs to be above 0"):
        normalizers.gumbel(SCORES, temperature=0)
