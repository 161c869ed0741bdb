r"""How much a conditioned memory holds, and how errors pass through layers.

Hebb's rule (:mod:`minitransformer.attention.views.pavlovian`) stores :math:`n` pairs in
one matrix and recalls

.. math:: k_j S = v_j + \sum_{i \ne j} (k_j \cdot k_i)\, v_i

for unit keys. *On average*: keys are uniform on the sphere in :math:`d` dimensions, so
:math:`(k_j \cdot k_i)^2` has the mean :math:`1/d` and two such products do not
correlate. For unit values that do not depend on the keys the squared error is then
:math:`(n - 1)/d`, exactly, and the cosine of recalled and stored value is near
:math:`1/\sqrt{1 + (n-1)/d}`: room for :math:`O(d)` pairs. *At worst* all :math:`n - 1`
errors point the same way, and only :math:`n < 1 + 1/\mu` pairs are safe, where
:math:`\mu` is the largest overlap of two keys; :math:`\mu = 1/\sqrt d` makes that
:math:`O(\sqrt d)`.

Source: Mu Qiao, arXiv:2508.08289, from its abstracts: :math:`O(\sqrt{d_k})` in the
first version, :math:`O(d_k)` in a later one, and trade-offs of depth, width and
redundant heads. The exact error, the worst keys and the form of the bound on depth are
derived here; the paper's own constants and formulas may differ.
"""

import math

import numpy as np
from numpy.typing import NDArray


def expected_error(num_pairs: int, key_dim: int) -> float:
    """Return the mean squared error of Hebb's recall, relative to the squared value.

    It is exact, for unit keys that are independent and uniform on the sphere.

    Raises:
        ValueError: no pair or no dimension.
    """
    if num_pairs < 1 or key_dim < 1:
        raise ValueError(f"num_pairs is {num_pairs}, key_dim {key_dim}, need 1 or more")
    return (num_pairs - 1) / key_dim


def capacity(key_dim: int, cosine: float) -> int:
    """Return how many random pairs Hebb's rule holds with at least this mean cosine.

    Raises:
        ValueError: ``cosine`` is not in (0, 1].
    """
    if not 0 < cosine <= 1:
        raise ValueError(f"cosine is {cosine}, needs a number above 0 and up to 1")
    return 1 + math.floor(key_dim * (1 / cosine**2 - 1) + 1e-9)


def worst_keys(num_keys: int, key_dim: int, overlap: float) -> NDArray[np.float64]:
    """Return unit keys that all have the same inner product with one another.

    Args:
        num_keys: fewer than ``key_dim``.
        key_dim: dimension of the keys.
        overlap: the inner product of every two keys, in [0, 1].

    Returns:
        ``[num_keys, key_dim]``: they share a first entry, and each has one of its own.

    Raises:
        ValueError: too many keys, or an ``overlap`` outside [0, 1].
    """
    if num_keys >= key_dim or not 0 <= overlap <= 1:
        raise ValueError(
            f"num_keys is {num_keys}, overlap {overlap}, "
            f"need fewer than key_dim {key_dim} and a number from 0 to 1"
        )
    keys = np.zeros((num_keys, key_dim))
    keys[:, 0] = math.sqrt(overlap)
    keys[:, 1 : num_keys + 1] = math.sqrt(1 - overlap) * np.eye(num_keys)
    return keys


def chain_failure(depth: int, heads: int, failure: float) -> tuple[float, float]:
    """Return the chance that a chain of layers fails, and the bound on it.

    A layer fails when all its heads do, independently; the chain, when any layer does.

    Args:
        depth: layers, each needed.
        heads: redundant heads in a layer, any of which suffices.
        failure: chance that one head fails.

    Returns:
        1 - (1 - failure^heads)^depth, and its bound depth * failure^heads, at most 1.

    Raises:
        ValueError: ``failure`` is no chance, or there is no layer or head.
    """
    if depth < 1 or heads < 1 or not 0 <= failure <= 1:
        raise ValueError(
            f"depth is {depth}, heads {heads}, failure {failure}, need 1 or more, "
            "1 or more, and a number from 0 to 1"
        )
    layer = failure**heads
    if layer == 1:
        return 1.0, 1.0
    return -math.expm1(depth * math.log1p(-layer)), min(1.0, depth * layer)


def heads_needed(depth: int, failure: float, allowed: float) -> int:
    """Return how many heads a layer needs to keep the bound within ``allowed``.

    Raises:
        ValueError: ``failure`` or ``allowed`` is not between 0 and 1; no layer.
    """
    if depth < 1:
        raise ValueError(f"depth is {depth}, needs 1 or more")
    if not (0 < failure < 1 and 0 < allowed < 1):
        raise ValueError(
            f"failure is {failure}, allowed {allowed}, need numbers between 0 and 1"
        )
    return max(1, math.ceil(math.log(depth / allowed) / -math.log(failure) - 1e-9))
