r"""A linear stochastic differential equation: a state that drifts and is shaken.

A mode is a complex number that turns, shrinks, and is shaken by white noise; sensors
see it with noise of their own:

.. math::
    dx = \lambda x\,dt + \sigma\,dw, \quad \lambda = \mu + i\omega, \qquad
    z_j = x(t_j) + \eta\,v_j .

Variances of complex numbers are :math:`E|x|^2`, shared evenly by the two parts. A
measurement that is :math:`D` old predicts the state as :math:`e^{\lambda D} z`. The
variance of that prediction solves :math:`dV/dD = 2\mu V + \sigma^2` from
:math:`V(0) = \eta^2` on:

.. math::
    V(D) = \sigma^2\,\frac{e^{2\mu D} - 1}{2\mu} + \eta^2 e^{2\mu D} + \gamma^2,

with :math:`\gamma^2` for the noise of what it is compared with. For a matrix of drift
the equation is Lyapunov's.

Source: Peter Racioppo, arXiv:2509.04154, with the limit at :math:`\mu = 0` as in the
author's code. Differs: :func:`propagated_covariance` takes any covariance of the noise,
where the paper wants one that shares the eigenvectors of the drift.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

SMALL = 1e-3  # below it, (exp(x) - 1) / x is the sum of five terms, exact to 1e-17


@dataclass(frozen=True)
class Dynamics:
    """How the modes of a token move, and how noisy they are seen.

    Each field is a number, or an array that broadcasts to ``[heads, modes]``; tensors
    may carry gradients. Time is in the unit of the positions.

    Attributes:
        omega: frequency, radians per unit of time.
        mu: growth rate per unit of time, at most 0.
        sigma2: variance of the process noise per unit of time.
        eta2: variance of the noise of a key.
        gamma2: variance of the noise of a query.

    Raises:
        ValueError: ``mu`` is positive, a variance negative, or both ``eta2`` and
            ``gamma2`` are zero.
    """

    omega: Any = 0.0
    mu: Any = 0.0
    sigma2: Any = 0.0
    eta2: Any = 1.0
    gamma2: Any = 0.0

    def __post_init__(self) -> None:
        """Check the signs."""
        if (most := numbers_of(self.mu).max()) > 0:
            raise ValueError(f"mu is {most:g}, needs to be at most 0")
        for name in ("sigma2", "eta2", "gamma2"):
            if (least := numbers_of(getattr(self, name)).min()) < 0:
                raise ValueError(f"{name} is {least:g}, needs to be at least 0")
        if numbers_of(self.eta2 + self.gamma2).min() == 0:
            raise ValueError("eta2 and gamma2 are both 0, one needs to be positive")


def numbers_of(x: Any) -> np.ndarray:
    """Return a number, array or tensor as an array of numbers."""
    return np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x, dtype=float)


def space_of(x: Any) -> Any:
    """Return the library whose functions take x."""
    return torch if isinstance(x, Tensor) else np


def _growth(x: Any) -> Any:
    """Return (exp(x) - 1) / x, smooth through 1 at 0."""
    xp = space_of(x)
    x = x if isinstance(x, Tensor) else np.asarray(x)
    small = xp.abs(x) < SMALL
    series = 1 + x / 2 * (1 + x / 3 * (1 + x / 4 * (1 + x / 5)))
    safe = xp.where(small, xp.ones_like(x), x)
    return xp.where(small, series, xp.expm1(safe) / safe)


def propagated_variance(
    lag: Any, mu: Any, sigma2: Any, eta2: Any, gamma2: Any = 0.0
) -> Any:
    """Return the variance of a prediction that a measurement makes ``lag`` later.

    Args:
        lag: time since the measurement, at least 0; any shape, array or tensor.
        mu: growth rate per unit of time; 0 is the limit of small ones.
        sigma2: variance of the process noise per unit of time.
        eta2: variance of the noise of the measurement.
        gamma2: variance of the noise of what the prediction is compared with.

    Returns:
        Variance, of the shape that the arguments broadcast to.
    """
    if not isinstance(lag, Tensor):
        lag = np.asarray(lag, dtype=float)
    exponent = 2 * mu * lag
    decayed = space_of(exponent).exp(exponent)
    return sigma2 * lag * _growth(exponent) + eta2 * decayed + gamma2


def propagated_covariance(
    lag: float, drift: Any, process: Any, start: Any
) -> np.ndarray:
    r"""Return the covariance of a state, ``lag`` after it had the covariance ``start``.

    The closed form of the differential Lyapunov equation
    :math:`\dot V = A V + V A^* + Q` for :math:`A = S \Lambda S^{-1}`: in the basis of
    eigenvectors, entry (k, l) grows at the rate :math:`\lambda_k + \bar\lambda_l` and
    is fed by the same entry of the process noise.

    Args:
        lag: time, at least 0.
        drift: ``A``, ``[state, state]``, with a basis of eigenvectors.
        process: ``Q``, covariance of the process noise per unit of time,
            ``[state, state]``.
        start: covariance at time 0, ``[state, state]``.

    Returns:
        ``[state, state]``, real if the three matrices are.

    Raises:
        ValueError: ``drift`` has no basis of eigenvectors (to working precision).
    """
    rates, basis = np.linalg.eig(np.asarray(drift))
    if np.linalg.cond(basis) > 1e8:
        raise ValueError("drift cannot be diagonalized, it lacks eigenvectors")
    inverse = np.linalg.inv(basis)
    fed = inverse @ process @ inverse.conj().T
    begun = inverse @ start @ inverse.conj().T
    exponent = (rates[:, None] + rates.conj()) * lag
    inside = np.exp(exponent) * begun + lag * _growth(exponent) * fed
    covariance = basis @ inside @ basis.conj().T
    real = not any(map(np.iscomplexobj, (drift, process, start)))
    return covariance.real if real else covariance


def simulate(
    times: Any,
    dynamics: Dynamics,
    generator: np.random.Generator,
    *,
    shape: tuple[int, ...] = (),
    start: Any = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw paths of the equation, exactly at the given times, and measurements of them.

    Args:
        times: ``[T]``, rising.
        dynamics: fields are numbers or ``[modes]``.
        generator: source of the noise.
        shape: of the batch of paths, modes last; must fit the fields.
        start: state at the first time, broadcast to ``shape``.

    Returns:
        States and measurements, complex, ``[T, *shape]``.

    Raises:
        ValueError: the times do not rise.
    """
    steps = steps_of(times)

    def noise(variance: Any) -> np.ndarray:
        parts = generator.standard_normal((2, *shape))
        return np.sqrt(np.asarray(variance) / 2) * (parts[0] + 1j * parts[1])

    states = [np.broadcast_to(np.asarray(start, dtype=complex), shape)]
    for step in steps:
        carry = np.exp((dynamics.mu + 1j * dynamics.omega) * step)
        shaken = propagated_variance(step, dynamics.mu, dynamics.sigma2, 0.0)
        states.append(carry * states[-1] + noise(shaken))
    measured = [state + noise(dynamics.eta2) for state in states]
    return np.stack(states), np.stack(measured)


def steps_of(times: Any) -> np.ndarray:
    """Return the differences of times ``[T]``, ``[T - 1]``.

    Raises:
        ValueError: the times do not rise.
    """
    steps = np.diff(np.asarray(times, dtype=float))
    if np.any(steps <= 0):
        raise ValueError(f"times has a step of {steps.min():g}, needs rising times")
    return steps
