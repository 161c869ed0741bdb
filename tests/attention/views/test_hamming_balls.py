import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.attention.views import hamming_balls as balls

spaces = st.integers(1, 40).flatmap(
    lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(0, n))
)


def enumerated(n, radius, distance):
    """Count by looking at all addresses."""
    count = 0
    for address in itertools.product((0, 1), repeat=n):
        first = sum(address)
        second = sum(address[distance:]) + distance - sum(address[:distance])
        count += first <= radius and second <= radius
    return count


def test_the_case_worked_by_hand():
    # three signs, radius one: a ball holds its center and three neighbors; two centers
    # that differ in one sign share each other; in two, the two corners in between
    assert balls.circle_intersections(3, 1) == [4, 2, 2, 0]
    assert [balls.naive_circle_intersection(3, 1, v) for v in range(4)] == [4, 2, 2, 0]


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_both_formulas_count_what_enumeration_counts(n):
    for radius in range(n + 1):
        counted = [enumerated(n, radius, distance) for distance in range(n + 1)]
        assert balls.circle_intersections(n, radius) == counted
        for distance, count in enumerate(counted):
            assert balls.naive_circle_intersection(n, radius, distance) == count


@given(spaces)
def test_the_recursion_is_the_double_sum(space):
    n, radius, distance = space
    count = balls.naive_circle_intersection(n, radius, distance)
    assert balls.circle_intersections(n, radius)[distance] == count


@given(spaces)
def test_the_counts_fall_in_steps_of_two_from_the_ball_to_nothing(space):
    n, radius, _ = space
    counts = balls.circle_intersections(n, radius)
    assert counts[0] == sum(math.comb(n, i) for i in range(radius + 1))
    assert counts == sorted(counts, reverse=True)
    assert counts[1::2][: len(counts[2::2])] == counts[2::2]
    assert not any(counts[2 * radius + 1 :])
    if 2 * radius <= n:  # the addresses half-way between the two centers
        assert counts[2 * radius] == math.comb(2 * radius, radius)


@given(spaces)
def test_all_pairs_of_centers_share_each_address_as_often_as_balls_are_large(space):
    n, radius, _ = space
    counts = balls.circle_intersections(n, radius)
    pairs = sum(math.comb(n, v) * counts[v] for v in range(n + 1))
    assert pairs == counts[0] ** 2


def test_a_thousand_signs_are_counted_exactly():
    counts = balls.circle_intersections(1000, 451)
    assert counts[902] == math.comb(902, 451) and counts[903] == 0
    for distance in (0, 1, 2, 501):
        count = balls.naive_circle_intersection(1000, 451, distance)
        assert counts[distance] == count
    share = math.exp(balls.log_weights(1000, 451)[0])
    assert share == pytest.approx(0.001, rel=0.1)  # Kanerva's: one in a thousand


def test_the_logs_are_those_of_the_shares():
    logs = balls.log_weights(10, 3)
    counts = balls.circle_intersections(10, 3)
    np.testing.assert_allclose(
        np.exp(logs[:7]), np.array(counts[:7]) / 1024, rtol=1e-13
    )
    assert np.all(np.isneginf(logs[7:]))
    with pytest.raises(ValueError, match="read-only"):
        logs[0] = 0.0


@pytest.mark.parametrize("radius", [-1, 6])
def test_a_radius_that_no_ball_has_is_refused(radius):
    for function in (balls.circle_intersections, balls.log_weights):
        with pytest.raises(ValueError, match=f"radius is {radius}, needs 0 to n = 5"):
            function(5, radius)
    with pytest.raises(ValueError, match="n is 0"):
        balls.circle_intersections(0, 0)
    with pytest.raises(ValueError, match="distance is 7"):
        balls.naive_circle_intersection(5, 2, 7)


def test_two_caps_on_a_circle_share_an_arc():
    # radius 0.5 of 2 is the cosine 0.5: caps of 60 degrees to each side
    logs = balls.log_cap_weights(2, 0.5)
    np.testing.assert_allclose(np.exp(logs), [120 / 360, 30 / 360, 0], atol=1e-12)


@pytest.mark.parametrize("c", [0.1, 0.5, 0.9])
def test_a_cap_of_a_sphere_has_the_share_of_its_height(c):
    share = np.exp(balls.log_cap_weights(3, 3 * (1 - c) / 2)[0])  # Archimedes
    assert share == pytest.approx((1 - c) / 2, rel=1e-4)  # quadrature at a root


def test_two_caps_share_what_sampling_says():
    rng = np.random.default_rng(0)
    points = rng.standard_normal((400_000, 6))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    shares = np.exp(balls.log_cap_weights(6, 2.1))  # the cosine 0.3
    for distance in (0, 1, 2, 3):
        x = 1 - distance / 3
        other = np.array([x, math.sqrt(1 - x**2), 0, 0, 0, 0])
        both = np.mean((points[:, 0] >= 0.3) & (points @ other >= 0.3))
        error = math.sqrt(shares[distance] / len(points))
        assert abs(both - shares[distance]) < 5 * error


def test_caps_near_the_edge_of_their_range_stay_finite_or_empty():
    logs = balls.log_cap_weights(1000, 451)
    assert np.all(np.diff(logs[np.isfinite(logs)]) < 0)
    assert np.isneginf(logs[-1]) and not np.isnan(logs).any()
    for n, radius in ((1, 0.2), (8, 0), (8, 4)):
        with pytest.raises(ValueError, match="needs"):
            balls.log_cap_weights(n, radius)


def test_the_slope_of_the_caps_tends_to_the_closed_form():
    # between caps well apart the integrand is largest at its lower end, so log I is
    # (n - 2) / 2 log(1 - 2 c^2 / (1 + x)), and its slope relatively off by order 1 / n
    errors = []
    for n in (1000, 4000):
        logs, x = balls.log_cap_weights(n, 3 * n / 8), balls.cosines(n)
        at = 7 * n // 20
        slope = (logs[at - 1] - logs[at + 1]) / (x[at - 1] - x[at + 1])
        wanted = (n - 2) / 16 / (1 + x[at]) / (1 + x[at] - 1 / 8)  # c = 1 / 4
        errors.append(slope / wanted - 1)
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)


def test_a_line_is_fitted_exactly():
    fit = balls.fit_beta(3.0 + 7.0 * balls.cosines(20))
    assert fit == pytest.approx((7.0, 3.0, 1.0, 0.0), abs=1e-12)


def test_the_fit_is_that_of_numpy_and_knows_its_greatest_error():
    logs = balls.log_weights(64, 11)
    x, y = balls.cosines(64)[:11], logs[:11]
    slope, intercept = np.polynomial.polynomial.polyfit(x, y, 1)[::-1]
    fit = balls.fit_beta(logs, last=10)
    assert fit.beta == pytest.approx(slope) and fit.intercept == pytest.approx(
        intercept
    )
    assert fit.correlation == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert fit.error == pytest.approx(np.abs(y - intercept - slope * x).max())


def test_the_fit_leaves_out_what_has_no_weight():
    whole = balls.fit_beta(balls.log_weights(64, 11))
    assert whole == balls.fit_beta(balls.log_weights(64, 11), last=22)
    with pytest.raises(ValueError, match="1 points to fit"):
        balls.fit_beta(balls.log_weights(8, 0))


def test_the_fits_of_the_paper_are_nearly_straight_and_flatter_for_wider_balls():
    whole = [balls.fit_beta(balls.log_weights(64, d)) for d in (5, 11, 15)]
    near = [balls.fit_beta(balls.log_weights(64, d), d - 1) for d in (5, 11, 15)]
    for fits in (whole, near):
        betas = [fit.beta for fit in fits]
        assert betas == sorted(betas, reverse=True)
        assert all(fit.correlation > 0.94 for fit in fits)
    assert near[2].beta < 10.3 and near[0].beta > 24.8  # the band of learned betas
