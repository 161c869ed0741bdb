import numpy as np
import pytest
import torch
from torch import nn

from minitransformer.layers.norm import RMSNorm, naive_layer_norm, naive_rms_norm


def test_a_token_by_hand():
    x = np.array([3.0, -4.0])  # its root mean square is sqrt(12.5)
    got = naive_rms_norm(x, np.array([1.0, 2.0]), 0.0)
    np.testing.assert_allclose(got, [3 / 12.5**0.5, -8 / 12.5**0.5])


def test_a_layer_norm_by_hand():
    x = np.array([3.0, -1.0])  # its mean is 1, its deviation 2
    got = naive_layer_norm(x, np.array([1.0, 2.0]), np.array([0.0, 0.5]), 0.0)
    np.testing.assert_allclose(got, [1.0, -1.5])


def test_the_layer_norm_of_pytorch_is_the_definition():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    norm = nn.LayerNorm(5, eps=1e-3).double()
    with torch.no_grad():
        norm.weight.normal_(generator=generator)
        norm.bias.normal_(generator=generator)
    parts = norm.weight.detach().numpy(), norm.bias.detach().numpy(), 1e-3
    for got, token in zip(norm(x), x, strict=True):
        wanted = naive_layer_norm(token.numpy(), *parts)
        np.testing.assert_allclose(got.detach().numpy(), wanted, atol=1e-12)


@pytest.mark.parametrize("shape", [(5,), (2, 3, 5), (0, 5)])
def test_it_is_the_definition_and_that_of_pytorch(shape):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(*shape, generator=generator, dtype=torch.float64)
    ours, theirs = RMSNorm(5, eps=1e-3).double(), nn.RMSNorm(5, eps=1e-3).double()
    with torch.no_grad():
        ours.weight.normal_(generator=generator)
        theirs.weight.copy_(ours.weight)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-12)
    for got, token in zip(ours(x).view(-1, 5), x.view(-1, 5), strict=True):
        wanted = naive_rms_norm(token.numpy(), ours.weight.detach().numpy(), 1e-3)
        np.testing.assert_allclose(got.detach().numpy(), wanted, atol=1e-12)


def test_zeros_stay_zero_and_sizes_do_not_matter():
    norm = RMSNorm(4, eps=0.0).double()
    x = torch.tensor([1.0, 2, 3, 4], dtype=torch.float64)
    torch.testing.assert_close(norm(x * 1e100), norm(x * 1e-100))
    assert not RMSNorm(4)(torch.zeros(4)).any()


def test_half_types_are_added_up_in_float32():
    x = torch.full((512,), 300.0, dtype=torch.float16)  # 300^2 is no float16
    out = RMSNorm(512).half()(x)
    assert out.dtype == torch.float16
    assert torch.equal(out, torch.ones_like(out))


def test_gains_may_be_wider_than_the_tokens():
    x = torch.tensor([1.0, 2, 3, 4], dtype=torch.bfloat16)
    out = RMSNorm(4)(x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), RMSNorm(4)(x.float()), rtol=2**-8, atol=0)


def test_a_token_of_another_size_is_refused():
    with pytest.raises(ValueError, match="x has dim 3, the norm 4"):
        RMSNorm(4)(torch.zeros(2, 3))
