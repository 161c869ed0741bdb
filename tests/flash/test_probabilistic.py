"""PrFlashAttention is what its shares say; pooled rounds keep the laws derived."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minitransformer.attention.core import attention
from minitransformer.attention.masks import block_diagonal, causal
from minitransformer.flash import probabilistic as pr
from minitransformer.testing import check_attend, example

SHARES = np.array([1, 0.5, 0, 2, 0.25, 0, 1, 3, 0.1])


def dense(query, key, value, *, shares, block, **options):
    """The definition on the whole matrix: the logarithm of the share is a bias."""
    weight = torch.tensor(shares, dtype=torch.float64)

    def share(q_idx, kv_idx):
        return weight[(q_idx // block - kv_idx // block).clamp(0, len(weight) - 1)]

    return attention(
        query,
        key,
        value,
        score_mod=lambda s, b, h, i, j: s + share(i, j).log(),
        mask_mod=lambda b, h, i, j: (j <= i) & (share(i, j) > 0),
        **options,
    )


def heads(*arrays):
    return [torch.tensor(x, dtype=torch.float64)[None, None] for x in arrays]


def sequence(length=20, dim=3, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((length, dim)) for _ in range(3)]


@pytest.mark.parametrize("block", [1, 2, 3, 16])
def test_it_is_an_attend_and_agrees_with_the_whole_matrix(block):
    bound = {"shares": SHARES, "block": block}
    check_attend(partial(pr.prflash_attention, **bound), like=partial(dense, **bound))


@given(st.integers(1, 9), st.integers(1, 25), st.integers(1, 6), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_any_lengths_blocks_and_shares_agree_with_the_whole_matrix(L, S, block, seed):
    rng = np.random.default_rng(seed)
    shares = rng.uniform(0.1, 2, -(-S // block)) * (rng.random(-(-S // block)) < 0.6)
    shares[0] = rng.uniform(0.1, 2)
    q, k, v = (torch.tensor(rng.standard_normal((2, 2, n, 4))) for n in (L, S, S))
    got = pr.prflash_attention(q, k, v, shares=shares, block=block, return_lse=True)
    wanted = dense(q, k, v, shares=shares, block=block, return_lse=True)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_shares_of_one_are_causal_attention_and_the_first_alone_is_block_local():
    q, k, v = heads(*sequence())
    all_blocks = pr.prflash_attention(q, k, v, shares=np.ones(5), block=4)
    torch.testing.assert_close(all_blocks, attention(q, k, v, mask_mod=causal))
    own = pr.prflash_attention(q, k, v, shares=[1, 0, 0, 0, 0], block=4)

    def local(b, h, i, j):
        return block_diagonal(4)(b, h, i, j) & (j <= i)

    torch.testing.assert_close(own, attention(q, k, v, mask_mod=local))


def test_no_draw_lets_a_query_see_the_future():
    rng = np.random.default_rng(1)
    q, k, v = heads(*sequence())
    later_k, later_v = k.clone(), v.clone()
    later_k[:, :, 11:] += 5.0
    later_v[:, :, 11:] -= 5.0
    for taken in pr.draw([1, 0.5, 0.5, 0.5, 0.5], 16, rng):
        before = pr.prflash_attention(q, k, v, shares=taken, block=4)
        after = pr.prflash_attention(q, later_k, later_v, shares=taken, block=4)
        assert torch.equal(before[:, :, :11], after[:, :, :11])
        assert not torch.equal(before[:, :, 11:], after[:, :, 11:])


def test_gradients_are_right_and_finite():
    inputs = [x.requires_grad_() for x in heads(*sequence(7, 2))]

    def run(q, k, v):
        return pr.prflash_attention(q, k, v, shares=[1, 0, 0.5], block=3)

    assert torch.autograd.gradcheck(run, inputs)


def test_bfloat16_comes_back_as_bfloat16_near_the_float64_result():
    q, k, v = heads(*sequence())
    short = [x.bfloat16() for x in (q, k, v)]
    out, lse = pr.prflash_attention(*short, shares=np.ones(5), block=4, return_lse=True)
    assert out.dtype == torch.bfloat16 and lse.dtype == torch.float32
    exact = pr.prflash_attention(
        *(x.double() for x in short), shares=np.ones(5), block=4
    )
    torch.testing.assert_close(out.double(), exact, rtol=2**-8, atol=2**-10)


def test_no_keys_give_zeros():
    q = torch.ones(1, 2, 3, 4)
    none = torch.ones(1, 2, 0, 4)
    out, lse = pr.prflash_attention(
        q, none, none, shares=[1.0], block=2, return_lse=True
    )
    assert not out.any() and torch.isneginf(lse).all() and out.shape == q.shape


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block": 0}, "block is 0, needs at least 1"),
        ({"shares": [0, 1.0]}, "the first above 0"),
        ({"shares": [1, -0.1, 1]}, "none below 0"),
        ({"shares": []}, "one axis"),
        ({"shares": [1, 1]}, "shares has 2 distances, needs 3"),
    ],
)
def test_wrong_input_is_named(change, message):
    options = {"shares": [1, 1, 1], "block": 2} | change
    with pytest.raises(ValueError, match=message):
        pr.prflash_attention(*example((1, 1, 1, 5, 5)), **options)


def test_the_laws_by_hand():
    law = pr.distance_probabilities
    np.testing.assert_allclose(law(4, "harmonic", 1), [1, 1 / 2, 1 / 3, 1 / 4])
    np.testing.assert_allclose(law(4, "harmonic", 3), [1, 1, 1, 3 / 4])
    np.testing.assert_allclose(law(3, "harmonic", 0.5), [1, 1 / 4, 1 / 6])
    np.testing.assert_allclose(law(4, "geometric", 0.5), [1, 1 / 2, 1 / 4, 1 / 8])
    np.testing.assert_allclose(law(3, "uniform", 0.3), [1, 0.3, 0.3])
    for name, value, message in (
        ("linear", 1, "law is 'linear', needs one of harmonic"),
        ("geometric", 1.5, "parameter of the geometric law is 1.5"),
        ("uniform", 0, "parameter of the uniform law is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            law(3, name, value)


@pytest.mark.parametrize("kept", [(0,), (0, 2), (0, 1, 3), (0, 1, 2, 3)])
def test_the_staircase_is_a_lower_triangle_of_the_right_blocks(kept):
    taken = np.isin(np.arange(4), kept)
    steps = pr.staircase(taken)
    assert steps.shape == (4, len(kept))
    lengths = (steps >= 0).sum(axis=1)
    assert (np.diff(lengths) >= 0).all()
    for row, blocks in enumerate(steps):
        wanted = [row - d for d in kept if d <= row]
        assert blocks[: lengths[row]].tolist() == wanted
        assert (blocks[lengths[row] :] == -1).all()


def test_parts_by_distance_put_together_are_prflash():
    arrays = sequence(22)
    parts = pr.naive_parts_by_distance(*arrays, block=4)
    np.testing.assert_allclose(parts[1].sum(axis=1), 1)
    for shares in (np.ones(6), np.array([1, 0, 0.5, 0, 3, 0.1])):
        out = pr.prflash_attention(*heads(*arrays), shares=shares, block=4)
        np.testing.assert_allclose(
            pr.combine(*parts, shares), out[0, 0].numpy(), rtol=1e-12, atol=1e-13
        )


def every_draw(probabilities):
    """All draws with their probability."""
    for taken in itertools.product([False, True], repeat=len(probabilities)):
        chance = np.prod(np.where(taken, probabilities, 1 - np.array(probabilities)))
        if chance > 0:
            yield np.array(taken), chance


def test_over_all_draws_numerator_and_denominator_are_unbiased_the_quotient_is_not():
    likely = pr.distance_probabilities(5, "harmonic", 1.0)
    numerators, denominators = pr.naive_parts_by_distance(*sequence(), block=4)
    top, bottom, quotient = 0.0, 0.0, 0.0
    for taken, chance in every_draw(likely):
        shares = pr.pooled_shares(taken[None], likely)
        top = top + chance * np.einsum("d,sde->se", shares, numerators)
        bottom = bottom + chance * (denominators @ shares)
        quotient = quotient + chance * pr.combine(numerators, denominators, shares)
    exact = pr.combine(numerators, denominators, np.ones(5))
    np.testing.assert_allclose(top, numerators.sum(axis=1), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(bottom, denominators.sum(axis=1), rtol=1e-12)
    assert np.abs(quotient - exact).max() > 0.05


def test_draws_take_part_as_often_as_they_should():
    likely = np.array([1, 0.7, 0.25, 0.0])
    taken = pr.draw(likely, 20_000, np.random.default_rng(2))
    sem = np.sqrt(likely * (1 - likely) / len(taken))
    assert (np.abs(taken.mean(axis=0) - likely) <= 5 * sem).all()
    assert abs(np.mean(taken[:, 1] & taken[:, 2]) - 0.175) < 5 * np.sqrt(0.145 / 2e4)


def test_pooled_without_weights_it_becomes_attention_biased_by_log_p():
    likely = pr.distance_probabilities(5, "geometric", 0.5)
    parts = pr.naive_parts_by_distance(*sequence(), block=4)
    taken = pr.draw(likely, 40_000, np.random.default_rng(3))
    limit = pr.prflash_attention(*heads(*sequence()), shares=likely, block=4)[0, 0]
    got = pr.combine(*parts, pr.pooled_shares(taken))
    assert np.abs(got - limit.numpy()).max() < 0.03
    exact = pr.combine(*parts, np.ones(5))
    assert np.abs(got - exact).max() > 0.3
    weighted = pr.combine(*parts, pr.pooled_shares(taken, likely))
    assert np.abs(weighted - exact).max() < 0.05


@pytest.mark.parametrize("law", [("harmonic", 1.5), ("geometric", 0.7)])
def test_the_variance_of_many_rounds_is_the_one_derived(law):
    likely = pr.distance_probabilities(5, *law)
    parts = pr.naive_parts_by_distance(*sequence(), block=4)
    exact, rng = pr.combine(*parts, np.ones(5)), np.random.default_rng(4)
    rounds, trials = 400, 1500
    taken = pr.draw(np.tile(likely, trials), rounds, rng).reshape(rounds, trials, 5)
    out = pr.combine(*parts, pr.pooled_shares(taken, likely))
    measured = ((out - exact) ** 2).sum(axis=2).mean(axis=0)
    derived = pr.sampling_variance(*parts, likely) / rounds
    # 1500 trials: about 4 % (one sigma); first order: of the order of 1 / rounds
    np.testing.assert_allclose(measured[4:], derived[4:], rtol=0.2)
    assert abs(measured.sum() / derived.sum() - 1) < 0.05


def test_a_queries_scores_may_be_shifted_and_a_denominator_scaled():
    numerators, denominators = pr.naive_parts_by_distance(*sequence(), block=4)
    likely = pr.distance_probabilities(5, "harmonic", 1)
    same = pr.sampling_variance(7 * numerators, 7 * denominators, likely)
    np.testing.assert_allclose(
        same, pr.sampling_variance(numerators, denominators, likely)
    )


def test_the_best_probabilities_spend_the_budget_where_it_counts():
    got = pr.best_probabilities([9, 4, 2, 2], 2.0)
    np.testing.assert_allclose(got, [1, 0.5, 0.25, 0.25])
    got = pr.best_probabilities([0, 100, 2, 2], 2.5)
    np.testing.assert_allclose(got, [1, 1, 0.25, 0.25])
    with pytest.raises(ValueError, match="importance and cost need to be above 0"):
        pr.best_probabilities([1, 0, 1], 2)
    np.testing.assert_allclose(pr.best_probabilities([1, 1, 1], 3), 1)
    np.testing.assert_allclose(pr.best_probabilities([1, 2, 1], 1), [1, 0, 0])
    got = pr.best_probabilities([1, 1, 1], 4.5, cost=[3, 4, 1])
    np.testing.assert_allclose(got, [1, 0.25, 0.5])  # twice as dear by the root: half


@given(st.lists(st.floats(0.01, 10), min_size=2, max_size=7), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_no_other_way_to_spend_the_budget_has_less_variance(importance, part):
    size = np.array(importance)
    budget = 1 + part * 0.98 * (len(size) - 1) + 0.01
    best = pr.best_probabilities(size, budget)
    assert best[0] == 1 and best.max() <= 1 and np.isclose(best.sum(), budget)

    def variance(likely):
        return (size[1:] ** 2 * (1 - likely[1:]) / likely[1:]).sum()

    rng = np.random.default_rng(0)
    for _ in range(20):
        other = best.copy()
        i, j = rng.integers(1, len(size), 2)
        step = min(rng.uniform(0, 0.3), 1 - other[i], 0.9 * other[j])
        other[i] += step
        other[j] -= step
        assert variance(other) >= variance(best) * (1 - 1e-9)


@pytest.mark.parametrize("budget", [0.5, 4.1])
def test_a_budget_that_cannot_be_spent_is_refused(budget):
    with pytest.raises(ValueError, match=f"budget is {budget}, needs 1 to 4"):
        pr.best_probabilities([1, 1, 1, 1], budget)
