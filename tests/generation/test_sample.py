import math
from functools import partial

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from minitransformer.generation import sample as module
from minitransformer.generation.sample import (
    draw,
    min_p,
    naive_min_p,
    naive_repetition_penalty,
    naive_softmax,
    naive_top_k,
    naive_top_p,
    repetition_penalty,
    sample,
    sampler,
    softmax,
    temperature,
    top_k,
    top_p,
)

HALVES = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64).log()
SCORES = arrays(
    np.float64,
    st.integers(1, 9),
    elements=st.integers(-12, 12).map(lambda n: n / 3),
)


def probabilities(logits):
    return [round(p, 6) for p in softmax(logits).tolist()]


def kept(logits):
    return torch.isfinite(logits).nonzero().flatten().tolist()


def test_filters_by_hand():
    assert probabilities(top_k(HALVES, 2)) == [0.666667, 0.333333, 0, 0]
    assert probabilities(top_p(HALVES, 0.75)) == [0.666667, 0.333333, 0, 0]
    assert probabilities(top_p(HALVES, 0.76)) == [0.571429, 0.285714, 0.142857, 0]
    assert probabilities(min_p(HALVES, 0.5)) == [0.666667, 0.333333, 0, 0]
    assert probabilities(min_p(HALVES, 0.25)) == probabilities(HALVES)
    assert (
        probabilities(temperature(HALVES, 0.5)) == [0.727273, 0.181818] + [0.045455] * 2
    )
    assert probabilities(temperature(HALVES, 0)) == [1, 0, 0, 0]


def test_repetition_is_penalized_once_and_always_downwards():
    scores = torch.tensor([[2.0, -2.0, 1.0, -1.0], [2.0, -2.0, 1.0, -1.0]])
    ids = torch.tensor([[0, 1, 0, 0], [-1, -1, 3, 2]])
    lowered = repetition_penalty(scores, ids, 2.0)
    assert lowered.tolist() == [[1.0, -4.0, 1.0, -1.0], [2.0, -2.0, 0.5, -2.0]]


@settings(deadline=None, max_examples=60)
@given(SCORES, st.integers(1, 10), st.floats(0.01, 1), st.floats(0, 1))
def test_filters_are_those_of_the_definition(scores, k, p, share):
    given_scores = torch.from_numpy(scores)
    assert np.array_equal(top_k(given_scores, k), naive_top_k(scores, k))
    assert np.array_equal(min_p(given_scores, 0), scores)
    # a sum at the border may fall on either side of it by rounding
    sums = np.sort(naive_softmax(scores))[::-1].cumsum()
    if np.abs(sums - p).min() > 1e-9:
        assert np.array_equal(top_p(given_scores, p), naive_top_p(scores, p))
    shares = naive_softmax(scores) / naive_softmax(scores).max()
    if share > 0 and np.abs(shares - share).min() > 1e-9:
        assert np.array_equal(min_p(given_scores, share), naive_min_p(scores, share))


@settings(deadline=None, max_examples=60)
@given(SCORES, st.lists(st.integers(-1, 8), max_size=6), st.floats(0.5, 3))
def test_the_penalty_is_that_of_the_definition(scores, ids, penalty):
    ids = np.array([i for i in ids if i < len(scores)], dtype=np.int64)
    wanted = naive_repetition_penalty(scores, ids, penalty)
    got = repetition_penalty(
        torch.from_numpy(scores)[None], torch.from_numpy(ids)[None], penalty
    )
    assert np.allclose(got[0], wanted, rtol=1e-15, atol=0)


@settings(deadline=None, max_examples=80)
@given(SCORES, st.floats(0.01, 1))
def test_top_p_keeps_the_smallest_set_that_reaches_p(scores, p):
    chosen = kept(top_p(torch.from_numpy(scores), p))
    weights = naive_softmax(scores)
    assert weights[chosen].sum() >= p - 1e-9
    greatest = np.sort(weights)[::-1]
    assert greatest[: len(chosen) - 1].sum() < p + 1e-9  # no smaller set would do


@settings(deadline=None, max_examples=60)
@given(SCORES, st.integers(1, 10), st.floats(0.01, 1))
def test_top_k_and_min_p_are_done_when_done_once(scores, k, share):
    for each in (partial(top_k, k=k), partial(min_p, share=share)):
        once = each(torch.from_numpy(scores))
        assert torch.equal(each(once), once)


def test_top_p_may_cut_its_own_result_again():
    logits = torch.tensor([0.5, 0.3, 0.2]).log()
    once = top_p(logits, 0.6)
    assert (kept(once), kept(top_p(once, 0.6))) == ([0, 1], [0])


@settings(deadline=None, max_examples=60)
@given(SCORES, st.integers(1, 10), st.sampled_from([0.25, 0.5, 2.0, 4.0]))
def test_temperature_may_change_places_with_top_k(scores, k, degree):
    logits = torch.from_numpy(scores)
    one = top_k(temperature(logits, degree), k)
    assert torch.equal(one, temperature(top_k(logits, k), degree))


def test_temperature_may_not_change_places_with_top_p():
    hot = partial(temperature, degree=2.0)
    assert kept(top_p(hot(HALVES), 0.6)) == [0, 1]
    assert kept(top_p(HALVES, 0.6)) == [0, 1]
    assert kept(top_p(hot(HALVES), 0.75)) == [0, 1, 2]
    assert kept(hot(top_p(HALVES, 0.75))) == [0, 1]


@settings(deadline=None, max_examples=60)
@given(SCORES)
def test_the_coldest_is_greedy(scores):
    logits = torch.from_numpy(scores)
    best = np.flatnonzero(scores == scores.max()).tolist()
    assert kept(temperature(logits, 0)) == best
    cold = softmax(temperature(logits, 1e-3))  # scores lie 1/3 apart: e^-333 is left
    assert torch.allclose(cold, softmax(temperature(logits, 0)), rtol=0, atol=1e-15)


@settings(deadline=None, max_examples=60)
@given(SCORES, st.sampled_from([0.3, 0.7, 1.0, 1.5]))
def test_what_cannot_be_drawn_stays_so(scores, degree):
    logits = torch.from_numpy(scores).clone()
    logits[1:2] = -torch.inf
    for each in (
        partial(temperature, degree=degree),
        partial(temperature, degree=0),
        partial(top_k, k=3),
        partial(top_p, p=0.9),
        partial(min_p, share=0.1),
    ):
        out = each(logits)
        assert 1 not in kept(out) and kept(out)
        assert not out.isnan().any()


def test_filters_are_those_of_transformers():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4, 50, generator=generator, dtype=torch.float64)
    ids = torch.randint(0, 50, (4, 7), generator=generator)
    for ours, theirs in (
        (top_k(logits, 7), TopKLogitsWarper(7)),
        (top_p(logits, 0.8), TopPLogitsWarper(0.8)),
        (min_p(logits, 0.1), MinPLogitsWarper(0.1)),
        (repetition_penalty(logits, ids, 1.3), RepetitionPenaltyLogitsProcessor(1.3)),
    ):
        assert torch.equal(ours, theirs(ids, logits.clone())), theirs


def test_of_equal_scores_the_smaller_id_stays():
    same = torch.zeros(5)
    assert kept(top_k(same, 2)) == [0, 1]
    assert kept(top_p(same, 0.5)) == [0, 1, 2]
    assert kept(min_p(same, 1.0)) == [0, 1, 2, 3, 4]


def test_drawing_follows_the_probabilities():
    # By Hoeffding's bound, a share of n draws is off by more than t with a
    # probability below 2 exp(-2 n t^2); for 4 shares this is 1e-9 at t = 0.0239.
    n = 20_000
    bound = math.sqrt(math.log(2 * 4 / 1e-9) / (2 * n))
    ids = sample(HALVES.expand(n, -1), torch.Generator().manual_seed(0))
    shares = torch.bincount(ids, minlength=4) / n
    assert (shares - HALVES.exp()).abs().max() < bound
    assert (shares - torch.tensor([0.45, 0.3, 0.125, 0.125])).abs().max() > bound


def test_a_seed_says_what_is_drawn():
    logits = torch.zeros(3, 4, 1000)

    def drawn(seed):
        return sample(logits, torch.Generator().manual_seed(seed))

    assert drawn(1).shape == (3, 4)
    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_filters_work_in_the_order_they_are_given():
    hot, cut = partial(temperature, degree=2.0), partial(top_p, p=0.75)
    many = HALVES.expand(500, -1)

    def drawn(*filters):
        choose = sampler(*filters, generator=torch.Generator().manual_seed(0))
        return set(choose(many).tolist())

    assert drawn(hot, cut) == {0, 1, 2}
    assert drawn(cut, hot) == {0, 1}
    assert drawn() == {0, 1, 2, 3}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_single(dtype):
    flat = torch.zeros(1, 4096, dtype=dtype)
    assert len(kept(top_p(flat, 0.5)[0])) == 2048
    assert softmax(flat).dtype == torch.float32
    assert top_p(flat, 0.5).dtype == dtype


def test_a_row_without_a_finite_score_is_refused():
    logits = torch.zeros(2, 3)
    logits[1] = -torch.inf
    with pytest.raises(ValueError, match="logits has a row of -inf alone"):
        sample(logits)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: temperature(HALVES, -1.0), "degree is -1.0, needs a number from 0"),
        (lambda: temperature(HALVES, math.inf), "degree is inf"),
        (lambda: temperature(HALVES, math.nan), "degree is nan"),
        (lambda: top_k(HALVES, 0), "k is 0, needs at least 1"),
        (lambda: top_p(HALVES, 0.0), "p is 0.0, needs a number above 0, at most 1"),
        (lambda: top_p(HALVES, 1.1), "p is 1.1"),
        (lambda: min_p(HALVES, -0.1), "share is -0.1, needs a number from 0 to 1"),
        (lambda: repetition_penalty(HALVES, HALVES, 0), "penalty is 0, needs a number"),
    ],
)
def test_numbers_out_of_range_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_draw_never_takes_what_has_no_probability():
    sure = torch.tensor([[0.0, 1.0, 0.0]]).expand(1000, -1)
    assert draw(sure, torch.Generator().manual_seed(0)).unique().tolist() == [1]
    assert module.draw(torch.ones(1)).item() == 0
