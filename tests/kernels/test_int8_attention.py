"""Attention on 8-bit scores is attention, but for their rounding."""

import pytest
import torch

pytest.importorskip("triton")

from minitransformer.attention import core, masks
from minitransformer.kernels import launch
from minitransformer.kernels.int8_attention import attention, rounded

DEVICE = "cpu" if launch.INTERPRETED else "cuda"


def example(length=50, kv_length=70, heads=4, kv_heads=2, head_dim=32, shift=0.0):
    generator = torch.Generator().manual_seed(0)
    sizes = [(heads, length), (kv_heads, kv_length), (kv_heads, kv_length)]
    query, key, value = (
        torch.randn(2, h, n, head_dim, generator=generator).to(DEVICE) for h, n in sizes
    )
    key[..., 3] += shift
    return query, key, value


def bound(query, key, scale):
    """The largest error of a score: half a step on either side, summed over dims."""
    dims = query.shape[3]
    q_step, k_step = (x.abs().max().item() / 127 for x in (query, key))
    q_size, k_size = query.abs().max().item(), key.abs().max().item()
    return scale * dims * (q_size * k_step / 2 + k_size * q_step / 2 + q_step * k_step)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("length", "kv_length"), [(50, 70), (70, 50), (1, 40), (64, 64)]
)
def test_it_errs_no_more_than_its_scores_are_rounded(length, kv_length, causal):
    query, key, value = example(length, kv_length)
    out, lse = attention(query, key, value, causal=causal, return_lse=True)
    wanted, sums = core.attention(
        *(x.double() for x in (query, key, value)),
        mask_mod=masks.causal if causal else None,
        return_lse=True,
    )
    most = bound(query, key - key.mean(dim=2, keepdim=True), 32**-0.5)
    assert torch.equal(lse.isfinite(), sums.isfinite())
    assert (lse - sums).nan_to_num(0).abs().max() <= most
    # weights change by factors between exp(-2 most) and exp(2 most)
    spread = torch.expm1(torch.tensor(2 * most)) * value.abs().max()
    assert (out - wanted).abs().max() <= spread
    assert (out - wanted).norm() <= 0.02 * wanted.norm()


def test_a_mean_that_all_keys_share_costs_nothing_once_it_is_taken_off():
    query, key, value = example(shift=50.0)
    wanted = core.attention(*(x.double() for x in (query, key, value)))
    smooth = attention(query, key, value)
    plain = attention(query, key, value, smooth=False)
    errors = [((x - wanted).norm() / wanted.norm()).item() for x in (smooth, plain)]
    assert errors[0] < 0.02 and errors[1] > 5 * errors[0]


def test_without_smoothing_the_lse_is_right_too():
    query, key, value = example()
    _, lse = attention(query, key, value, return_lse=True, smooth=False)
    _, wanted = core.attention(query, key, value, return_lse=True)
    assert (lse - wanted).abs().max() <= bound(query, key, 32**-0.5)


def test_rounding_is_to_the_nearest_step_with_one_scale_a_block():
    x = torch.zeros(1, 1, 33, 16, device=DEVICE)
    x[0, 0, 0, :4] = torch.tensor([127.0, -127.0, 0.4, 0.6])
    x[0, 0, 32, 0] = 1.0
    whole, scales = rounded(x, None, 32, torch.int8)
    assert scales.flatten().tolist() == pytest.approx([1.0, 1.0 / 127.0])
    assert whole[0, 0, 0, :4].tolist() == [127, -127, 0, 1]
    assert whole[0, 0, 32, 0] == 127


def test_keys_of_zeros_give_the_mean_of_the_values():
    query, key, value = example()
    out = attention(query, torch.zeros_like(key), value)
    mean = value.mean(dim=2, keepdim=True).repeat_interleave(2, dim=1)
    assert torch.allclose(out, mean.expand_as(out), atol=1e-6)


def test_a_gradient_is_refused_unless_none_is_recorded():
    query, key, value = (x.requires_grad_() for x in example(5, 5))
    with pytest.raises(ValueError, match="query needs a gradient, int8 attention has"):
        attention(query, key, value)
    with torch.no_grad():
        attention(query, key, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": (2, 2, 5, 64)}, "key has head_dim 64, query has 32"),
        ({"query": (2, 4, 0, 32)}, r"query has shape \(2, 4, 0, 32\), needs numbers"),
        (
            dict.fromkeys(("query", "key", "value"), (2, 2, 5, 16)),
            "head_dim is 16, .* needs at least 32",
        ),
        ({"scale": 0.0}, "scale is 0.0, needs to be above 0"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    inputs = dict(zip(("query", "key", "value"), example(5, 5), strict=True))
    for name, x in change.items():
        inputs[name] = torch.ones(x, device=DEVICE) if isinstance(x, tuple) else x
    with pytest.raises(ValueError, match=message):
        attention(**inputs)


@pytest.mark.gpu
@pytest.mark.skipif(launch.INTERPRETED, reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("head_dim", [64, 128])
def test_on_a_gpu_it_is_as_good(head_dim, dtype):
    inputs = [x.to(dtype) for x in example(1000, 1500, head_dim=head_dim, shift=20.0)]
    wanted = core.attention(*(x.double() for x in inputs), mask_mod=masks.causal)
    out = attention(*inputs, causal=True)
    assert (out - wanted).norm() <= 0.03 * wanted.norm()
