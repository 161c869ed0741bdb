"""The fused norms are the norms, with all their gradients."""

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("triton")

from minitransformer.kernels.norm import LONGEST, layer_norm, rms_norm
from minitransformer.layers.norm import RMSNorm

from .budget import DEVICE, DTYPES, normal, within_budget

SHAPES = [(1, 1), (1, 5), (7, 64), (40, 100), (3, 2, 33), (2, 4097)]


def inputs(*shape, dtype=torch.float32, params=2):
    size = shape[-1]
    more = [1 + normal(size, seed=1, dtype=dtype), normal(size, seed=2, dtype=dtype)]
    return [2 * normal(*shape, dtype=dtype) + 0.5, *more[:params]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_layer_norm_keeps_to_its_budget_of_errors(shape, dtype):
    def theirs(x, weight, bias):
        return F.layer_norm(x, x.shape[-1:], weight, bias)

    within_budget(layer_norm, theirs, inputs(*shape, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_rms_norm_keeps_to_its_budget_of_errors(shape, dtype):
    def theirs(x, weight):
        return F.rms_norm(x, x.shape[-1:], weight, 1e-6)

    within_budget(rms_norm, theirs, inputs(*shape, dtype=dtype, params=1))


@pytest.mark.parametrize("columns", [8193, LONGEST + 1, 2 * LONGEST + 77])
def test_long_rows_come_in_blocks(columns):
    def theirs(x, weight, bias):
        return F.layer_norm(x, x.shape[-1:], weight, bias)

    within_budget(layer_norm, theirs, inputs(5, columns))
    within_budget(
        rms_norm,
        lambda x, weight: F.rms_norm(x, x.shape[-1:], weight, 1e-6),
        inputs(5, columns, params=1),
    )


def test_it_is_the_module_of_the_layers():
    module = RMSNorm(24, eps=1e-3).to(DEVICE)
    x = normal(3, 5, 24)
    torch.testing.assert_close(rms_norm(x, module.weight, eps=1e-3), module(x))


@pytest.mark.parametrize("columns", [8, LONGEST + 8])
def test_a_large_mean_does_not_eat_the_variance(columns):
    x = normal(2, columns) + 1000.0  # the mean of squares less its square is noise
    one, zero = x.new_ones(columns), x.new_zeros(columns)
    wanted = F.layer_norm(x.double(), (columns,))
    error = (layer_norm(x, one, zero).double() - wanted).abs().max()
    assert error < 2e-3  # a rounding of 1000 is 6e-5


def test_a_token_of_zeros_stays_zero():
    weight = normal(6)
    assert not rms_norm(normal(2, 6) * 0, weight).any()


def test_rows_need_not_lie_side_by_side():
    x, weight, bias = inputs(8, 30)
    x, weight, bias = x[::2, 3:20], weight[:17], bias[:17]
    wanted = F.layer_norm(x, (17,), weight, bias)
    torch.testing.assert_close(layer_norm(x, weight, bias), wanted)


def test_more_tiles_than_programs_share_them_out():
    x, weight, bias = (each.requires_grad_() for each in inputs(700, 24))
    layer_norm(x, weight, bias).square().sum().backward()
    wanted = [each.detach().clone().requires_grad_() for each in (x, weight, bias)]
    F.layer_norm(wanted[0], (24,), *wanted[1:]).square().sum().backward()
    for ours, theirs in zip((x, weight, bias), wanted, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4)


def test_two_runs_give_the_same_gradients_bit_for_bit():
    x, weight, bias = (each.requires_grad_() for each in inputs(100, 33))
    first, second = (
        torch.autograd.grad(layer_norm(x, weight, bias).cos().sum(), (x, weight, bias))
        for _ in range(2)
    )
    assert all(map(torch.equal, first, second))


@pytest.mark.parametrize("shape", [(0, 5), (3, 0)])
def test_of_nothing_it_is_nothing_and_has_gradients(shape):
    x, weight, bias = (each.requires_grad_() for each in inputs(*shape))
    out = layer_norm(x, weight, bias)
    assert out.shape == shape
    out.sum().backward()
    assert not weight.grad.any()


@pytest.mark.parametrize(
    ("x", "weight", "message"),
    [
        (normal(2, 6), normal(5), r"weight has shape \(5,\), x has dim 6"),
        (normal(6, 6).T, normal(6), "x has stride 6 in its last axis"),
        (normal(2, 6), normal(6).half(), "weight has torch.float16, x has"),
        (normal(2, 6), normal(12)[::2], "weight has stride 2 in its last axis"),
        (torch.tensor(1.0), normal(1), "x is a single number"),
    ],
)
def test_it_refuses_what_it_cannot_run_on(x, weight, message):
    with pytest.raises(ValueError, match=message):
        rms_norm(x, weight)


def test_a_bias_must_fit_too():
    with pytest.raises(ValueError, match=r"bias has shape \(4,\), x has dim 6"):
        layer_norm(normal(2, 6), normal(6), normal(4))
