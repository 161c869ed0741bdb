"""The Kalman filter is the best of all weighted means; in the end it just forgets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.attention.views.kalman import (
    kalman_filter,
    optimal_weights,
    prediction_covariance,
    steady_gain,
)
from minitransformer.attention.views.linear_sde import (
    Dynamics,
    propagated_variance,
    simulate,
)

MODEL = {"mu": -0.05, "sigma2": 0.3, "eta2": 0.7}
OSCILLATOR = Dynamics(omega=0.4, **MODEL)


def run(dynamics=OSCILLATOR, length=12, seed=0, shape=(5,)):
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.1, 2, size=length))
    return times, *simulate(times, dynamics, rng, shape=shape)


def test_two_measurements_by_hand():
    # no motion, variances 1 and 1: the mean of both, half the variance
    means, variances = kalman_filter(np.array([2.0, 4.0]), [0, 1], Dynamics())
    assert means == pytest.approx([2, 3])
    assert variances == pytest.approx([1, 0.5])


def test_predictions_share_what_shook_the_state_after_the_later_measurement():
    got = prediction_covariance([2.0, 1.0], 0.0, 3.0, 0.5)
    assert got == pytest.approx(np.array([[6.5, 3.0], [3.0, 3.5]]))


def test_the_diagonal_of_the_covariance_is_the_propagated_variance():
    lags = np.array([0.0, 0.4, 3.0])
    got = np.diag(prediction_covariance(lags, **MODEL))
    assert got == pytest.approx(propagated_variance(lags, *MODEL.values()))


def test_the_filter_is_the_best_weighted_mean_of_all_predictions():
    times, _, measured = run()
    means, variances = kalman_filter(measured, times, OSCILLATOR)
    for i, now in enumerate(times):
        lags = now - times[: i + 1]
        weights = optimal_weights(lags, **MODEL)
        carried = np.exp((-0.05 + 0.4j) * lags)[:, None] * measured[: i + 1]
        assert weights @ carried == pytest.approx(means[i], rel=1e-10)
        error = weights @ prediction_covariance(lags, **MODEL) @ weights
        assert variances[i] == pytest.approx(np.full(5, error), rel=1e-10)


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_no_other_weights_have_a_smaller_error(count, seed):
    rng = np.random.default_rng(seed)
    lags = np.cumsum(rng.uniform(0.1, 2, size=count))[::-1]
    covariance = prediction_covariance(lags, **MODEL)
    best = optimal_weights(lags, **MODEL)
    other = best + rng.normal(size=count)
    other /= other.sum()
    assert best.sum() == pytest.approx(1)
    assert best @ covariance @ best <= other @ covariance @ other + 1e-12


def test_the_filter_errs_by_the_variance_that_it_states():
    times, states, measured = run(shape=(20_000,))
    means, variances = kalman_filter(measured, times, OSCILLATOR)
    errors = np.mean(np.abs(means - states) ** 2, axis=1)
    # a mean of 20,000 squares is off by 1/sqrt(20,000) = 0.7%: five times that
    assert errors == pytest.approx(variances[:, 0], rel=0.035)


@pytest.mark.parametrize(
    ("mu", "sigma2", "count"), [(0.0, 0.05, 200), (-0.02, 0.05, 200), (-1.0, 2.0, 25)]
)
def test_the_gain_is_the_weight_of_the_newest_and_the_rest_is_forgotten_evenly(
    mu, sigma2, count
):
    gain = steady_gain(0.5, mu, sigma2, 1.0)
    weights = optimal_weights(0.5 * np.arange(count)[::-1], mu, sigma2, 1.0)[::-1]
    assert weights[:10] == pytest.approx(gain * (1 - gain) ** np.arange(10), rel=1e-6)


def test_with_no_process_noise_precisions_are_the_best_weights():
    lags = np.arange(6.0)
    precisions = 1 / propagated_variance(lags, -0.1, 0.0, 2.0)
    wanted = precisions / precisions.sum()
    assert optimal_weights(lags, -0.1, 0.0, 2.0) == pytest.approx(wanted)
    assert steady_gain(1.0, 0.0, 0.0, 2.0) == 0


def test_a_tiny_outlier_weight_leaves_the_estimate_where_it_was():
    means, _ = kalman_filter(np.array([0.0, 1e6]), [0, 1], Dynamics(), nu=1e-9)
    assert abs(means[1]) < 1e-3
    plain, _ = kalman_filter(np.array([0.0, 1e6]), [0, 1], Dynamics())
    assert plain[1] == pytest.approx(5e5)


def test_a_robust_step_by_hand():
    # variance 1, surprise 3^2 / (1 + 1), so the noise counts as 1 + 9/2 = 11/2
    means, variances = kalman_filter(np.array([0.0, 3.0]), [0, 1], Dynamics(), nu=1.0)
    assert means[1] == pytest.approx(3 * 2 / 13)
    assert variances[1] == pytest.approx(11 / 13)


def test_a_robust_filter_with_a_huge_nu_is_the_plain_one():
    times, _, measured = run()
    plain = kalman_filter(measured, times, OSCILLATOR)
    robust = kalman_filter(measured, times, OSCILLATOR, nu=1e12)
    assert robust[0] == pytest.approx(plain[0], rel=1e-9)


def test_one_measurement_is_its_own_estimate():
    means, variances = kalman_filter(np.array([3 + 1j]), [5.0], OSCILLATOR)
    assert means == pytest.approx([3 + 1j])
    assert variances == pytest.approx([0.7])


def test_a_prior_counts_as_one_more_measurement_of_zero():
    means, variances = kalman_filter(np.array([2.0]), [0], Dynamics(), prior=1.0)
    assert means == pytest.approx([1])
    assert variances == pytest.approx([0.5])
    vague, _ = kalman_filter(np.array([2.0]), [0], Dynamics(), prior=1e12)
    assert vague == pytest.approx([2])


def test_with_a_prior_the_robust_filter_sees_through_a_wild_start():
    wild = np.array([1e3, *[0.0] * 5])
    times = np.arange(6)
    for prior, wanted in ((None, 1e3), (1.0, 0.0)):
        means, _ = kalman_filter(wild, times, Dynamics(), prior=prior, nu=1.0)
        assert means[0] == pytest.approx(wanted, abs=0.01)


def test_modes_may_differ():
    both = Dynamics(omega=np.array([0.1, 2.0]), mu=np.array([-0.3, 0.0]), sigma2=0.5)
    times, _, measured = run(both, shape=(3, 2))
    means, _ = kalman_filter(measured, times, both)
    for k in range(2):
        one = Dynamics(omega=both.omega[k], mu=both.mu[k], sigma2=0.5)
        alone, _ = kalman_filter(measured[..., k], times, one)
        assert means[..., k] == pytest.approx(alone)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([0, 1], "times has 2 entries, measurements 3"),
        ([0, 2, 1], "times has a step of -1, needs rising times"),
    ],
)
def test_times_that_do_not_fit_are_refused(times, message):
    with pytest.raises(ValueError, match=message):
        kalman_filter(np.zeros(3), times, OSCILLATOR)
