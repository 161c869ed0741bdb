r"""More than one hidden edge: sets of keys, and paths.

Attention supposes that a query has one hidden edge (:mod:`.bayesian`). Here it has a
set :math:`A` of :math:`m` of them, with a probability proportional to the product of
the potentials :math:`w_j = e^{s_j}`, or a path of two. What is asked for is again a
marginal: the probability that key :math:`j` is in the set, or at the end of the path.

.. math::
    p(j \in A) = \frac{w_j\, e_{m-1}(w_{-j})}{e_m(w)}, \qquad
    p(i \leftarrow \cdot \leftarrow j) = \sum_{l \ne i} p_{il}\, p_{lj}
    + p_{ii}\, [i = j],

with the elementary symmetric polynomials :math:`e_m`, the sums of all products of
:math:`m` different potentials. Scores are ``[..., S]``.

Source: Singh and Buckley, *Attention as Implicit Structural Inference* (NeurIPS 2023),
from its abstract and published code: values that depend on more than one node give "a
bias toward attending multiple tokens". Their code multiplies matrices of single edges;
the sets and the treatment of self-edges are worked out here.
"""

import itertools
import math

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor


def naive_subset_marginals(scores: ArrayLike, edges: int) -> NDArray[np.float64]:
    """Enumerate the sets of ``edges`` keys, each weighted by the product of potentials.

    Args:
        scores: log of the potentials, ``[S]``.
        edges: how many keys a set holds; all that are possible, if they are fewer.

    Returns:
        The probability that the set holds each key, ``[S]``.
    """
    score = np.asarray(scores, dtype=float)
    possible = [j for j in range(len(score)) if score[j] > -math.inf]
    marginal, total = np.zeros(len(score)), 0.0
    for chosen in itertools.combinations(possible, min(edges, len(possible))):
        weight = math.exp(sum(score[j] for j in chosen))
        total += weight
        for j in chosen:
            marginal[j] += weight
    return marginal / total


def subset_marginals(scores: Tensor, edges: int = 2) -> Tensor:
    r"""Return the probability that a hidden set of keys holds each key.

    A set :math:`A` of ``edges`` keys has a probability proportional to
    :math:`\prod_{j \in A} e^{s_j}`. With the elementary symmetric polynomials
    :math:`e_r`, key :math:`j` is in it with probability
    :math:`e^{s_j} e_{m-1}(w_{-j}) / e_m(w)`; prefixes and suffixes give all of them in
    time :math:`O(S m)`, in logarithms. With one edge this is the softmax.

    Args:
        scores: log of the potentials, ``[..., S]``.
        edges: how many keys a set holds. Where no more keys are possible, all are in.

    Returns:
        Marginals ``[..., S]``; they sum to the number of edges.

    Raises:
        ValueError: ``edges`` is below one.
    """
    if edges < 1:
        raise ValueError(f"edges is {edges}, needs at least 1")
    possible = scores > -math.inf
    all_in = possible.sum(-1, keepdim=True) <= edges
    floor = torch.finfo(scores.dtype).min / 8
    safe = torch.where(possible, scores, floor)
    prefix, suffix = (
        _log_polynomials(safe, edges),
        _log_polynomials(safe.flip(-1), edges),
    )
    total = prefix[..., -1, edges].unsqueeze(-1)
    before, after = prefix[..., :-1, :edges], suffix[..., :-1, :edges].flip(-2)
    without = torch.logsumexp(before + after.flip(-1), -1)  # e_{m-1} of the others
    log_marginal = torch.where(all_in, 0.0, safe + without - total)
    return torch.where(possible, torch.exp(log_marginal), 0.0)


def _log_polynomials(scores: Tensor, degree: int) -> Tensor:
    """Log of e_0 to e_degree of the first 0 to S potentials, ``[..., S+1, degree+1]``.

    What is impossible stays at a floor that is far below everything and finite, so that
    its gradient is zero and not undefined.
    """
    floor = torch.finfo(scores.dtype).min / 8
    row = scores.new_full((*scores.shape[:-1], degree + 1), floor)
    row[..., 0] = 0.0
    rows = [row]
    for j in range(scores.shape[-1]):
        taken = (row[..., :-1] + scores[..., j : j + 1]).clamp(min=floor)
        row = torch.cat([row[..., :1], torch.logaddexp(row[..., 1:], taken)], -1)
        rows.append(row)
    return torch.stack(rows, -2)


def two_hop(posterior: Tensor) -> Tensor:
    """Return where two steps along hidden edges lead.

    Args:
        posterior: probability of the edge from j into i, ``[..., L, L]``; the edges of
            different positions are independent.

    Returns:
        ``[..., L, L]``: the probability that the edge into i comes from a position
        whose own edge comes from j. A position that picks itself stays: it has one
        edge, which the plain product of matrices would draw twice.
    """
    stay = torch.diagonal(posterior, dim1=-2, dim2=-1)
    leave = posterior - torch.diag_embed(stay)
    return leave @ posterior + torch.diag_embed(stay)
