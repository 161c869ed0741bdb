r"""Laws of chance on the unit box: fitted to points, blended, drawn from.

Numbers have a Gaussian law, cut off at the box, choices a categorical one. Of all such
laws :math:`p_v`, the one closest in relative entropy to points
:math:`x_1, \ldots, x_k` is that of maximum likelihood,

.. math:: \arg\min_v \mathrm{KL}(\hat p \,\|\, p_v)
          = \arg\max_v \sum_i \ln p_v(x_i),

with the mean and the covariance (divided by :math:`k`) of the points, and their
frequencies. For the Gaussian that is exact without the cut, which the fit leaves out of
account.

Source: Rubinstein (1999); see :mod:`minitransformer.embeddings.cross_entropy`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

TRIES = 100  # draws outside the box are drawn again so often, then clipped
Matrix = tuple[tuple[float, ...], ...]


def rows(matrix: ArrayLike) -> Matrix:
    """Return a matrix ``[m, n]`` as ``m`` tuples of ``n`` numbers."""
    return tuple(map(tuple, np.asarray(matrix, dtype=float).tolist()))


@dataclass(frozen=True)
class Law:
    """A law of chance on a space, in the unit box.

    Attributes:
        mean: ``[numbers]``.
        covariance: ``[numbers, numbers]``.
        probabilities: ``[choices][values]``.
        uniform: numbers are drawn uniformly; mean and covariance are those of that.
    """

    mean: tuple[float, ...]
    covariance: Matrix
    probabilities: Matrix
    uniform: bool = False


def naive_fit(places: ArrayLike) -> tuple[list[float], list[list[float]]]:
    """Return mean and covariance of ``[elite, numbers]``, by the definition."""
    rows = np.asarray(places, dtype=float).tolist()
    dims, k = range(len(rows[0])), len(rows)
    mean = [sum(row[i] for row in rows) / k for i in dims]
    covariance = [[0.0 for _ in dims] for _ in dims]
    for row in rows:
        for i in dims:
            for j in dims:
                covariance[i][j] += (row[i] - mean[i]) * (row[j] - mean[j]) / k
    return mean, covariance


def fit(
    places: ArrayLike, picks: ArrayLike, sizes: Sequence[int], correlated: bool = False
) -> Law:
    """Return the law under which an elite is most probable: its KL projection.

    Args:
        places: ``[elite, numbers]``.
        picks: ``[elite, choices]``.
        sizes: ``[choices]``, how many values each has.
        correlated: fit all of the covariance, not its diagonal alone.
    """
    x, chosen = np.asarray(places, dtype=float), np.asarray(picks, dtype=int)
    away = x - x.mean(axis=0)
    covariance = away.T @ away / len(x)
    if not correlated:
        covariance = np.diag(np.diag(covariance))
    shares = [np.bincount(chosen[:, j], minlength=m) for j, m in enumerate(sizes)]
    return Law(
        mean=tuple(x.mean(axis=0).tolist()),
        covariance=rows(covariance),
        probabilities=tuple(tuple((s / len(x)).tolist()) for s in shares),
    )


def blend(old: Law, new: Law, weight: float) -> Law:
    """Return ``weight * new + (1 - weight) * old``, in each of their parameters."""

    def mix(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
        return weight * np.asarray(b, float) + (1 - weight) * np.asarray(a, float)

    if weight == 0:
        return old
    pairs = zip(old.probabilities, new.probabilities, strict=True)
    return Law(
        mean=tuple(mix(old.mean, new.mean).tolist()),
        covariance=rows(mix(old.covariance, new.covariance)),
        probabilities=tuple(tuple(mix(a, b).tolist()) for a, b in pairs),
    )


def draw(
    law: Law, count: int, rng: np.random.Generator, widen: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw from a law, widened by a standard deviation (a share of uniform picks).

    Returns:
        places ``[count, numbers]``, in the unit box, and picks ``[count, choices]``.
    """
    dims, covariance = len(law.mean), np.array(law.covariance)
    if law.uniform or not dims:
        places = rng.random((count, dims))
    else:
        wide = covariance + (widen**2 + 1e-18) * np.eye(dims)
        root = np.linalg.cholesky(wide)
        correlated = bool((covariance != np.diag(np.diag(covariance))).any())
        places = np.full((count, dims), np.nan)
        for _ in range(TRIES):
            outside = ~((places >= 0) & (places <= 1))
            if correlated:  # its numbers belong together
                outside |= outside.any(axis=1, keepdims=True)
            if not outside.any():
                break
            fresh = law.mean + rng.standard_normal((count, dims)) @ root.T
            places = np.where(outside, fresh, places)
        places = places.clip(0, 1)
    picks = np.zeros((count, len(law.probabilities)), dtype=np.int64)
    for j, probabilities in enumerate(law.probabilities):
        p = (1 - widen) * np.array(probabilities) + widen / len(probabilities)
        picks[:, j] = rng.choice(len(p), size=count, p=p / p.sum())
    return places, picks
