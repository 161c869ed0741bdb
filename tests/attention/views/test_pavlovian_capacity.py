import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.attention.views import pavlovian_capacity as capacity_of


def unit(rng, *shape):
    """Vectors uniform on the sphere, ``[..., dim]``."""
    vectors = rng.standard_normal(shape)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def recall(key, value):
    return key @ (key.mT @ value)


@pytest.mark.parametrize(("num_pairs", "key_dim"), [(2, 3), (20, 8), (30, 64)])
@pytest.mark.parametrize("alike", [False, True], ids=["random values", "one value"])
def test_the_error_of_recall_is_the_expected_one(num_pairs, key_dim, alike):
    rng = np.random.default_rng(0)
    key, value = unit(rng, 2000, num_pairs, key_dim), unit(rng, 2000, num_pairs, 5)
    if alike:
        value[:] = value[:, :1]
    errors = ((recall(key, value) - value) ** 2).sum(-1).mean(-1)
    wanted = capacity_of.expected_error(num_pairs, key_dim)
    doubt = errors.std() / math.sqrt(len(errors))
    assert abs(errors.mean() - wanted) < 4 * doubt
    assert doubt < 0.05 * wanted  # sharp enough to tell n - 1 from n, or d from d + 1


def test_one_pair_has_no_error():
    assert capacity_of.expected_error(1, 7) == 0


@given(st.integers(1, 500), st.floats(0.05, 1.0))
def test_the_capacity_is_the_last_number_that_is_good_enough(key_dim, cosine):
    def expected_cosine(num_pairs):
        return 1 / math.sqrt(1 + capacity_of.expected_error(num_pairs, key_dim))

    most = capacity_of.capacity(key_dim, cosine)
    assert expected_cosine(most) >= cosine - 1e-9
    assert expected_cosine(most + 1) < cosine


def test_measured_capacity_is_linear_in_the_dimension():
    rng = np.random.default_rng(1)
    sizes, found = [16, 32, 64, 128], []
    for key_dim in sizes:
        guess = capacity_of.capacity(key_dim, 0.7)
        tried = np.arange(guess // 2, 2 * guess, max(1, guess // 12))
        cosines = []
        for num_pairs in tried:
            repeats = 2000 // num_pairs + 1
            key = unit(rng, repeats, num_pairs, key_dim)
            value = unit(rng, repeats, num_pairs, key_dim)
            got = recall(key, value)
            cosines.append(
                np.mean((got * value).sum(-1) / np.linalg.norm(got, axis=-1))
            )
        found.append(np.interp(-0.7, -np.array(cosines), tried))
    slope = np.polyfit(np.log(sizes), np.log(found), 1)[0]
    assert 0.85 < slope < 1.15
    theory = [capacity_of.capacity(key_dim, 0.7) for key_dim in sizes]
    np.testing.assert_allclose(found, theory, rtol=0.15)


@pytest.mark.parametrize("root", [3, 4, 8, 12])
def test_the_worst_keys_turn_a_memory_over_beyond_the_root(root):
    key_dim = root**2
    for num_pairs in range(1, root + 4):
        key = capacity_of.worst_keys(num_pairs, key_dim, 1 / root)
        value = np.full((num_pairs, 1), -1.0)
        value[0] = 1.0
        recalled = recall(key, value)[0, 0]
        assert recalled == pytest.approx(1 - (num_pairs - 1) / root, abs=1e-12)
        assert (recalled > 1e-9) == (num_pairs < 1 + root)


@given(st.integers(1, 9), st.floats(0, 1))
def test_the_worst_keys_all_overlap_alike(num_keys, overlap):
    key = capacity_of.worst_keys(num_keys, 10, overlap)
    wanted = np.full((num_keys, num_keys), overlap)
    np.fill_diagonal(wanted, 1)
    np.testing.assert_allclose(key @ key.T, wanted, atol=1e-12)


@given(st.integers(1, 50), st.integers(1, 6), st.floats(0, 1))
def test_no_chain_fails_more_often_than_the_bound(depth, heads, failure):
    chance, bound = capacity_of.chain_failure(depth, heads, failure)
    assert 0 <= chance <= bound * (1 + 1e-12) <= 1 + 1e-12
    assert chance == pytest.approx(1 - (1 - failure**heads) ** depth, abs=1e-12)


def test_a_chance_too_small_for_a_difference_is_still_right():
    chance, bound = capacity_of.chain_failure(10, 2, 1e-10)
    assert chance == pytest.approx(1e-19, rel=1e-9, abs=0)
    assert bound == pytest.approx(1e-19, rel=1e-9, abs=0)
    assert capacity_of.chain_failure(3, 2, 1.0) == (1.0, 1.0)
    assert capacity_of.chain_failure(3, 2, 0.0) == (0.0, 0.0)


def test_independent_heads_fail_as_often_as_computed():
    rng = np.random.default_rng(2)
    fails = rng.random((20_000, 6, 2)) < 0.3  # chains, layers, heads
    measured = fails.all(-1).any(-1).mean()
    chance, _ = capacity_of.chain_failure(6, 2, 0.3)
    doubt = math.sqrt(chance * (1 - chance) / 20_000)
    assert abs(measured - chance) < 4 * doubt


@given(st.integers(1, 100), st.floats(0.01, 0.9), st.floats(1e-6, 0.5))
def test_no_fewer_heads_would_do(depth, failure, allowed):
    heads = capacity_of.heads_needed(depth, failure, allowed)
    assert depth * failure**heads <= allowed * (1 + 1e-6)
    assert heads == 1 or depth * failure ** (heads - 1) > allowed


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: capacity_of.expected_error(0, 4), "num_pairs is 0, key_dim 4"),
        (lambda: capacity_of.expected_error(4, 0), "num_pairs is 4, key_dim 0"),
        (lambda: capacity_of.capacity(4, 0.0), r"cosine is 0.0, needs a number above"),
        (lambda: capacity_of.capacity(4, 1.2), r"cosine is 1.2, needs a number above"),
        (lambda: capacity_of.worst_keys(4, 4, 0.1), "need fewer than key_dim 4"),
        (lambda: capacity_of.worst_keys(2, 4, -0.1), "overlap -0.1, need fewer"),
        (lambda: capacity_of.chain_failure(0, 1, 0.1), "depth is 0, heads 1"),
        (lambda: capacity_of.chain_failure(1, 1, 1.5), "failure 1.5, need 1 or more"),
        (lambda: capacity_of.heads_needed(3, 1.0, 0.1), "failure is 1.0, allowed 0.1"),
        (lambda: capacity_of.heads_needed(3, 0.5, 0.0), "allowed 0.0, need numbers"),
        (lambda: capacity_of.heads_needed(0, 0.5, 0.1), "depth is 0, needs 1 or more"),
    ],
)
def test_what_cannot_be_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
