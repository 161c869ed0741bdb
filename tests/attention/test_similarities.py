import math

import pytest
import torch

from minitransformer.attention import similarities
from minitransformer.attention.core import attention
from minitransformer.testing import Shape, example

# Two queries against two keys in the plane.
QUERY = torch.tensor([[3.0, 4.0], [1.0, 0.0]], dtype=torch.float64)
KEY = torch.tensor([[3.0, 0.0], [0.0, -2.0]], dtype=torch.float64)
W = torch.tensor([[0.0, 1.0], [2.0, 0.0]], dtype=torch.float64)
V = torch.tensor([1.0, -1.0], dtype=torch.float64)


def additive_by_hand(q, k):
    """W turns (a, b) into (2 b, a); the key stays as it is."""
    return math.tanh(2 * q[1] + k[0]) - math.tanh(q[0] + k[1])


BY_HAND = {
    "dot": (similarities.dot, [[9, -8], [3, 0]]),
    "cosine": (similarities.cosine, [[0.6, -0.8], [1, 0]]),
    "l2": (similarities.l2, [[-4, -math.sqrt(45)], [-2, -math.sqrt(5)]]),
    "gaussian": (similarities.gaussian, [[-8, -22.5], [-2, -2.5]]),
    "laplacian": (similarities.laplacian, [[-4, -9], [-2, -3]]),
    "bilinear": (  # q W is (8, 3) and (0, 1)
        lambda q, k: similarities.bilinear(q, k, weight=W),
        [[24, -6], [0, -2]],
    ),
    "additive": (
        lambda q, k: similarities.additive(
            q, k, query_weight=W, key_weight=torch.eye(2, dtype=torch.float64), v=V
        ),
        [[additive_by_hand(q, k) for k in KEY.tolist()] for q in QUERY.tolist()],
    ),
}


@pytest.mark.parametrize(("similarity", "wanted"), BY_HAND.values(), ids=BY_HAND)
def test_each_similarity_by_hand(similarity, wanted):
    wanted = torch.tensor(wanted, dtype=torch.float64)
    torch.testing.assert_close(similarity(QUERY, KEY), wanted)
    batch = similarity(QUERY.expand(2, 3, 2, 2), KEY.expand(2, 3, 2, 2))
    torch.testing.assert_close(batch, wanted.expand(2, 3, 2, 2))


@pytest.mark.parametrize(("similarity", "wanted"), BY_HAND.values(), ids=BY_HAND)
def test_each_similarity_has_the_right_derivative(similarity, wanted):
    inputs = [QUERY.clone().requires_grad_(), (KEY * 0.3).requires_grad_()]
    assert torch.autograd.gradcheck(similarity, inputs)


@pytest.mark.parametrize("name", ["l2", "gaussian", "laplacian"])
def test_equal_vectors_are_at_no_distance_and_the_gradient_is_finite(name):
    point = QUERY.clone().requires_grad_()
    scores = getattr(similarities, name)(point, QUERY)
    assert scores.diagonal().tolist() == [0, 0]
    scores.sum().backward()
    assert point.grad.isfinite().all()


def test_a_zero_vector_has_cosine_zero_and_a_finite_gradient():
    zero = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    scores = similarities.cosine(zero, KEY)
    assert scores.tolist() == [[0, 0]]
    scores.sum().backward()
    assert zero.grad.isfinite().all()


def test_bilinear_with_the_identity_is_dot():
    got = similarities.bilinear(QUERY, KEY, weight=torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(got, similarities.dot(QUERY, KEY))


def test_near_pairs_keep_their_digits():
    far = torch.full((30, 4), 1e6, dtype=torch.float64)
    near = far + 1e-3
    got = similarities.gaussian(far, near)
    wanted = torch.full_like(got, -0.5 * 4 * 1e-6)
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=0)


def test_with_keys_of_one_length_gaussian_attention_is_dot_attention():
    query, key, value = example(Shape(2, 4, 2, 3, 5))
    key = torch.nn.functional.normalize(key, dim=-1) * 1.7
    gaussian = attention(query, key, value, similarity=similarities.gaussian)
    torch.testing.assert_close(gaussian, attention(query, key, value))


@pytest.mark.parametrize("per_head", [False, True])
def test_weights_may_differ_by_key_head(per_head):
    query, key, value = example(Shape(1, 4, 2, 3, 5), head_dim=2)
    weight = torch.stack([W, -W]) if per_head else W

    def similarity(q, k):
        return similarities.bilinear(q, k, weight=weight)

    out = attention(query, key, value, similarity=similarity)
    for head in range(4):
        own = weight[head // 2] if per_head else weight
        alone = attention(
            query[:, head : head + 1] @ own,
            key[:, head // 2 : head // 2 + 1],
            value[:, head // 2 : head // 2 + 1],
        )
        torch.testing.assert_close(out[:, head : head + 1], alone)


def test_weights_that_do_not_fit_are_refused():
    with pytest.raises(
        ValueError, match=r"weight has shape \(3, 3\), needs \(..., 2, 2"
    ):
        similarities.bilinear(QUERY, KEY, weight=torch.eye(3))
    with pytest.raises(ValueError, match=r"key_weight has shape \(3, 2\), needs"):
        similarities.additive(
            QUERY, KEY, query_weight=W, key_weight=torch.zeros(3, 2), v=V
        )
