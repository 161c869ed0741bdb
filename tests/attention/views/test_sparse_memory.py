import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minitransformer.attention.core import attention
from minitransformer.attention.similarities import cosine
from minitransformer.attention.views import sparse_memory as sdm
from minitransformer.attention.views.hamming_balls import (
    circle_intersections,
    cosines,
    fit_beta,
    log_weights,
)
from minitransformer.testing import check_attend


def signs(rng, *shape):
    return rng.choice([-1.0, 1.0], size=shape)


def flipped(rng, patterns, count):
    """Copies of patterns with ``count`` random signs turned."""
    ranks = rng.random(patterns.shape).argsort(axis=1).argsort(axis=1)
    return np.where(ranks < count, -patterns, patterns)


def every_address(n):
    bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    return 2.0 * bits - 1


def heads(array):
    return torch.tensor(array)[None, None]


def naive_read(locations, radius, keys, values, query):
    """Kanerva's memory by the letter: one location and one pattern at a time."""
    total, count = np.zeros(values.shape[1]), 0
    for location in locations:
        if np.sum(location != query) > radius:
            continue
        for key, value in zip(keys, values, strict=True):
            if np.sum(location != key) <= radius:
                total, count = total + value, count + 1
    return total / count if count else total


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(0, 12))
@settings(max_examples=40, deadline=None)
def test_a_read_is_what_the_locations_say_one_by_one(seed, n, radius):
    rng = np.random.default_rng(seed)
    locations, keys = signs(rng, 30, n), signs(rng, 4, n)
    values, queries = rng.standard_normal((4, 3)), signs(rng, 5, n)
    radius = min(radius, n)
    memory = sdm.write(sdm.empty_memory(locations, radius, 3), keys, values)
    got = sdm.read(memory, queries)
    for query, answer in zip(queries, got, strict=True):
        wanted = naive_read(locations, radius, keys, values, query)
        np.testing.assert_allclose(answer, wanted, atol=1e-12)


def test_the_case_worked_by_hand():
    # one location in reach of both patterns, one of the first alone
    locations = [[1, 1, 1], [1, 1, -1]]
    keys, values = [[1, 1, -1], [-1, 1, 1]], [[6.0], [0.0]]
    memory = sdm.write(sdm.empty_memory(locations, 1, 1), keys, values)
    assert memory.load.tolist() == [2, 1]
    assert memory.contents.tolist() == [[6.0], [6.0]]
    # the query reaches both locations: two copies of 6, one of 0
    assert sdm.read(memory, [[1, 1, 1]]).tolist() == [[4.0]]
    assert sdm.read(memory, [[-1, -1, -1]]).tolist() == [[0.0]]


def test_writing_leaves_the_memory_that_was_given_and_does_not_depend_on_order():
    rng = np.random.default_rng(1)
    empty = sdm.empty_memory(signs(rng, 50, 16), 5, 2)
    keys, values = signs(rng, 6, 16), rng.standard_normal((6, 2))
    at_once = sdm.write(empty, keys, values)
    in_parts = sdm.write(sdm.write(empty, keys[4:], values[4:]), keys[:4], values[:4])
    assert not empty.contents.any() and not empty.load.any()
    np.testing.assert_allclose(at_once.contents, in_parts.contents, atol=1e-12)
    assert (at_once.load == in_parts.load).all()


@pytest.mark.parametrize("radius", [0, 1, 3, 4, 9])
def test_with_a_location_everywhere_the_read_is_weighted_by_the_intersections(radius):
    rng = np.random.default_rng(2)
    n = 9
    keys, values, queries = signs(rng, 7, n), rng.random((7, 3)), signs(rng, 11, n)
    memory = sdm.empty_memory(every_address(n), radius, 3)
    got = sdm.read(sdm.write(memory, keys, values), queries)
    wanted = sdm.expected_read(queries, keys, values, log_weights(n, radius))
    np.testing.assert_allclose(got, wanted, atol=1e-12)


def test_random_locations_fall_into_both_balls_as_often_as_expected():
    rng = np.random.default_rng(3)
    n, radius, count = 64, 24, 40_000
    locations = signs(rng, count, n)
    center = signs(rng, 1, n)
    expected = np.exp(log_weights(n, radius)) * count
    near = sdm.hamming(locations, center)[:, 0] <= radius
    for distance in (0, 1, 2, 8, 16):
        other = flipped(rng, center, distance)
        both = near & (sdm.hamming(locations, other)[:, 0] <= radius)
        wanted = expected[distance]
        assert abs(both.sum() - wanted) < 5 * math.sqrt(wanted)  # Poisson


def test_more_locations_come_closer_to_the_expected_read():
    rng = np.random.default_rng(4)
    keys, values = signs(rng, 30, 32), signs(rng, 30, 32)
    queries = flipped(rng, keys, 4)
    wanted = sdm.expected_read(queries, keys, values, log_weights(32, 10))
    errors = []
    for count in (500, 50_000):
        memory = sdm.empty_memory(signs(rng, count, 32), 10, 32)
        got = sdm.read(sdm.write(memory, keys, values), queries)
        errors.append(np.sqrt(np.mean((got - wanted) ** 2)))
    # a hundred times as many locations: a tenth of the error
    assert 5 < errors[0] / errors[1] < 20


def test_an_expected_read_with_a_line_as_table_is_attention():
    rng = np.random.default_rng(5)
    n, beta = 24, 6.5
    keys, values, queries = signs(rng, 8, n), rng.random((8, 3)), signs(rng, 5, n)
    got = sdm.expected_read(queries, keys, values, beta * cosines(n))
    out = attention(*map(heads, (queries, keys, values)), similarity=cosine, scale=beta)
    np.testing.assert_allclose(got, out[0, 0].numpy(), atol=1e-12)
    unit = [heads(x / math.sqrt(n)) for x in (queries, keys)]
    out = attention(*unit, heads(values), scale=beta)
    np.testing.assert_allclose(got, out[0, 0].numpy(), atol=1e-12)


@given(st.integers(0, 10**6), st.sampled_from([(16, 4), (64, 11), (64, 15), (25, 25)]))
@settings(max_examples=30, deadline=None)
def test_attention_is_off_by_no_more_than_the_line_is(seed, space):
    n, radius = space
    rng = np.random.default_rng(seed)
    table = log_weights(n, radius)
    fit = fit_beta(table)
    reach = min(2 * radius, n)
    center = signs(rng, 1, n)
    keys = np.concatenate([flipped(rng, center, k) for k in rng.integers(0, reach, 6)])
    once = np.eye(len(keys))  # the read of these values is the weights themselves
    exact = sdm.expected_read(center, keys, once, table)
    line = sdm.expected_read(center, keys, once, fit.beta * cosines(n))
    assert np.abs(exact - line).sum() <= math.exp(2 * fit.error) - 1 + 1e-12
    assert np.all(line <= exact * math.exp(2 * fit.error) * (1 + 1e-12))


def test_only_differences_of_log_weights_count_however_low_they_are():
    rng = np.random.default_rng(10)
    keys, queries, values = signs(rng, 6, 12), signs(rng, 4, 12), rng.random((6, 2))
    table = log_weights(12, 6)
    got = sdm.expected_read(queries, keys, values, table - 5000.0)
    wanted = sdm.expected_read(queries, keys, values, table)
    np.testing.assert_allclose(got, wanted, atol=1e-10)  # 5000 has 12 digits left


def test_no_neighbor_and_no_pattern_give_zeros():
    far = sdm.expected_read(
        -np.ones((1, 8)), np.ones((1, 8)), [[3.0]], log_weights(8, 2)
    )
    assert far.tolist() == [[0.0]]
    none = sdm.expected_read(
        np.ones((2, 8)), np.ones((0, 8)), np.ones((0, 3)), log_weights(8, 2)
    )
    assert none.tolist() == [[0.0] * 3] * 2


def test_recall_cleans_a_pattern_and_stays_on_it():
    rng = np.random.default_rng(6)
    patterns = signs(rng, 100, 64)
    table = log_weights(64, 11)
    assert (sdm.recall(patterns, patterns, table) == patterns).all()
    assert (sdm.recall(flipped(rng, patterns, 8), patterns, table) == patterns).all()
    lost = flipped(rng, patterns[:1], 64)  # nothing within reach: it stays
    assert (sdm.recall(lost, patterns[:1], table) == lost).all()


def test_a_tie_is_a_tie_in_any_order_of_the_patterns():
    """Half of the patterns are wrong in sign 0, and as many others in sign 1."""
    rng = np.random.default_rng(0)
    rest = rng.choice([-1.0, 1.0], size=(50, 30))
    signs = np.ones((50, 1))
    patterns = np.block([[signs, -signs, rest], [-signs, signs, rest]])
    query, table = np.ones((1, 32)), -rng.random(33)
    for _ in range(20):
        rng.shuffle(patterns)
        after = sdm.recall(query, patterns, table, most_reads=1)
        assert (after[:, :2] == 1).all()


def test_recall_reads_no_more_often_than_it_is_told():
    rng = np.random.default_rng(7)
    patterns = signs(rng, 400, 32)
    queries = flipped(rng, patterns, 8)
    table = log_weights(32, 9)
    assert (sdm.recall(queries, patterns, table, most_reads=0) == queries).all()
    once = sdm.recall(queries, patterns, table, most_reads=1)
    twice = sdm.recall(queries, patterns, table, most_reads=2)
    assert (once != queries).any() and (once != twice).any()
    again = sdm.recall(once, patterns, table, most_reads=1)
    assert (again == twice).all()


def test_the_memory_as_attention_is_the_memory():
    rng = np.random.default_rng(8)
    for n, radius in ((64, 11), (48, 15), (9, 0), (9, 9)):
        keys, values = signs(rng, 20, n), rng.random((20, 3))
        queries = np.concatenate([keys[:3], flipped(rng, keys, n // 8)])
        wanted = sdm.expected_read(queries, keys, values, log_weights(n, radius))
        for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
            q, k, v = (heads(x).to(dtype) for x in (3.0 * queries, 0.1 * keys, values))
            out = sdm.sparse_memory_attention(q, k, v, radius=radius)[0, 0]
            np.testing.assert_allclose(out.numpy(), wanted, atol=tolerance)


@pytest.mark.parametrize("radius", [1, 2, 3, 8])
def test_the_memory_is_an_attend(radius):
    check_attend(partial(sdm.sparse_memory_attention, radius=radius))


def test_keys_just_within_and_just_beyond_twice_the_radius():
    query = torch.ones(1, 1, 1, 64)
    for wrong, weight in ((20, 1.0), (22, 1.0), (23, 0.0), (64, 0.0)):
        key = query.clone()
        key[..., :wrong] = -1
        out, lse = sdm.sparse_memory_attention(
            query, key, torch.ones(1, 1, 1, 1), radius=11, return_lse=True
        )
        assert out.item() == weight
        exact = circle_intersections(64, 11)[wrong] / 2**64
        assert math.exp(lse.item()) == pytest.approx(exact, rel=1e-4)


def test_the_gradient_of_the_memory_is_right_between_whole_distances():
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 1, 3, 8, dtype=torch.float64) for _ in range(3))
    inputs = [x.requires_grad_() for x in (query, key, value)]
    read = partial(sdm.sparse_memory_attention, radius=4)
    assert torch.autograd.gradcheck(read, inputs, eps=1e-7, atol=1e-5)


def test_the_radii_of_the_paper():
    # arXiv:2111.05498: n = 64, a location at each of 2^n addresses, 1,024 patterns
    assert sdm.optimal_radii(64, 1024, 2.0**64) == (5, 11, 15)


def test_the_radii_are_best_by_their_own_measure():
    n, m, r = 40, 50, 1e5
    radii = sdm.optimal_radii(n, m, r)
    shares = {d: math.exp(log_weights(n, d)[0]) for d in range(21)}
    least = (2 * m * r) ** (-1 / 3)
    assert shares[radii.signal_to_noise - 1] < least <= shares[radii.signal_to_noise]
    assert radii.capacity <= radii.critical_distance + 1


def simulated_read(rng, patterns, target, wrong, radius, count):
    """One read of a memory of ``count`` locations, of which only the near are drawn."""
    n = patterns.shape[1]
    ball = np.array([math.comb(n, i) / 2**n for i in range(radius + 1)])
    query = flipped(rng, patterns[target : target + 1], wrong)
    far = rng.choice(
        radius + 1, size=rng.binomial(count, ball.sum()), p=ball / ball.sum()
    )
    ranks = rng.random((len(far), n)).argsort(axis=1).argsort(axis=1)
    near = np.where(ranks < far[:, None], -query, query)
    memory = sdm.empty_memory(near, radius, n)
    answer = sdm.read(sdm.write(memory, patterns, patterns), query)
    return int(np.sum(np.sign(answer[0]) != patterns[target]))


def test_the_expected_distance_is_what_reads_of_real_locations_give():
    rng = np.random.default_rng(9)
    n, radius, m, r = 400, 175, 1500, 30_000
    patterns = signs(rng, m, n)
    wanted = sdm.expected_distance(n, radius, m, r)
    for wrong in (20, 60, 120):
        got = [simulated_read(rng, patterns, t, wrong, radius, r) for t in range(8)]
        # each read errs by its own few percent (the locations it happens to reach)
        assert np.mean(got) == pytest.approx(wanted[wrong], abs=0.02 * n)


def test_one_pattern_comes_back_from_wherever_the_balls_meet():
    after = sdm.expected_distance(16, 3, 1)
    assert after[:7].tolist() == [0.0] * 7
    assert after[7:].tolist() == list(range(7, 17))
    assert sdm.critical_distance(16, 3, 1) == 6


def test_the_critical_distance_shrinks_as_the_memory_fills():
    found = [sdm.critical_distance(256, 103, m, 1e5) for m in (100, 1000, 10_000)]
    assert found == sorted(found, reverse=True) and found[0] > found[2]
    after = sdm.expected_distance(256, 103, 1000, 1e5)
    assert all(after[x] < x for x in range(1, found[1] + 1))
    assert after[found[1] + 1] >= found[1] + 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sdm.hamming([[1, 0]], [[1, 1]]), "a has entries other than -1 and 1"),
        (
            lambda: sdm.hamming([[1, 1]], [[1]]),
            r"b has shape \(1, 1\), needs \(rows, 2",
        ),
        (lambda: sdm.hamming([1, 1], [[1, 1]]), r"a has shape \(2,\), needs \(rows, n"),
        (lambda: sdm.empty_memory([[1, 1]], 3, 1), "radius is 3, needs 0 to n = 2"),
        (
            lambda: sdm.write(sdm.empty_memory([[1, 1]], 1, 1), [[1, 1]], [[1, 2]]),
            r"values has shape \(1, 2\), needs \(1, 1\)",
        ),
        (
            lambda: sdm.expected_read([[1, 1]], [[1, 1]], [[1]], [0.0]),
            r"log_weight has shape \(1,\), needs \(3,\)",
        ),
        (
            lambda: sdm.expected_read([[1]], [[1]], [1.0], [0.0, 0.0]),
            r"values has shape \(1,\), needs \(1, width\)",
        ),
        (lambda: sdm.optimal_radii(8, 0, 5), "num_locations are 8, 0 and 5"),
        (lambda: sdm.expected_distance(8, 2, 0), "num_locations are 0 and None"),
        (lambda: sdm.expected_distance(8, 9, 1), "radius is 9, needs 0 to n = 8"),
        (
            lambda: sdm.sparse_memory_attention(
                *[torch.ones(1, 1, 1, 4)] * 3, radius=5
            ),
            "radius is 5, needs 0 to n = 4",
        ),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
