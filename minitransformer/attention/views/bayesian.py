r"""Attention as inference: the weights are the posterior of an edge nobody observed.

Each query stands at the end of one edge, which starts at one of the keys; which one,
the index :math:`\varphi`, is hidden. A prior :math:`p(\varphi = j)` says where edges
come from, a potential :math:`\psi(q, k_j)` how well a key explains the query. Attention
is what follows from Bayes's rule:

.. math::
    p(\varphi = j \mid q) = \frac{p(j)\, \psi(q, k_j)}{\sum_l p(l)\, \psi(q, k_l)}
    = \operatorname{softmax}_j\big(\log \psi(q, k_j) + \log p(j)\big), \qquad
    \mathrm{out} = \mathbb{E}\,[v_\varphi \mid q].

The score is a log-likelihood, a bias a log-prior, a mask the support of the prior, and
the log-sum-exp the log-evidence. The mechanisms of the literature are choices:

=====================  ==============================================================
softmax attention      uniform prior, :math:`\psi = e^{q \cdot k / \sqrt E}`
causal, local          prior with a bounded support
ALiBi                  geometric prior on the distance (:func:`geometric_log_prior`)
relative bias          any table over the distance
additive attention     :math:`\psi = e^{w \cdot \tanh(Aq + Bk)}`
linear attention       :math:`\psi = \phi(q) \cdot \phi(k)`: a second hidden index, over
                       features (:func:`feature_log_likelihood`)
Gaussian mixture       :math:`\psi = \mathcal N(q; k, \sigma^2 I)`
                       (:func:`gaussian_log_likelihood`): the temperature is a variance
hard attention         a sample of :math:`\varphi`, or the most probable one
slot attention         the edge is drawn from the key's side: normalised over queries
Hopfield retrieval     the posterior mean of the key becomes the query
                       (:func:`retrieve`)
=====================  ==============================================================

Shapes: scores and log-priors ``[..., L, S]``, queries ``[..., L, E]``, keys
``[..., S, E]``. Scores of :math:`-\infty` are impossible edges; a query without a
possible edge has the posterior 0 everywhere.

Source: Singh and Buckley, arXiv:2304.04556, and its successor *Attention as Implicit
Structural Inference* (NeurIPS 2023), from their abstracts and published code. Theirs:
the hidden edge, the list of mechanisms, paths of two edges, the geometric prior with a
Beta hyper-prior. Where we differ: several edges are in :mod:`.structures`; the window
(:func:`adapt_window`) counts each query's evidence once, while their code adds it again
at each iteration; and for a single query no iteration is needed,
:func:`beta_geometric_log_prior` is exact.
"""

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from minitransformer.attention.core import MaskMod, attention
from minitransformer.attention.views.structures import subset_marginals

Array = NDArray[np.float64]
LogPrior = Callable[[Any, Any, Any, Any], Any]
"""``log_prior(b, h, q_idx, kv_idx) -> log of the prior of that edge``."""


def naive_edge_posterior(
    log_potential: ArrayLike, log_prior: ArrayLike = 0.0
) -> tuple[Array, float]:
    """Enumerate every graph with one edge into each query, and add up.

    Args:
        log_potential: log of the potentials, ``[L, S]``.
        log_prior: log of the prior, broadcast to ``[L, S]``; 0 is uniform, up to a
            factor.

    Returns:
        The marginal probability of each edge, ``[L, S]``, and the log of the sum over
        all ``S ** L`` graphs.

    Raises:
        ValueError: ``log_potential`` is not a matrix.
    """
    score = np.asarray(log_potential, dtype=float) + np.asarray(log_prior, dtype=float)
    if score.ndim != 2:
        raise ValueError(f"log_potential has shape {score.shape}, needs (L, S)")
    num_queries, num_keys = score.shape
    marginal, total = np.zeros_like(score), 0.0
    for graph in itertools.product(range(num_keys), repeat=num_queries):
        weight = math.exp(sum(score[i, j] for i, j in enumerate(graph)))
        total += weight
        for i, j in enumerate(graph):
            marginal[i, j] += weight
    if total == 0:
        return np.zeros_like(score), -math.inf
    return marginal / total, math.log(total)


def edge_posterior(
    scores: Tensor, log_prior: Tensor | float = 0.0, *, dim: int = -1
) -> tuple[Tensor, Tensor]:
    """Return the posterior of the edges and the log-evidence, by Bayes's rule.

    Args:
        scores: log of the potentials, ``[..., L, S]``.
        log_prior: log of the prior, broadcast to ``scores``.
        dim: the side that is hidden: -1 where each query picks a key, -2 where each key
            picks a query (slot attention).

    Returns:
        Posterior ``[..., L, S]``, which sums to one along ``dim``, or to zero where no
        edge is possible; log-evidence, without ``dim``.
    """
    joint = scores + log_prior
    evidence = torch.logsumexp(joint, dim, keepdim=True)
    possible = evidence > -math.inf
    posterior = torch.softmax(torch.where(possible, joint, 0.0), dim)
    return torch.where(possible, posterior, 0.0), evidence.squeeze(dim)


def expected_value(posterior: Tensor, value: Tensor) -> Tensor:
    """Return the posterior mean of the values, ``[..., L, S]`` by ``[..., S, Ev]``."""
    return posterior @ value


def bayesian_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    q_pos: Tensor | None = None,
    kv_pos: Tensor | None = None,
    return_lse: bool = False,
    log_likelihood: Callable[[Tensor, Tensor], Tensor] | None = None,
    log_prior: LogPrior | None = None,
    support: MaskMod | None = None,
    edges: int = 1,
) -> Any:
    """Return the posterior mean of the value at the other end of the hidden edge.

    It is ``attention`` with the slots named for what they are in inference.

    Args:
        query: ``[B, H, L, E]``.
        key: ``[B, Hkv, S, E]``, where ``Hkv`` divides ``H``.
        value: ``[B, Hkv, S, Ev]``.
        q_pos: positions of the queries, ``[L]`` or ``[B, L]``; -1 is an empty slot.
        kv_pos: positions of the keys, ``[S]`` or ``[B, S]``.
        return_lse: also return the log-evidence of each query, ``[B, H, L]``.
        log_likelihood: of a query, given that its edge comes from a key:
            ``[..., L, S]`` of ``[..., L, E]`` and ``[..., S, E]``; ``q . k / sqrt(E)``
            by default.
        log_prior: ``log_prior(b, h, q_idx, kv_idx)``, the log of the prior, up to a
            constant unless the evidence is wanted; uniform by default.
        support: ``support(b, h, q_idx, kv_idx)``, where the prior is not zero.
        edges: how many keys a query draws from; the output is the expected *sum* of
            their values.

    Returns:
        The output ``[B, H, L, Ev]``; with ``return_lse`` also the log-evidence.

    Raises:
        ValueError: as ``attention`` does; ``edges`` is below one; the log-evidence is
            asked for of more than one edge.
    """

    def add_prior(score: Any, b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        assert log_prior is not None
        return score + log_prior(b, h, q_idx, kv_idx)

    options: dict[str, Any] = {}
    if log_likelihood is not None:
        options |= {"similarity": log_likelihood, "scale": 1.0}
    if edges != 1:
        options["normalize"] = partial(subset_marginals, edges=edges)
    return attention(
        query,
        key,
        value,
        q_pos=q_pos,
        kv_pos=kv_pos,
        return_lse=return_lse,
        score_mod=None if log_prior is None else add_prior,
        mask_mod=support,
        **options,
    )


def gaussian_log_likelihood(
    query: Tensor, key: Tensor, variance: float = 1.0
) -> Tensor:
    r"""Return :math:`\log \mathcal N(q; k_j, \sigma^2 I)`, in nats.

    Expanded, it is a dot product with scale :math:`1 / \sigma^2`, a bias
    :math:`-|k_j|^2 / 2 \sigma^2` against long keys, and terms without :math:`j`.

    Args:
        query: ``[..., L, E]``.
        key: ``[..., S, E]``.
        variance: of the noise, in each of the ``E`` directions.

    Returns:
        ``[..., L, S]``.
    """
    square = query.square().sum(-1)[..., :, None] + key.square().sum(-1)[..., None, :]
    distance = square - 2 * query @ key.transpose(-1, -2)
    constant = query.shape[-1] * math.log(2 * math.pi * variance)
    return -0.5 * (distance / variance + constant)


def elu_features(x: Tensor) -> Tensor:
    """Return ``elu(x) + 1``, a feature map that is positive, ``[..., E]``."""
    return torch.nn.functional.elu(x) + 1


def feature_log_likelihood(query: Tensor, key: Tensor) -> Tensor:
    r"""Return the log-potentials of linear attention, which make it a posterior.

    They are :math:`\log \sum_r \phi_r(q)\, \phi_r(k_j)`. The sum runs
    over a second hidden index, a feature :math:`r` that a key shows and a query looks
    for. Given :math:`r`, query and key are independent, so the sum over keys can be
    taken first: that is why linear attention is linear.

    Args:
        query: ``[..., L, E]``.
        key: ``[..., S, E]``.

    Returns:
        ``[..., L, S]``.
    """
    return torch.log(elu_features(query) @ elu_features(key).transpose(-1, -2))


def geometric_log_prior(num: int, stop: float) -> Array:
    """Return the log of a geometric prior: look back, and stop with a fixed chance.

    Args:
        num: number of distances, from 0.
        stop: probability to stop at each key. The window is ``1 / stop`` keys wide.

    Returns:
        ``[num]``; a straight line of slope ``log(1 - stop)``, which is ALiBi's bias.

    Raises:
        ValueError: ``stop`` is no probability between 0 and 1.
    """
    if not 0 < stop < 1:
        raise ValueError(f"stop is {stop}, needs a number between 0 and 1")
    return math.log(stop) + math.log1p(-stop) * np.arange(num, dtype=np.float64)


def beta_geometric_log_prior(num: int, alpha: float, beta: float) -> Array:
    """Return the log of a geometric prior whose chance to stop is itself unknown.

    With ``stop`` from a Beta distribution and summed out, the prior of the distance d
    is ``B(alpha + 1, beta + d) / B(alpha, beta)``: a power law, not an exponential.

    Args:
        num: number of distances, from 0.
        alpha: pseudo-count of stops.
        beta: pseudo-count of steps onward.

    Returns:
        ``[num]``.

    Raises:
        ValueError: a pseudo-count is not positive.
    """
    _positive(alpha=alpha, beta=beta)
    d = np.arange(num - 1)
    steps = np.log((beta + d) / (alpha + beta + d + 1))
    first = math.log(alpha / (alpha + beta))
    return first + np.concatenate([[0.0], np.cumsum(steps)])[:num]


def by_distance(table: Any) -> LogPrior:
    """Make a prior of a table over how far a key lies behind the query.

    Args:
        table: log of the prior, ``[distances]``, an array or a tensor; beyond its end
            the last entry counts. Keys in the future count as distance 0, so give a
            causal ``support`` with it.

    Returns:
        A ``log_prior(b, h, q_idx, kv_idx)``, in the precision of the table.
    """
    last = len(table) - 1

    def log_prior(b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        return table[(q_idx - kv_idx).clip(0, last)]

    return log_prior


def adapt_window(
    scores: Tensor, distance: Tensor, *, alpha: float, beta: float, steps: int = 50
) -> tuple[Tensor, float, float]:
    r"""Infer edges and window together: a geometric prior with an unknown stop.

    Queries share one chance to stop, :math:`\pi \sim \mathrm{Beta}(\alpha, \beta)`.
    Mean field: the posterior of the edges, given what is expected of :math:`\log \pi`
    and :math:`\log(1 - \pi)`, and the Beta posterior, given the expected distances, in
    turn. Each step raises a lower bound of the log-evidence.

    Args:
        scores: log of the potentials, ``[L, S]``.
        distance: how far each key lies behind each query, ``[L, S]``; a negative one
            is impossible.
        alpha: pseudo-count of stops.
        beta: pseudo-count of steps onward.
        steps: how often both are updated.

    Returns:
        The posterior of the edges ``[L, S]``, and the two counts of the posterior of
        the stop; ``(alpha + beta) / alpha`` is a window in keys.

    Raises:
        ValueError: a pseudo-count is not positive.
    """
    _positive(alpha=alpha, beta=beta)
    behind, distance = distance >= 0, distance.to(scores.dtype)
    count, onward = alpha, beta
    posterior = torch.zeros_like(scores)
    for _ in range(steps):
        counts = torch.tensor([count, onward, count + onward], dtype=torch.float64)
        psi = torch.digamma(counts)
        log_stop, log_go = float(psi[0] - psi[2]), float(psi[1] - psi[2])
        log_prior = torch.where(behind, log_stop + log_go * distance, -math.inf)
        posterior, _ = edge_posterior(scores, log_prior)
        count = alpha + float(posterior.sum())
        onward = beta + float((posterior * distance).sum())
    return posterior, count, onward


def retrieve(
    query: Tensor, key: Tensor, *, variance: float, steps: int = 1
) -> tuple[Tensor, Tensor]:
    """Replace the query by the posterior mean of the key, again and again.

    One step is an update of a Hopfield network, and of expectation-maximization for the
    most probable noise-free query: no step lowers its evidence under a mixture of
    Gaussians around the keys.

    Args:
        query: ``[..., L, E]``.
        key: ``[..., S, E]``.
        variance: of the noise.
        steps: how many.

    Returns:
        The query after all steps, ``[..., L, E]``, and the log-evidence before each
        step and after the last, ``[steps + 1, ..., L]``.
    """
    trace = []
    for step in range(steps + 1):
        scores = gaussian_log_likelihood(query, key, variance)
        posterior, evidence = edge_posterior(scores, -math.log(key.shape[-2]))
        trace.append(evidence)
        if step < steps:
            query = expected_value(posterior, key)
    return query, torch.stack(trace)


def _positive(**counts: float) -> None:
    for name, count in counts.items():
        if count <= 0:
            raise ValueError(f"{name} is {count}, needs a positive number")
