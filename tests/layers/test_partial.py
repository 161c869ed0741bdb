import copy
import io
import pickle

import pytest
import torch
from torch import nn

from minitransformer.attention import masks, similarities
from minitransformer.attention.core import attention
from minitransformer.layers.partial import Partial
from minitransformer.testing import SHAPES, check_attend, example


def test_it_is_the_function_with_arguments_bound():
    inputs = example(SHAPES[1])
    causal = Partial(attention, mask_mod=masks.causal)
    assert torch.equal(causal(*inputs), attention(*inputs, mask_mod=masks.causal))
    check_attend(causal)


def test_arguments_given_now_win():
    inputs = example(SHAPES[1])
    attend = Partial(attention, scale=1.0)
    assert torch.equal(attend(*inputs, scale=2.0), attention(*inputs, scale=2.0))


def test_a_bound_parameter_trains_and_is_saved():
    weight = nn.Parameter(torch.eye(8, dtype=torch.float64))
    similarity = Partial(similarities.bilinear, weight=weight)
    attend = Partial(attention, similarity=similarity)
    assert list(attend.parameters()) == [weight]
    attend(*example(SHAPES[1])).sum().backward()
    assert weight.grad.abs().sum() > 0
    assert list(attend.state_dict()) == ["bound_similarity.bound_weight"]


def test_a_bound_tensor_moves_with_the_module_and_does_not_train():
    similarity = Partial(similarities.bilinear, weight=torch.eye(3))
    assert list(similarity.parameters()) == []
    assert similarity.double().bound_weight.dtype == torch.float64


def test_it_can_be_copied_and_pickled():
    attend = Partial(attention, scale=0.5)
    inputs = example(SHAPES[1])
    for other in (
        copy.deepcopy(attend),
        pickle.load(io.BytesIO(pickle.dumps(attend))),
    ):
        assert torch.equal(other(*inputs), attend(*inputs))


def test_it_says_what_is_bound():
    assert "attention: scale" in repr(Partial(attention, scale=0.5))


def test_an_option_that_the_function_cannot_honor_is_refused():
    with pytest.raises(ValueError, match="dot takes no weight, but query, key"):
        Partial(similarities.dot, weight=torch.eye(3))
