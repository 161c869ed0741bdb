import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.attention.views import structures

from .hidden import INF, close, normal, scores


@given(scores, st.integers(1, 6))
def test_subset_marginals_are_those_of_enumeration(row, edges):
    score = torch.tensor(row, dtype=torch.float64)
    marginals = structures.subset_marginals(score, edges)
    close(marginals, structures.naive_subset_marginals(row, edges))
    close(marginals.sum(), min(edges, sum(x > -INF for x in row)))


def test_two_of_three_worked_by_hand():
    # potentials 1, 2, 3: the pairs weigh 2, 3 and 6, of 11
    marginals = structures.subset_marginals(torch.tensor([1.0, 2.0, 3.0]).log(), 2)
    close(marginals, [5 / 11, 8 / 11, 9 / 11], rtol=1e-6)


@given(scores)
def test_a_set_of_one_key_is_the_softmax(row):
    score = torch.tensor(row, dtype=torch.float64)
    close(structures.subset_marginals(score, 1), torch.softmax(score, -1))


def test_sets_of_many_keys_stay_finite_in_single_precision():
    score = 30 * normal(2, 300, seed=1).float()
    for edges in (2, 40, 299):
        marginals = structures.subset_marginals(score, edges)
        # 300 steps of logaddexp on values up to 3000 lose 1e-7 of them each
        close(marginals.sum(-1), [edges, edges], rtol=3e-3)
        assert torch.isfinite(marginals).all()


def test_the_gradient_of_subset_marginals():
    score = normal(2, 5).requires_grad_()
    assert torch.autograd.gradcheck(structures.subset_marginals, (score, 2))
    masked = torch.tensor([[0.0, -INF, 1.0, 2.0], [-INF, -INF, 0.0, -INF]])
    masked.requires_grad_()
    (slope,) = torch.autograd.grad(
        structures.subset_marginals(masked, 2)[..., 2].sum(), masked
    )
    assert torch.isfinite(slope).all()
    assert slope[0, 2] > 0


def test_where_nothing_is_possible_no_set_is_drawn():
    assert structures.subset_marginals(torch.tensor([-INF, -INF]), 2).tolist() == [0, 0]
    assert structures.subset_marginals(torch.zeros(3, 0), 2).shape == (3, 0)


def test_a_set_holds_a_key_at_least():
    with pytest.raises(ValueError, match="edges is 0, needs at least 1"):
        structures.subset_marginals(torch.zeros(3), 0)


@given(st.integers(1, 4), st.integers(0, 99))
def test_two_steps_are_those_of_all_graphs(size, seed):
    posterior = torch.softmax(normal(size, size, seed=seed), -1)
    wanted = np.zeros((size, size))
    for graph in itertools.product(range(size), repeat=size):
        weight = math.prod(posterior[i, j].item() for i, j in enumerate(graph))
        for i in range(size):
            wanted[i, graph[graph[i]]] += weight
    close(structures.two_hop(posterior), wanted)


def test_the_product_of_matrices_draws_a_self_edge_twice():
    posterior = torch.tensor([[0.5, 0.5], [0.0, 1.0]])
    assert (posterior @ posterior)[0].tolist() == [0.25, 0.75]
    assert structures.two_hop(posterior)[0].tolist() == [0.5, 0.5]
