r"""Hamming balls: how many addresses lie near two centers at once.

Of the :math:`2^n` vectors of ``n`` signs, those within Hamming distance :math:`d` (the
``radius``) of two centers that differ in :math:`v` signs number

.. math:: I(v) = \sum_{a = \max(0,\, n - d - \lfloor v/2 \rfloor)}^{n - v}
    \binom{n-v}{a} \sum_{c = \max(0,\, n - d - a)}^{v - (n - d - a)} \binom{v}{c}.

:math:`\log I` falls almost along a straight line in the cosine :math:`x = 1 - 2v/n` of
the centers, :math:`\log I(v) \approx a + \beta x`, which makes softmax attention of a
sparse distributed memory (:mod:`~minitransformer.attention.views.sparse_memory`).

Source: Trenton Bricken & Cengiz Pehlevan, arXiv:2111.05498, and Pentti Kanerva,
*Sparse Distributed Memory* (1988), whose recursion :func:`circle_intersections` uses.
The paper's code fits :math:`\beta` to the distances below the radius and divides a
covariance over :math:`k - 1` by a variance over :math:`k` points; :func:`fit_beta` is
plain least squares. Worked out here: the single integral of :func:`log_cap_weights`.
"""

import math
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

NODES = 200  # of the quadrature over an angle


class BetaFit(NamedTuple):
    """A line through log weights: ``intercept + beta * cosine``.

    ``correlation`` is that of log weight and cosine, ``error`` the greatest distance of
    a point from the line, in nats.
    """

    beta: float
    intercept: float
    correlation: float
    error: float


def check_radius(n: int, radius: int) -> None:
    """Refuse a radius that no ball of ``n`` signs has."""
    if n < 1:
        raise ValueError(f"n is {n}, needs at least 1")
    if not 0 <= radius <= n:
        raise ValueError(f"radius is {radius}, needs 0 to n = {n}")


def naive_circle_intersection(n: int, radius: int, distance: int) -> int:
    """Count the addresses within ``radius`` of two centers, by the paper's double sum.

    An address agrees with both centers in ``a`` of the ``n - distance`` signs that
    these share, and with the first one in ``c`` of the others.

    Raises:
        ValueError: radius or distance is not between 0 and n.
    """
    check_radius(n, radius)
    if not 0 <= distance <= n:
        raise ValueError(f"distance is {distance}, needs 0 to n = {n}")
    count = 0
    for a in range(n - distance + 1):
        for c in range(distance + 1):
            if a + c >= n - radius and a + distance - c >= n - radius:
                count += math.comb(n - distance, a) * math.comb(distance, c)
    return count


def circle_intersections(n: int, radius: int) -> list[int]:
    """Count the addresses within ``radius`` of two centers, for distances 0 to n.

    One more differing sign costs the addresses that lie exactly on both spheres, with
    the sign as it was; between centers an odd distance apart there are none, so
    distances 2k - 1 and 2k have equal counts.

    Returns:
        Exact whole numbers ``[n + 1]``; the first is the size of a ball.

    Raises:
        ValueError: radius is not between 0 and n.
    """
    check_radius(n, radius)
    losses = [0] * n
    for k in range(min(radius, (n - 1) // 2) + 1):
        losses[2 * k] = math.comb(2 * k, k) * math.comb(n - 2 * k - 1, radius - k)
    ball = sum(math.comb(n, i) for i in range(radius + 1))
    return list(accumulate([ball, *losses], lambda count, loss: count - loss))


@lru_cache(maxsize=128)
def log_weights(n: int, radius: int) -> np.ndarray:
    """Return the log of the share of all addresses that lie in both balls.

    Returns:
        Natural logs ``[n + 1]``, for distances 0 to n; -inf where the balls are apart.
        Read-only. Add ``log(num_locations)`` for the expected log count of locations.

    Raises:
        ValueError: radius is not between 0 and n.
    """
    counts = circle_intersections(n, radius)
    logs = [math.log(c) - n * math.log(2) if c else -math.inf for c in counts]
    weights = np.array(logs)
    weights.flags.writeable = False
    return weights


def cosines(n: int) -> np.ndarray:
    """Return the cosine of two sign vectors at each distance 0 to n, ``[n + 1]``."""
    return 1 - 2 * np.arange(n + 1) / n


def log_cap_weights(n: int, radius: float) -> np.ndarray:
    r"""Return the log of the share of the unit sphere that lies in two caps.

    The continuous memory: addresses are the unit vectors of ``n`` dimensions, and a cap
    holds those whose cosine to its center is at least :math:`c = 1 - 2d/n`. With an
    angle :math:`\varphi` between the two centers, the share is

    .. math:: \frac{1}{\pi} \int_{\varphi/2}^{\arccos c}
        \left(1 - \frac{c^2}{\cos^2 \psi}\right)^{(n-2)/2} d\psi .

    Args:
        n: dimensions, at least 2.
        radius: of a cap, in the units of a Hamming distance: above 0, below n / 2.

    Returns:
        Natural logs ``[n + 1]``, at the cosines that the distances 0 to n have.

    Raises:
        ValueError: n or radius is out of range.
    """
    if n < 2:
        raise ValueError(f"n is {n}, needs at least 2")
    if not 0 < radius < n / 2:
        raise ValueError(f"radius is {radius}, needs 0 to n / 2 = {n / 2}, exclusive")
    c = 1 - 2 * radius / n
    nodes, node_weights = np.polynomial.legendre.leggauss(NODES)
    logs = np.full(n + 1, -np.inf)
    start = np.arccos(np.clip(cosines(n), -1, 1)) / 2  # [n + 1]
    width = np.arccos(c) - start
    meet = width > 0
    psi = start[meet, None] + width[meet, None] * (nodes + 1) / 2  # [meeting, nodes]
    inner = (n - 2) / 2 * np.log1p(-((c / np.cos(psi)) ** 2))
    inner += np.log(node_weights / 2) + np.log(width[meet, None] / math.pi)
    logs[meet] = np.logaddexp.reduce(inner, axis=1)
    return logs


def fit_beta(log_weight: ArrayLike, last: int | None = None) -> BetaFit:
    """Fit a line to log weights over the cosine, by least squares.

    Args:
        log_weight: ``[n + 1]``, for distances 0 to n.
        last: the greatest distance that counts; by default the greatest whose weight is
            not zero. The paper's code takes ``radius - 1``.

    Raises:
        ValueError: fewer than two finite log weights up to ``last``.
    """
    y = np.asarray(log_weight, dtype=np.float64)
    x = cosines(len(y) - 1)
    kept = np.isfinite(y) & (np.arange(len(y)) <= (len(y) if last is None else last))
    if kept.sum() < 2:
        raise ValueError(f"log_weight has {kept.sum()} points to fit, needs 2")
    x, y = x[kept], y[kept]
    beta = np.sum((x - x.mean()) * (y - y.mean())) / np.sum((x - x.mean()) ** 2)
    intercept = y.mean() - beta * x.mean()
    spread = y.std()
    correlation = beta * x.std() / spread if spread > 0 else 0.0
    error = np.abs(y - intercept - beta * x).max()
    return BetaFit(float(beta), float(intercept), float(correlation), float(error))
