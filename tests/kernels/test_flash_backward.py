"""The backward kernels compute what the formulas say, and the same every time."""

import pytest
import torch

pytest.importorskip("triton")

import numpy as np

from minitransformer.attention import core, masks
from minitransformer.kernels import launch
from minitransformer.kernels.flash_backward import flash_backward
from minitransformer.kernels.flash_forward import flash_forward

DEVICE = "cpu" if launch.INTERPRETED else "cuda"
NONE = (None, None, None)
OPTIONS = {
    "CAUSAL": True,
    "WINDOW": 0,
    "POS": False,
    "CAP": 0.0,
    "ALIBI": False,
    "MOD": None,
    "PRECISION": "ieee",
}


def example(length, kv_length, heads=2, kv_heads=1):
    generator = torch.Generator().manual_seed(0)
    sizes = [(heads, length), *[(kv_heads, kv_length)] * 2, (heads, length)]
    return [torch.randn(1, h, n, 16, generator=generator).to(DEVICE) for h, n in sizes]


def gradients(query, key, value, dout, dlse=None):
    out, lse = flash_forward(query, key, value, NONE, 0.25, **OPTIONS)
    dlse = torch.zeros_like(lse) if dlse is None else dlse
    return flash_backward(
        query, key, value, NONE, out, lse, dout, dlse, 0.25, **OPTIONS, MOD_GRAD=None
    )


def test_they_are_the_gradients_derived_by_hand():
    tensors = example(37, 53)
    wanted = core.naive_attention_backward(
        *(x.cpu().numpy() for x in tensors), mask_mod=masks.causal
    )
    for got, exact in zip(gradients(*tensors), wanted, strict=True):
        assert np.abs(got.cpu().numpy() - exact).max() <= 2e-6 * np.abs(exact).max()


def test_the_gradient_of_the_lse_alone_is_the_weights_times_the_other_side():
    query, key, value, dout = example(20, 20)
    dlse = torch.ones(1, 2, 20, device=DEVICE)
    dq, _, dv = gradients(query, key, value, torch.zeros_like(dout), dlse)
    weights = core.naive_weights(
        query.cpu().numpy(), key.cpu().numpy(), mask_mod=masks.causal
    )
    exact = 0.25 * weights @ key.cpu().double().numpy()
    assert np.abs(dq.cpu().numpy() - exact).max() <= 2e-6
    assert not dv.any()


def test_the_same_inputs_give_the_same_bits():
    tensors = example(70, 70)
    assert all(map(torch.equal, gradients(*tensors), gradients(*tensors)))


def test_a_gradient_of_zero_gives_zeros():
    query, key, value, dout = example(20, 33)
    grads = gradients(query, key, value, torch.zeros_like(dout))
    assert not any(grad.any() for grad in grads)
