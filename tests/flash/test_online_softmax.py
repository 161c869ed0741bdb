import math
from functools import reduce

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.attention.core import naive_attention
from minitransformer.attention.merge import merge
from minitransformer.flash.online_softmax import (
    Sums,
    combine,
    finish,
    naive_online_softmax,
    naive_streaming_attention,
    nothing,
    summed,
)

EXACT = 1e-12  # float64 rounds at 1e-16, and some ten numbers of order 1 are added


def draw(keys, rows=3, value_dim=2, seed=0, spread=1.0):
    """Random scores [rows, keys], some of them -inf, and values [keys, value_dim]."""
    generator = torch.Generator().manual_seed(seed)
    options = {"generator": generator, "dtype": torch.float64}
    scores = spread * torch.randn(rows, keys, **options)
    hidden = torch.rand(rows, keys, **options) < 0.3
    values = torch.randn(keys, value_dim, **options)
    return scores.masked_fill(hidden, -torch.inf), values


def part(inputs, start, stop):
    scores, values = inputs
    return summed(scores[:, start:stop], values[start:stop])


def same(a, b):
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=EXACT)


def test_two_keys_by_hand():
    scores = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64)
    values = torch.tensor([[4.0], [8.0]], dtype=torch.float64)
    sums = summed(scores, values)
    assert sums.peak.item() == math.log(3)
    torch.testing.assert_close(sums.total.item(), 4 / 3)  # 1/3 and 1
    torch.testing.assert_close(sums.mixed.item(), 4 / 3 + 8)
    out, lse = finish(sums)
    torch.testing.assert_close(out.item(), 7.0)  # a quarter of 4, three quarters of 8
    torch.testing.assert_close(lse.item(), math.log(4))


@given(st.integers(0, 2**31), st.integers(1, 9), st.sampled_from([1.0, 300.0]))
def test_combining_is_associative_and_commutative(seed, first, spread):
    inputs = draw(10, seed=seed, spread=spread)
    a, b, c = part(inputs, 0, first), part(inputs, first, 9), part(inputs, 9, 10)
    same(combine(combine(a, b), c), combine(a, combine(b, c)))
    same(combine(a, b), combine(b, a))


@given(st.integers(0, 2**31), st.data())
def test_any_tree_gives_the_whole(seed, data):
    inputs = draw(9, seed=seed)
    parts = [part(inputs, j, j + 1) for j in range(9)]
    parts = data.draw(st.permutations(parts))
    while len(parts) > 1:  # join any two neighbours
        at = data.draw(st.integers(0, len(parts) - 2))
        parts[at : at + 2] = [combine(parts[at], parts[at + 1])]
    same(parts[0], part(inputs, 0, 9))


def test_the_sum_over_no_key_changes_nothing():
    inputs = draw(5)
    whole = part(inputs, 0, 5)
    empty = nothing((3,), 2, whole.mixed)
    same(combine(empty, whole), whole)
    same(combine(whole, empty), whole)
    same(combine(empty, empty), empty)
    same(part(inputs, 0, 0), empty)
    hidden = summed(torch.full_like(inputs[0], -torch.inf), inputs[1])
    same(hidden, empty)


@given(st.integers(0, 2**31), st.integers(0, 8))
def test_finishing_turns_combine_into_merge(seed, cut):
    inputs = draw(8, seed=seed)
    a, b = part(inputs, 0, cut), part(inputs, cut, 8)
    same(finish(combine(a, b)), merge(*finish(a), *finish(b)))


def test_it_is_softmax_and_logsumexp():
    scores, values = draw(7)
    scores = scores.nan_to_num(neginf=-1.0)
    out, lse = finish(summed(scores, values))
    same((out, lse), (scores.softmax(-1) @ values, scores.logsumexp(-1)))
    weights, _ = finish(summed(scores, torch.eye(7, dtype=torch.float64)))
    for row, wanted in zip(scores, weights, strict=True):
        got = naive_online_softmax(row.numpy())
        np.testing.assert_allclose(got, wanted.numpy(), rtol=0, atol=EXACT)


def test_each_row_may_have_values_of_its_own():
    scores, _ = draw(5)
    values = torch.arange(30.0, dtype=torch.float64).view(3, 5, 2)
    rows = [summed(scores[i : i + 1], values[i]) for i in range(3)]
    wanted = [torch.cat(x) for x in zip(*rows, strict=True)]
    same(summed(scores, values), wanted)


def test_nothing_to_attend_gives_zeros():
    empty = nothing((2,), 3, torch.zeros(1))
    out, lse = finish(empty)
    assert not out.any()
    assert torch.isneginf(lse).all()
    out, lse = naive_streaming_attention(np.ones(2), np.ones((0, 2)), np.ones((0, 3)))
    assert (out.tolist(), lse) == ([0, 0, 0], -np.inf)
    assert naive_online_softmax(np.array([])).tolist() == []
    assert naive_online_softmax(np.array([-np.inf])).tolist() == [0]


def test_a_hidden_key_before_the_first_seen_one_does_no_harm():
    got = naive_online_softmax(np.array([-np.inf, 0.0, 0.0]))
    np.testing.assert_array_equal(got, [0, 0.5, 0.5])


def test_scores_of_ten_thousand_do_not_overflow():
    scores = torch.tensor([[1e4, 1e4 - 1, -1e4]])
    parts = [summed(scores[:, j : j + 1], torch.eye(3)[j : j + 1]) for j in range(3)]
    out, lse = finish(reduce(combine, parts))
    # float32 of 10,000 is exact to 2^-10
    torch.testing.assert_close(out, scores.softmax(-1), rtol=0, atol=1e-6)
    torch.testing.assert_close(lse, scores.logsumexp(-1), rtol=0, atol=2**-10)


def test_a_stream_of_keys_is_attention():
    rng = np.random.default_rng(0)
    query, key, value = (rng.normal(size=shape) for shape in ((4,), (6, 4), (6, 3)))
    arrays = query[None, None, None], key[None, None], value[None, None]
    for scale in (None, 2.0):
        wanted = naive_attention(*arrays, return_lse=True, scale=scale)
        got = naive_streaming_attention(query, key, value, scale=scale)
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_allclose(a, b[0, 0, 0], rtol=0, atol=EXACT)


def test_derivatives_go_through():
    scores = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    values = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)

    def run(scores, values):
        parts = [summed(scores[:, j : j + 2], values[j : j + 2]) for j in (0, 2, 4)]
        return finish(reduce(combine, parts))

    assert torch.autograd.gradcheck(run, (scores, values))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="scores has 3 keys, values has 2"):
        summed(torch.zeros(1, 3), torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"scores has shape \(1, 3\), needs one axis"):
        naive_online_softmax(np.zeros((1, 3)))
    a, b = (Sums(torch.zeros(n), torch.ones(n), torch.zeros(n, 1)) for n in (1, 2))
    with pytest.raises(ValueError, match=r"b has the shape \(2, 1\), a has \(1, 1\)"):
        combine(a, b)
