"""The spread of predictions is what the equation says: checked by rule and by draw."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.attention.views.linear_sde import (
    Dynamics,
    propagated_covariance,
    propagated_variance,
    simulate,
)

LAGS = st.floats(0, 20)
RATES = st.floats(-2, 0)
VARIANCES = st.floats(0, 5)
SPRING = np.array([[0.0, 1.0], [-1.0, -0.2]])  # position and velocity
PUSHED = np.array([[0.0, 0.0], [0.0, 0.3]])  # noise acts on the velocity alone


def test_a_case_computed_by_hand():
    # mu = -1/2, so e^(2 mu D) = e^-D; at D = ln 2 it is 1/2
    got = propagated_variance(np.log(2), -0.5, 3.0, 4.0, 0.25)
    assert got == pytest.approx(3 * (1 - 0.5) / 1 + 4 * 0.5 + 0.25)


def test_without_decay_the_variance_grows_in_proportion_to_the_lag():
    lags = np.array([0.0, 1.0, 10.0])
    assert propagated_variance(lags, 0.0, 2.0, 1.0) == pytest.approx(1 + 2 * lags)


@given(LAGS, LAGS, RATES, VARIANCES, VARIANCES)
def test_waiting_twice_is_waiting_once_for_the_sum(first, second, mu, sigma2, eta2):
    between = propagated_variance(first, mu, sigma2, eta2)
    twice = propagated_variance(second, mu, sigma2, between)
    once = propagated_variance(first + second, mu, sigma2, eta2)
    assert twice == pytest.approx(once, rel=1e-12, abs=1e-12)


@given(st.floats(0.1, 20), st.floats(-2, 0), VARIANCES, VARIANCES)
def test_the_variance_solves_its_differential_equation(lag, mu, sigma2, eta2):
    h = 1e-4  # central differences: error h^2 V''' / 6, rounding 1e-15 V / h
    ahead, behind = (
        propagated_variance(lag + s * h, mu, sigma2, eta2) for s in (1, -1)
    )
    here = propagated_variance(lag, mu, sigma2, eta2)
    slope = (ahead - behind) / (2 * h)
    assert slope == pytest.approx(2 * mu * here + sigma2, abs=1e-6)


def test_a_variance_at_rest_stays():
    lags = np.linspace(0, 50, 11)
    at_rest = propagated_variance(lags, -0.1, 0.6, 3.0)  # sigma2 / (-2 mu) = 3
    assert at_rest == pytest.approx(np.full(11, 3.0))


@pytest.mark.parametrize("exponent", [-1.0001e-3, -0.9999e-3, -1e-8, -1e-300, 0.0])
def test_small_decay_is_continuous_with_none(exponent):
    got = propagated_variance(1.0, exponent / 2, 1.0, 0.0)
    # the next term is exponent^3 / 24
    assert got == pytest.approx(1 + exponent / 2 + exponent**2 / 6, abs=5e-11)


@pytest.mark.parametrize("mu", [0.0, -1e-9, -4.9e-4, -5.1e-4, -1.0])
def test_the_gradient_is_right_at_and_near_no_decay(mu):
    rate = torch.tensor(mu, dtype=torch.float64, requires_grad=True)
    lag = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)
    # numerical differences of a function of size 10 with steps of 1e-6: about 1e-9
    assert torch.autograd.gradcheck(
        lambda rate: propagated_variance(lag, rate, 0.7, 0.4), rate, atol=1e-6
    )


def test_arrays_and_tensors_give_the_same():
    lags = np.linspace(0, 5, 7)
    ours = propagated_variance(lags, -0.3, 0.5, 0.7, 0.1)
    theirs = propagated_variance(torch.from_numpy(lags), -0.3, 0.5, 0.7, 0.1)
    assert theirs.numpy() == pytest.approx(ours, rel=1e-14)


def test_the_matrix_form_is_the_scalar_form_for_one_mode():
    rate = np.array([[-0.3 + 2.0j]])
    got = propagated_covariance(1.7, rate, np.array([[0.5]]), np.array([[0.2]]))
    assert got[0, 0] == pytest.approx(propagated_variance(1.7, -0.3, 0.5, 0.2))


def by_block_exponential(lag, drift, process, start):
    """Van Loan's way: the integral is a block of one matrix exponential."""
    n = len(drift)
    block = np.block([[-drift, process], [np.zeros((n, n)), drift.T]]) * lag
    big = torch.linalg.matrix_exp(torch.from_numpy(block)).numpy()
    carry = big[n:, n:].T
    return carry @ start @ carry.T + carry @ big[:n, n:]


@pytest.mark.parametrize("lag", [0.0, 0.1, 1.0, 7.0])
def test_the_closed_form_is_the_block_exponential(lag):
    rng = np.random.default_rng(0)
    for drift in (SPRING, rng.normal(size=(4, 4)) - 2 * np.eye(4)):
        n = len(drift)
        root = rng.normal(size=(n, n))
        process, start = root @ root.T, np.eye(n)
        got = propagated_covariance(lag, drift, process, start)
        assert got.dtype == float
        wanted = by_block_exponential(lag, drift, process, start)
        assert got == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_the_closed_form_solves_the_lyapunov_equation():
    start, h = np.diag([0.5, 0.1]), 1e-4
    for lag in (0.5, 3.0, 20.0):
        ahead, here, behind = (
            propagated_covariance(lag + s * h, SPRING, PUSHED, start)
            for s in (1, 0, -1)
        )
        wanted = SPRING @ here + here @ SPRING.T + PUSHED
        assert (ahead - behind) / (2 * h) == pytest.approx(wanted, abs=1e-7)


def test_a_spring_without_friction_gains_energy_at_the_rate_of_the_noise():
    free = np.array([[0.0, 1.0], [-1.0, 0.0]])
    got = propagated_covariance(2 * np.pi, free, PUSHED, np.zeros((2, 2)))
    assert np.trace(got) == pytest.approx(0.3 * 2 * np.pi)


def test_a_drift_without_enough_eigenvectors_is_refused():
    with pytest.raises(ValueError, match="drift cannot be diagonalized"):
        critical = np.array([[0.0, 1.0], [-1.0, -2.0]])  # critical damping
        propagated_covariance(1.0, critical, np.eye(2), np.eye(2))


def test_paths_spread_as_the_closed_form_says():
    dynamics = Dynamics(omega=0.5, mu=-0.1, sigma2=0.4, eta2=0.3)
    rng, times = np.random.default_rng(1), [0.0, 0.7, 3.0, 9.0]
    states, measured = simulate(times, dynamics, rng, shape=(20_000,), start=2.0)
    wanted = propagated_variance(np.array(times), -0.1, 0.4, 0.0)
    carried = 2 * np.exp((-0.1 + 0.5j) * np.array(times))
    # a mean of 20,000 squares is off by 1/sqrt(20,000) = 0.7%: five times that
    spread = np.mean(np.abs(states - carried[:, None]) ** 2, axis=1)
    assert spread == pytest.approx(wanted, rel=0.035)
    noise = np.mean(np.abs(measured - states) ** 2, axis=1)
    assert noise == pytest.approx(np.full(4, 0.3), rel=0.035)


def test_paths_without_noise_are_the_equation_alone():
    dynamics = Dynamics(omega=np.array([0.5, 2.0]), mu=-0.1)
    times = np.array([0.0, 1.0, 4.0])
    states, _ = simulate(times, dynamics, np.random.default_rng(0), shape=(2,))
    assert states == pytest.approx(
        np.exp(times[:, None] * np.array([-0.1 + 0.5j, -0.1 + 2j]))
    )


def test_the_generator_alone_decides():
    draw = [
        simulate([0, 1], Dynamics(sigma2=1.0), np.random.default_rng(3), shape=(2,))
        for _ in range(2)
    ]
    assert np.array_equal(draw[0], draw[1])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mu": 0.1}, "mu is 0.1, needs to be at most 0"),
        ({"mu": torch.tensor([-1.0, 0.5])}, "mu is 0.5, needs"),
        ({"sigma2": -1.0}, "sigma2 is -1, needs to be at least 0"),
        ({"eta2": np.array([1.0, -2.0])}, "eta2 is -2, needs"),
        ({"gamma2": -0.5}, "gamma2 is -0.5, needs"),
        ({"eta2": 0.0}, "eta2 and gamma2 are both 0"),
    ],
)
def test_impossible_dynamics_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Dynamics(**wrong)


def test_times_must_rise():
    with pytest.raises(ValueError, match="times has a step of 0, needs rising"):
        simulate([0, 1, 1], Dynamics(), np.random.default_rng(0))
