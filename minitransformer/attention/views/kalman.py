r"""The Kalman filter and its weights: the best that attention to the past can do.

The model is that of :mod:`minitransformer.attention.views.linear_sde`: modes
:math:`dx = \lambda x\,dt + \sigma\,dw` seen as :math:`z_j = x(t_j) + \eta\,v_j`. All
predictions that one query gets, :math:`e^{\lambda D_j} z_j`, are unbiased, but they
share noise: what shook the state after the later of two measurements shook both. Their
errors have the covariance

.. math:: C_{jl} = \sigma^2\,\frac{e^{2\mu \min(D_j, D_l)} - 1}{2\mu}
    + \delta_{jl}\,\eta^2 e^{2\mu D_j},

and the best weights that sum to 1 are :math:`C^{-1} 1 / (1^\top C^{-1} 1)`. The Kalman
filter that starts at the first measurement computes the same estimate step by step.
Once its gain :math:`K` is steady, the weight of a measurement :math:`n` steps old is
:math:`K (1 - K)^n`: attention with a linear bias of :math:`\ln(1 - K)` a step.

Sources: R. E. Kalman, A New Approach to Linear Filtering and Prediction Problems
(1960); the comparison with attention follows Peter Racioppo, arXiv:2509.04154. The
covariance, the equality and the linear bias are worked out here; so is the robust gain,
in the manner of the robust weights there.
"""

from typing import Any

import numpy as np

from minitransformer.attention.views.linear_sde import (
    Dynamics,
    propagated_variance,
    steps_of,
)


def kalman_filter(
    measurements: np.ndarray,
    times: Any,
    dynamics: Dynamics,
    *,
    prior: float | None = None,
    nu: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Estimate each state from the measurements up to its time, step by step.

    Args:
        measurements: complex, ``[T, ...]``; fields of ``dynamics`` broadcast to it.
        times: ``[T]``, rising.
        dynamics: ``gamma2`` is not used.
        prior: variance of the state around 0 at the first time; without it nothing is
            known before the first measurement.
        nu: makes the filter robust: each measurement counts as if its variance were
            1 + s / nu times as large, where s is its surprise.

    Returns:
        Estimates ``[T, ...]``, and the variance that the filter gives them.

    Raises:
        ValueError: the times do not rise, or are not as many as the measurements.
    """
    steps = steps_of(times)
    if len(measurements) != len(steps) + 1:
        raise ValueError(
            f"times has {len(times)} entries, measurements {len(measurements)}"
        )
    first = np.asarray(measurements[0])
    unknown = np.inf if prior is None else prior
    mean, variance = np.zeros_like(first), np.broadcast_to(unknown, first.shape)
    means, variances = [], []
    for step, measured in zip((0.0, *steps), measurements, strict=True):
        mean = np.exp((dynamics.mu + 1j * dynamics.omega) * step) * mean
        variance = propagated_variance(step, dynamics.mu, dynamics.sigma2, variance)
        surprise = measured - mean
        noise = dynamics.eta2
        if nu is not None:
            noise = noise * (1 + np.abs(surprise) ** 2 / (variance + noise) / nu)
        gain = 1 / (1 + noise / variance)
        mean, variance = mean + gain * surprise, gain * noise
        means.append(mean)
        variances.append(variance)
    return np.stack(means), np.stack(variances)


def prediction_covariance(
    lags: Any, mu: float, sigma2: float, eta2: float
) -> np.ndarray:
    """Return the covariance of the errors of predictions, ``[S, S]``, from their ages.

    Args:
        lags: ages of the measurements, ``[S]``, at least 0.
        mu: growth rate.
        sigma2: variance of the process noise per unit of time.
        eta2: variance of the measurement noise.
    """
    lags = np.asarray(lags, dtype=float)
    shared = propagated_variance(np.minimum(lags[:, None], lags), mu, sigma2, 0.0)
    return shared + np.diag(propagated_variance(lags, mu, 0.0, eta2))


def optimal_weights(lags: Any, mu: float, sigma2: float, eta2: float) -> np.ndarray:
    """Return the weights ``[S]`` that make the error of the mean prediction least.

    Arguments as in :func:`prediction_covariance`.

    Raises:
        numpy.linalg.LinAlgError: a measurement is so old that its noise has decayed
            below rounding; its prediction says nothing, leave it out.
    """
    covariance = prediction_covariance(lags, mu, sigma2, eta2)
    weights = np.linalg.solve(covariance, np.ones(len(covariance)))
    return weights / weights.sum()


def steady_gain(step: float, mu: float, sigma2: float, eta2: float) -> float:
    r"""Return the share of the newest measurement after many of them, ``step`` apart.

    The variance :math:`P` of the prediction before a measurement solves
    :math:`P = e^{2 \mu s} P \eta^2 / (P + \eta^2) + q`; the gain is
    :math:`P / (P + \eta^2)`.
    """
    shaken = float(propagated_variance(step, mu, sigma2, 0.0))
    linear = shaken + np.expm1(2 * mu * step) * eta2
    predicted = (linear + np.sqrt(linear**2 + 4 * shaken * eta2)) / 2
    return float(predicted / (predicted + eta2))
