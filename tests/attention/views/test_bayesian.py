import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betaln

from minitransformer.attention import masks, similarities
from minitransformer.attention.core import attention, naive_attention
from minitransformer.attention.views import bayesian, structures
from minitransformer.testing import check_attend

from .hidden import INF, close, normal, scores


def test_a_posterior_worked_by_hand():
    # priors 1/2, 1/4, 1/4 and likelihoods 0.2, 0.8, 0: joint 0.1, 0.2, 0
    log_likelihood = torch.tensor([[0.2, 0.8, 0.0]], dtype=torch.float64).log()
    log_prior = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64).log()
    posterior, evidence = bayesian.edge_posterior(log_likelihood, log_prior)
    close(posterior, [[1 / 3, 2 / 3, 0]])
    close(evidence.exp(), [0.3])


@given(st.lists(scores, min_size=1, max_size=3), st.integers(0, 99))
def test_summing_over_all_graphs_gives_the_softmax_of_each_row(rows, seed):
    size = max(map(len, rows))
    score = torch.tensor([row + [-INF] * (size - len(row)) for row in rows]).double()
    log_prior = torch.log_softmax(normal(size, seed=seed), -1)
    wanted, log_total = bayesian.naive_edge_posterior(score, log_prior)
    posterior, evidence = bayesian.edge_posterior(score, log_prior)
    close(posterior, wanted)
    close(evidence.sum(), log_total, rtol=1e-12, atol=1e-12)
    close(posterior, torch.softmax(score + log_prior, -1))


def test_a_query_without_a_possible_edge_gets_zeros_and_finite_gradients():
    score = torch.tensor([[-INF, -INF], [0.0, -INF]], dtype=torch.float64)
    score.requires_grad_()
    posterior, evidence = bayesian.edge_posterior(score)
    assert posterior.tolist() == [[0, 0], [1, 0]]
    assert evidence.tolist() == [-INF, 0]
    posterior.sum().backward()
    assert torch.isfinite(score.grad).all()
    naive, log_total = bayesian.naive_edge_posterior([[-INF, -INF]])
    assert naive.tolist() == [[0, 0]]
    assert log_total == -INF


def test_the_other_side_can_hide_the_edge():
    score = normal(3, 4)
    slots, _ = bayesian.edge_posterior(score, dim=-2)
    rows, _ = bayesian.naive_edge_posterior(score.T)
    close(slots, rows.T)
    close(slots.sum(0), np.ones(4))


def test_huge_scores_do_not_overflow():
    posterior, evidence = bayesian.edge_posterior(torch.tensor([[1e4, 1e4, -1e4]]))
    close(posterior, [[0.5, 0.5, 0]])
    close(evidence, [1e4 + math.log(2)], rtol=1e-6)


def test_the_weights_are_the_gradient_of_the_evidence():
    score = normal(2, 5).requires_grad_()
    posterior, evidence = bayesian.edge_posterior(score, -math.log(5))
    (slope,) = torch.autograd.grad(evidence.sum(), score)
    close(slope, posterior.detach())


def test_a_definition_takes_a_matrix():
    with pytest.raises(ValueError, match=r"log_potential has shape \(3,\), needs"):
        bayesian.naive_edge_posterior([0.0, 0.0, 0.0])


@given(st.integers(0, 99), st.floats(0.1, 9))
def test_the_gaussian_likelihood_is_a_density(seed, variance):
    query, key = normal(2, 3, seed=seed), normal(4, 3, seed=seed + 1)
    noise = torch.distributions.Normal(key, math.sqrt(variance))
    wanted = noise.log_prob(query[:, None]).sum(-1)
    ours = bayesian.gaussian_log_likelihood(query, key, variance)
    close(ours, wanted, rtol=1e-12, atol=1e-12)


def test_keys_of_equal_length_make_it_the_dot_product():
    query = normal(3, 8)
    key = torch.nn.functional.normalize(normal(5, 8, seed=1), dim=-1) * 4
    scores = bayesian.gaussian_log_likelihood(query, key, math.sqrt(8))
    close(
        bayesian.edge_posterior(scores)[0],
        torch.softmax(query @ key.T / math.sqrt(8), -1),
    )


def test_linear_attention_is_a_posterior_over_key_and_feature():
    query, key = normal(2, 3), normal(4, 3, seed=1)
    phi_q, phi_k = bayesian.elu_features(query), bayesian.elu_features(key)
    joint = phi_q[:, None, :] * phi_k[None]  # query, key, feature
    wanted = joint.sum(-1) / joint.sum((-1, -2), keepdim=True).squeeze(-1)
    scores = bayesian.feature_log_likelihood(query, key)
    close(bayesian.edge_posterior(scores)[0], wanted)


def test_the_features_are_positive_and_grow():
    x = torch.tensor([-3.0, 0.0, 2.0])
    close(bayesian.elu_features(x), [math.exp(-3), 1, 3], rtol=1e-6)


def test_the_geometric_prior_sums_to_one_and_is_a_line():
    log_prior = bayesian.geometric_log_prior(400, 0.1)
    assert np.exp(log_prior).sum() == pytest.approx(1 - 0.9**400)
    close(np.diff(log_prior), np.full(399, math.log(0.9)))


@pytest.mark.parametrize("stop", [0, 1, -0.5, 2])
def test_a_geometric_prior_stops_sometimes(stop):
    with pytest.raises(ValueError, match=f"stop is {stop}, needs a number between"):
        bayesian.geometric_log_prior(3, stop)


@given(st.floats(0.1, 20), st.floats(0.1, 20), st.integers(1, 30))
def test_the_unknown_stop_is_summed_out(alpha, beta, num):
    ours = bayesian.beta_geometric_log_prior(num, alpha, beta)
    wanted = betaln(alpha + 1, beta + np.arange(num)) - betaln(alpha, beta)
    close(ours, wanted, rtol=1e-9, atol=1e-9)


def test_a_table_over_the_distance_is_read_at_both_ends():
    log_prior = bayesian.by_distance(np.array([-1.0, -2.0, -4.0]))
    at = log_prior(0, 0, np.array([[0], [2]]), np.array([0, 1, 2]))
    assert at.tolist() == [[-1, -1, -1], [-4, -2, -1]]
    assert log_prior(0, 0, np.array([9]), np.array([0])).tolist() == [-4]


def test_a_sure_stop_is_the_geometric_prior_again():
    sharp = bayesian.beta_geometric_log_prior(8, 3e9, 7e9)
    close(sharp, bayesian.geometric_log_prior(8, 0.3), rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_pseudo_counts_are_positive(name):
    counts = {"alpha": 1.0, "beta": 1.0, name: 0.0}
    with pytest.raises(ValueError, match=f"{name} is 0.0, needs a positive number"):
        bayesian.beta_geometric_log_prior(3, **counts)
    with pytest.raises(ValueError, match=f"{name} is 0.0, needs a positive number"):
        bayesian.adapt_window(torch.zeros(1, 1), torch.zeros(1, 1), **counts)


def all_windows(score, distance, alpha, beta):
    """Edges and mean stop by enumeration of all graphs, the stop summed out."""
    marginal, total, stop = np.zeros(score.shape), 0.0, 0.0
    num_queries, num_keys = score.shape
    for graph in itertools.product(range(num_keys), repeat=num_queries):
        far = [distance[i, j].item() for i, j in enumerate(graph)]
        if min(far) >= 0:
            log_weight = sum(score[i, j].item() for i, j in enumerate(graph))
            log_weight += betaln(alpha + num_queries, beta + sum(far))
            weight = math.exp(log_weight - betaln(alpha, beta))
            total += weight
            stop += (
                weight * (alpha + num_queries) / (alpha + beta + num_queries + sum(far))
            )
            for i, j in enumerate(graph):
                marginal[i, j] += weight
    return marginal / total, stop / total, math.log(total)


def lower_bound(score, distance, posterior, found, prior):
    """Mean-field bound of the log-evidence: expected log-joint plus entropies."""
    (count, onward), (alpha, beta) = found, prior
    counts = torch.tensor([count, onward, count + onward], dtype=torch.float64)
    stop, digamma = torch.distributions.Beta(*counts[:2]), torch.digamma(counts)
    log_stop, log_go = digamma[0] - digamma[2], digamma[1] - digamma[2]
    joint = score + log_stop + log_go * distance
    used = posterior > 0
    bound = (posterior * joint)[used].sum()
    bound = bound - (posterior * posterior.log())[used].sum()
    prior_mean = (alpha - 1) * log_stop + (beta - 1) * log_go - betaln(alpha, beta)
    return float(bound + prior_mean + stop.entropy())


@settings(max_examples=20)
@given(st.integers(0, 999), st.integers(1, 3), st.integers(1, 4))
def test_the_window_is_found_by_raising_a_bound_below_the_evidence(seed, rows, size):
    score = normal(rows, size, seed=seed, scale=2)
    distance = torch.arange(size - 1, -1, -1).double().expand(rows, size)
    prior = (2.0, 3.0)
    *_, evidence = all_windows(score, distance, *prior)
    bounds = []
    for steps in (1, 2, 3, 8, 60):
        posterior, *found = bayesian.adapt_window(
            score, distance, alpha=2.0, beta=3.0, steps=steps
        )
        bounds.append(lower_bound(score, distance, posterior, found, prior))
        close(posterior.sum(-1), np.ones(rows))
    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(bounds))
    assert bounds[-1] <= evidence + 1e-9


def test_the_window_is_near_that_of_enumeration():
    score = normal(5, 4, scale=3)
    distance = torch.tensor([3, 2, 1, 0]).expand(5, 4)
    posterior, count, onward = bayesian.adapt_window(
        score, distance, alpha=2.0, beta=3.0
    )
    edges, stop, _ = all_windows(score, distance, 2.0, 3.0)
    # mean field ignores what edges tell about each other: near, not equal
    assert np.abs(posterior.numpy() - edges).max() < 0.02
    assert count / (count + onward) == pytest.approx(stop, abs=0.01)


def test_keys_in_the_future_are_no_stop():
    distance = torch.arange(3)[:, None] - torch.arange(3)
    posterior, count, _ = bayesian.adapt_window(
        torch.zeros(3, 3).double(), distance, alpha=1.0, beta=1.0
    )
    assert torch.equal(posterior.triu(1), torch.zeros(3, 3).double())
    assert count == pytest.approx(4)


def test_evidence_far_away_widens_the_window():
    distance = torch.arange(19, -1, -1).expand(4, 20)
    windows = []
    for place in (19, 12, 2):
        score = torch.zeros(4, 20).double()
        score[:, place] = 8
        _, count, onward = bayesian.adapt_window(score, distance, alpha=1.0, beta=2.0)
        windows.append((count + onward) / count)
    assert windows[0] < 3 < windows[1] < windows[2]


@given(st.integers(0, 99), st.floats(0.1, 4))
def test_retrieval_never_lowers_the_evidence(seed, variance):
    query, key = normal(3, 4, seed=seed, scale=2), normal(6, 4, seed=seed + 1)
    moved, trace = bayesian.retrieve(query, key, variance=variance, steps=6)
    assert trace.shape == (7, 3)
    # squares of up to 100, over a variance of 0.1: 1e3, of which 2 ** -53 is 1e-13
    assert (trace.diff(dim=0) >= -1e-11).all()
    last = bayesian.gaussian_log_likelihood(moved, key, variance)
    close(trace[-1], torch.logsumexp(last, -1) - math.log(6), rtol=1e-12)


def test_retrieval_without_noise_finds_the_nearest_key():
    key = 3 * torch.eye(4).double()
    moved, _ = bayesian.retrieve(key + 0.3, key, variance=0.01)
    close(moved, key)


def inputs(seed=0):
    """Grouped heads, fewer queries than keys: [2, 4, 3, 8] and [2, 2, 5, 8]."""
    query, key = normal(2, 4, 3, 8, seed=seed), normal(2, 2, 5, 8, seed=seed + 1)
    return query, key, normal(2, 2, 5, 6, seed=seed + 2)


def recency(stop):
    table = torch.from_numpy(bayesian.geometric_log_prior(32, stop))
    return bayesian.by_distance(table)


def to_unit_keys(query, key):
    return bayesian.gaussian_log_likelihood(
        query, torch.nn.functional.normalize(key, dim=-1), math.sqrt(8)
    )


def test_the_view_is_an_attend():
    check_attend(bayesian.bayesian_attention, like=attention)
    for options in (
        {"log_likelihood": partial(bayesian.gaussian_log_likelihood, variance=2.0)},
        {"log_likelihood": bayesian.feature_log_likelihood},
        {"log_prior": recency(0.3)},
    ):
        check_attend(partial(bayesian.bayesian_attention, **options))
    check_attend(partial(bayesian.bayesian_attention, edges=2), lse=False)


def test_a_uniform_prior_is_attention():
    ours = bayesian.bayesian_attention(*inputs())
    close(ours, attention(*inputs()))
    close(ours, naive_attention(*(x.numpy() for x in inputs())))


def test_a_prior_is_a_bias_and_its_support_a_mask():
    ours, evidence = bayesian.bayesian_attention(
        *inputs(), log_prior=recency(0.4), support=masks.causal, return_lse=True
    )

    def alibi(score, b, h, q_idx, kv_idx):  # NumPy numbers, so in float64
        return score + math.log(0.6) * (q_idx - kv_idx)

    biased, lse = naive_attention(
        *(x.numpy() for x in inputs()),
        score_mod=alibi,
        mask_mod=masks.causal,
        return_lse=True,
    )
    close(ours, biased)
    close(evidence, lse + math.log(0.4), rtol=1e-12, atol=1e-12)


def test_the_view_is_the_mean_over_all_graphs():
    query, key, value = (x[:1, :1] for x in inputs(5))
    score = query[0, 0] @ key[0, 0].T / math.sqrt(8)
    at = (torch.arange(2, 5)[:, None] - torch.arange(5)).double()
    log_prior = torch.where(at >= 0, at * math.log(0.7) + math.log(0.3), -INF)
    marginal, log_total = bayesian.naive_edge_posterior(score, log_prior)
    ours, evidence = bayesian.bayesian_attention(
        query,
        key,
        value,
        log_prior=recency(0.3),
        support=masks.causal,
        return_lse=True,
    )
    close(ours[0, 0], marginal @ value[0, 0].numpy())
    close(evidence.sum(), log_total, rtol=1e-12)


def test_two_edges_give_the_expected_sum_over_all_pairs():
    query, key, value = (x[:1, :1] for x in inputs())
    ours = bayesian.bayesian_attention(query, key, value, edges=2)
    rows = query[0, 0] @ key[0, 0].T / math.sqrt(8)
    wanted = [structures.naive_subset_marginals(row, 2) for row in rows]
    close(ours[0, 0], np.stack(wanted) @ value[0, 0].numpy())
    with pytest.raises(ValueError, match="return_lse needs normalize=softmax"):
        bayesian.bayesian_attention(query, key, value, edges=2, return_lse=True)
    with pytest.raises(ValueError, match="edges is 0, needs at least 1"):
        bayesian.bayesian_attention(query, key, value, edges=0)


def test_additive_attention_is_a_potential_too():
    query, key, value = inputs()
    weights = {
        "query_weight": normal(8, 4),
        "key_weight": normal(8, 4, seed=1),
        "v": normal(4, seed=2),
    }
    similarity = partial(similarities.additive, **weights)
    ours = bayesian.bayesian_attention(query, key, value, log_likelihood=similarity)
    close(ours, attention(query, key, value, similarity=similarity, scale=1.0))


def test_equal_lengths_make_gaussian_inference_scaled_dot_product_attention():
    query, key, value = inputs()
    unit = torch.nn.functional.normalize(key, dim=-1)
    ours = bayesian.bayesian_attention(query, key, value, log_likelihood=to_unit_keys)
    close(ours, attention(query, unit, value))


def test_linear_attention_is_one_pass_over_the_keys():
    query, key, value = (x[:, :2] for x in inputs())
    ours = bayesian.bayesian_attention(
        query, key, value, log_likelihood=bayesian.feature_log_likelihood
    )
    phi_q, phi_k = bayesian.elu_features(query), bayesian.elu_features(key)
    memory, total = phi_k.mT @ value, phi_k.sum(-2, keepdim=True).mT
    close(ours, phi_q @ memory / (phi_q @ total))


def test_no_noise_is_the_most_probable_edge():
    query, key, value = (x[:, :2] for x in inputs())

    def sharp(query, key):
        return bayesian.gaussian_log_likelihood(query, key, 1e-4)

    ours = bayesian.bayesian_attention(query, key, value, log_likelihood=sharp)
    nearest = torch.cdist(query, key).argmin(-1)
    picked = torch.gather(value, 2, nearest[..., None].expand(*nearest.shape, 6))
    close(ours, picked)


def test_the_posterior_mean_is_the_best_reader_and_a_draw_costs_twice_as_much():
    generator = torch.Generator().manual_seed(0)
    key, value, num = normal(16, 16), normal(16, 4, seed=1), 40_000
    prior = torch.softmax(normal(16, seed=2), -1)
    truth = torch.multinomial(prior, num, replacement=True, generator=generator)
    query = key[truth] + 2 * normal(num, 16, seed=3)

    def read(variance):
        scores = bayesian.gaussian_log_likelihood(query, key, variance)
        return bayesian.edge_posterior(scores, prior.log())[0]

    def cost(output):
        return (output - value[truth]).square().sum(-1).mean().item()

    best = cost(read(4.0) @ value)
    assert all(cost(read(v) @ value) > best for v in (1.0, 2.0, 3.0, 5.5, 8.0))
    drawn = torch.multinomial(read(4.0), 1, generator=generator)[:, 0]
    # 40,000 costs of about 7 with a spread of about 8: 0.6% standard error each
    assert cost(value[drawn]) / best == pytest.approx(2, abs=0.06)
