import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.attention import masks
from minitransformer.attention.core import attention
from minitransformer.positions import rotary, usage
from minitransformer.testing import Shape, example

EXACT = {"rtol": 0, "atol": 1e-12}
FREQS = rotary.frequencies(8)
seeds = st.integers(0, 2**31)
layouts = st.sampled_from(["half", "interleaved"])


def vectors(length=5, seed=0):
    """A query [2, 4, L, 8] and a key [2, 2, L, 8], float64."""
    return example(Shape(2, 4, 2, length, length), seed=seed)[:2]


def turned(query, key, pos, freqs=FREQS, **options):
    return (
        rotary.rotate(query, pos, freqs, **options),
        rotary.rotate(key, pos, freqs, **options),
    )


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def planted(band, *, heads=1, length=512, noise=0.3, seed=0):
    """Heads of 64 numbers whose queries and keys agree on a band of pairs."""
    generator = drawn(seed)
    freqs = rotary.frequencies(64)
    aligned = torch.zeros(64, dtype=torch.float64)
    for g in band:
        aligned[g] = 2.0
    shape = (1, heads, length, 64)
    query, key = (
        aligned + noise * torch.randn(shape, generator=generator, dtype=torch.float64)
        for _ in range(2)
    )
    pos = torch.arange(length)
    return (*turned(query, key, pos, freqs), pos)


def test_contributions_by_hand():
    query = torch.tensor([1.0, 2, 3, 4]).view(1, 1, 1, 4)
    key = torch.tensor([5.0, 6, 7, 8]).view(1, 1, 1, 4)
    half = usage.pair_scores(query, key).flatten().tolist()
    assert half == [1 * 5 + 3 * 7, 2 * 6 + 4 * 8]
    neighbors = usage.pair_scores(query, key, layout="interleaved")
    assert neighbors.flatten().tolist() == [1 * 5 + 2 * 6, 3 * 7 + 4 * 8]


@given(layouts, seeds)
def test_contributions_are_the_definition_and_add_up_to_the_score(layout, seed):
    query, key = turned(*vectors(seed=seed), torch.arange(5) * 7, layout=layout)
    added = usage.pair_scores(query, key, layout=layout)
    score = query @ key.repeat_interleave(2, dim=1).mT
    torch.testing.assert_close(added.sum(-1), score, **EXACT)
    for b, h, i, j in ((0, 0, 0, 0), (1, 1, 4, 2), (0, 2, 3, 4), (1, 3, 0, 1)):
        wanted = usage.naive_pair_scores(
            query[b, h, i].numpy(), key[b, h // 2, j].numpy(), layout=layout
        )
        assert np.allclose(added[b, h, i, j], wanted, **EXACT)


@given(seeds)
def test_what_a_pair_adds_depends_on_its_own_turn_alone(seed):
    query, key = vectors(seed=seed)
    slower = FREQS.clone()
    slower[2] = 0
    at = torch.arange(5) * 3
    all_turn = usage.pair_scores(*turned(query, key, at))
    one_stands = usage.pair_scores(*turned(query, key, at, slower))
    others = [0, 1, 3]
    torch.testing.assert_close(all_turn[..., others], one_stands[..., others], **EXACT)
    unturned = usage.pair_scores(query, key)[..., 2]
    torch.testing.assert_close(one_stands[..., 2], unturned, **EXACT)


def test_the_layouts_are_one_analysis_written_in_two_orders():
    query, key = vectors(length=40)
    pos = torch.arange(40)
    neighbors = turned(query, key, pos, layout="interleaved")
    halves = [rotary.to_half(x) for x in neighbors]
    for function in (
        usage.pair_scores,
        usage.frequency_usage,
        lambda *x, **layout: usage.distance_correlation(
            *x, pos, samples=50, generator=drawn(), **layout
        ),
    ):
        torch.testing.assert_close(
            function(*neighbors, layout="interleaved"), function(*halves), **EXACT
        )


def test_usage_by_hand():
    # Queries have 5 and 0 in the first pair, keys 2: on average 2.5 times 2.
    query = torch.tensor([[3.0, 1, 4, 0], [0, 0, 0, 2]]).view(1, 1, 2, 4)
    key = torch.tensor([[2.0, 3, 0, 4]]).view(1, 1, 1, 4)
    assert usage.frequency_usage(query, key).tolist() == [[5.0, 1.5 * 5.0]]


@given(seeds)
def test_usage_is_a_bound_that_no_turn_changes(seed):
    query, key = vectors(seed=seed)
    before = usage.frequency_usage(query, key)
    after = turned(query, key, torch.tensor([3, 1, 4, 1, 5]))
    torch.testing.assert_close(usage.frequency_usage(*after), before, **EXACT)
    for shift in (0, 9):
        one, other = turned(query, key, torch.full((5,), shift))
        added = usage.pair_scores(one, other).abs().mean(dim=(0, 2, 3))
        # Sizes of two sequences are averaged after the product, so this is a bound.
        assert (added <= before + 1e-12).all()


def test_the_leading_pair_by_hand():
    added = torch.tensor([math.log(1), math.log(2), math.log(5)])
    assert usage.leading_pair(added).item() == pytest.approx((2 + 2 * 5) / 8)
    assert usage.leading_pair(added, how="argmax").item() == 2.0
    with pytest.raises(ValueError, match="how is 'median', needs 'expected' or"):
        usage.leading_pair(added, how="median")


def test_the_correlation_is_that_of_numpy():
    query, key, pos = planted(range(20, 32), length=30)
    pairs = torch.tensor([(i, j) for i in range(30) for j in range(i)]).T
    added = usage.pair_scores(query, key)[0, 0][pairs[0], pairs[1]]
    wanted = np.corrcoef(usage.leading_pair(added), pairs[0] - pairs[1])[0, 1]
    got = usage.distance_correlation(
        query, key, pos, samples=40_000, generator=drawn()
    ).item()
    # Drawn pairs instead of all: an error of about 1 / sqrt(40,000), five times that.
    assert abs(got - wanted) < 0.025


def test_a_loud_slow_band_makes_a_positional_head_and_a_fast_one_does_not():
    measure = partial(usage.distance_correlation, samples=20_000)
    for how in ("expected", "argmax"):
        slow = measure(*planted(range(20, 32)), generator=drawn(), how=how).item()
        middle = measure(*planted(range(8, 20)), generator=drawn(), how=how).item()
        none = measure(*planted([]), generator=drawn(), how=how).item()
        assert slow > 0.15
        assert middle < -0.3
        assert abs(none) < 0.05  # 7 / sqrt(20,000)
    fast = measure(*planted(range(8)), generator=drawn(), how="argmax").item()
    assert abs(fast) < 0.1


@given(st.integers(0, 5000), seeds)
def test_the_correlation_does_not_change_when_all_positions_are_shifted(shift, seed):
    query, key = vectors(length=12, seed=seed)
    results = []
    for start in (0, shift):
        pos = torch.arange(12) + start
        results.append(
            usage.distance_correlation(
                *turned(query, key, pos), pos, samples=200, generator=drawn()
            )
        )
    # An angle of 5,000 radians is known to 1e-12; the correlation is not ill-posed.
    torch.testing.assert_close(*results, rtol=0, atol=1e-9)
    assert (results[0].abs() <= 1).all()


def test_a_leading_pair_that_never_changes_has_no_correlation():
    query, key = torch.zeros(1, 1, 9, 8), torch.zeros(1, 1, 9, 8)
    query[..., 1], key[..., 1] = 3.0, 3.0
    found = usage.distance_correlation(
        query, key, torch.arange(9), samples=50, generator=drawn()
    )
    assert found.tolist() == [0.0]


def test_two_tokens_have_one_distance_and_no_correlation():
    query, key = vectors(length=2)
    found = usage.distance_correlation(
        query, key, torch.arange(2), samples=10, generator=drawn()
    )
    assert found.tolist() == [0.0] * 4


def test_positional_heads_are_the_highest():
    correlation = torch.tensor([0.1, 0.5, -0.9, 0.3])
    assert usage.positional_heads(correlation, share=0.5) == [1, 3]
    assert usage.positional_heads(correlation) == [1]
    assert usage.positional_heads(correlation, share=1.0) == [1, 3, 0, 2]


def test_scores_at_a_distance_are_those_of_turned_queries_and_keys():
    query, key = torch.randn(2, 3, 8, generator=drawn(), dtype=torch.float64)
    distances = torch.tensor([0, 1, 17, 400])
    got = usage.scores_at(query, key, distances, FREQS)
    assert got.shape == (3, 4)
    for n, (i, j) in enumerate([(5, 5), (5, 4), (20, 3), (400, 0)]):
        one = rotary.rotate(query[None, None], torch.full((3,), i), FREQS)
        other = rotary.rotate(key[None, None], torch.full((3,), j), FREQS)
        torch.testing.assert_close(got[:, n], (one * other).sum(-1)[0, 0], **EXACT)
    single = usage.scores_at(query[0], key[0], distances, FREQS)
    torch.testing.assert_close(single, got[0], **EXACT)


@given(st.integers(-500, 500), seeds)
def test_the_peak_is_where_it_was_ordered(distance, seed):
    query = torch.randn(8, generator=drawn(seed), dtype=torch.float64)
    key = usage.key_peaking_at(query, distance, FREQS)
    around = torch.arange(-600, 601)
    scores = usage.scores_at(query, key, around, FREQS)
    assert scores.argmax().item() == distance + 600
    assert scores.max().item() == pytest.approx(float(query @ query), abs=1e-9)


@pytest.mark.parametrize("back", [0, 1, 3])
@pytest.mark.parametrize("share", [1.0, 0.75])
def test_a_head_by_hand_looks_so_far_back(back, share):
    freqs = rotary.keep_fastest(rotary.frequencies(64), share)
    query, key = usage.offset_head(6, freqs, back=back)
    attend = rotary.with_rotary(partial(attention, mask_mod=masks.causal), freqs)
    weights = attend(query, key, torch.eye(6, dtype=torch.float64)[None, None])[0, 0]
    # The rival one place off has exp(50 (cos 1 - 1)) = 1e-10 of the peak.
    for i in range(back, 6):
        assert weights[i, i - back] > 1 - 1e-9


def test_without_turns_the_same_head_is_blind():
    freqs = rotary.frequencies(64)
    query, key = usage.offset_head(6, freqs)
    still = rotary.with_rotary(attention, torch.zeros_like(freqs))
    weights = still(query, key, torch.eye(6, dtype=torch.float64)[None, None])
    torch.testing.assert_close(weights, torch.full_like(weights, 1 / 6), **EXACT)


@given(st.integers(-3, 9), st.integers(0, 3), st.integers(0, 100), st.integers(0, 100))
def test_the_score_of_a_head_by_hand_is_a_cosine(back, pair, i, j):
    query, key = usage.offset_head(1, FREQS, back=back, pair=pair, peak=7.0)
    turned_query = rotary.rotate(query, torch.tensor([i]), FREQS)
    turned_key = rotary.rotate(key, torch.tensor([j]), FREQS)
    score = (turned_query * turned_key).sum().item() / math.sqrt(8)
    wanted = 7 * math.cos((i - j - back) * FREQS[pair].item())
    assert score == pytest.approx(wanted, abs=1e-10)


def test_wrong_input_is_named():
    query, key = vectors()
    pos = torch.arange(5)
    measure = partial(usage.distance_correlation, samples=9, generator=drawn())
    with pytest.raises(ValueError, match="key has head_dim 6, query has 8"):
        usage.pair_scores(query, key[..., :6])
    with pytest.raises(ValueError, match="query has head_dim 7, needs an even number"):
        usage.pair_scores(query[..., :7], key[..., :7])
    with pytest.raises(ValueError, match="key has 3 heads, needs a divisor of 4"):
        usage.frequency_usage(query, key[:, :1].expand(-1, 3, -1, -1))
    with pytest.raises(ValueError, match="layout is 'thirds', needs 'half' or"):
        usage.pair_scores(query, key, layout="thirds")
    with pytest.raises(ValueError, match=r"query has length 5, key 4, pos \(5,\)"):
        measure(query, key[:, :, :4], pos)
    with pytest.raises(ValueError, match="1 tokens and 9 samples, needs two of each"):
        measure(query[:, :, :1], key[:, :, :1], pos[:1])
    with pytest.raises(ValueError, match="share is 0, needs a number above 0"):
        usage.positional_heads(torch.ones(3), share=0)
    with pytest.raises(ValueError, match=r"correlation has shape \(0,\), needs one"):
        usage.positional_heads(torch.ones(0))
    with pytest.raises(ValueError, match=r"key has shape \(6,\), query \(8,\)"):
        usage.scores_at(torch.ones(8), torch.ones(6), pos, FREQS)
    with pytest.raises(ValueError, match="pair is 4, needs 0 to 3"):
        usage.offset_head(5, FREQS, pair=4)
