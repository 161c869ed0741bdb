import math

import pytest
import torch

from minitransformer.layers.mlp import GELU, SwiGLU


def with_weights(layer, **weights):
    with torch.no_grad():
        for name, value in weights.items():
            getattr(layer, name).weight.copy_(torch.tensor(value))
    return layer


def test_gelu_by_hand():
    layer = with_weights(GELU(1, 1, bias=False), up_proj=[[2.0]], down_proj=[[3.0]])
    at_two = 2 * 0.5 * (1 + math.erf(2 / math.sqrt(2)))
    assert layer(torch.tensor([1.0])).item() == pytest.approx(3 * at_two, abs=1e-6)


def test_the_gelu_of_gpt2_is_the_one_with_a_tanh():
    layer = GELU(1, 1, bias=False, approximate="tanh")
    with_weights(layer, up_proj=[[1.0]], down_proj=[[1.0]])
    inner = math.sqrt(2 / math.pi) * (1 + 0.044715)
    wanted = 0.5 * (1 + math.tanh(inner))
    assert layer(torch.tensor([1.0])).item() == pytest.approx(wanted, abs=1e-6)


def test_swiglu_by_hand():
    layer = with_weights(
        SwiGLU(1, 1), gate_proj=[[1.0]], up_proj=[[2.0]], down_proj=[[3.0]]
    )
    silu = 4 / (1 + math.exp(-4))
    assert layer(torch.tensor([4.0])).item() == pytest.approx(3 * silu * 8, rel=1e-6)


@pytest.mark.parametrize("make", [GELU, SwiGLU])
def test_each_token_is_changed_for_itself(make):
    torch.manual_seed(0)
    layer, x = make(4, 6), torch.randn(2, 3, 4)
    out = layer(x)
    assert out.shape == x.shape
    torch.testing.assert_close(layer(x[:, 1:2]), out[:, 1:2])
