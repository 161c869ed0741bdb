"""Attention on 8-bit floats is attention on what they stand for, but for the sums."""

import math

import pytest
import torch

pytest.importorskip("triton")

from minitransformer.attention import core, masks
from minitransformer.kernels import fp8_attention, int8_attention, launch
from minitransformer.kernels.fp8_attention import FLOAT8, attention, turned
from minitransformer.kernels.tiles import fp8_tile
from tests.kernels.budget import DEVICE, needs_gpu, normal

TYPES = [
    torch.float32,
    *(pytest.param(t, marks=needs_gpu) for t in (torch.float16, torch.bfloat16)),
]


def example(length=50, kv_length=70, heads=4, kv_heads=2, head_dim=32, dtype=None):
    sizes = [(heads, length), (kv_heads, kv_length), (kv_heads, kv_length)]
    return [
        normal(2, h, n, head_dim, seed=i, dtype=dtype or torch.float32)
        for i, (h, n) in enumerate(sizes)
    ]


def stood_for(x, mean, rows):
    """What rounded rows stand for, in float64."""
    whole, scales = int8_attention.rounded(x, mean, rows, FLOAT8)
    each = scales.repeat_interleave(rows, dim=2)[:, :, : x.shape[2], None]
    return whole.double() * each.double()


def on_rounded_inputs(query, key, value, causal):
    """Attention whose inputs and weights are rounded as the kernel rounds them."""
    heads, (kv_heads, kv_len), q_len = query.shape[1], key.shape[1:3], query.shape[2]
    tile = fp8_tile(query.shape[3])
    mean = key.mean(dim=2, dtype=torch.float32)
    q, k = stood_for(query, None, tile.rows), stood_for(key, mean, tile.columns)
    v8, v_scales = turned(value, tile.columns)
    v = v8.double().transpose(2, 3)[:, :, :kv_len] * v_scales.double()[..., None, None]
    k, v = (x.repeat_interleave(heads // kv_heads, dim=1) for x in (k, v))
    s = q @ k.transpose(2, 3) * query.shape[3] ** -0.5
    if causal:
        seen = torch.ones(q_len, kv_len, dtype=torch.bool).tril(kv_len - q_len)
        s = s.masked_fill(~seen.to(s.device), -math.inf)
    peak = torch.full(s.shape[:3], -math.inf, dtype=s.dtype, device=s.device)
    acc, total = torch.zeros_like(q), torch.zeros_like(peak)
    for n in range(0, kv_len, tile.columns):
        part = s[..., n : n + tile.columns]
        new = torch.maximum(peak, part.amax(3))
        shift = new.nan_to_num(neginf=0.0)
        p = (part - shift[..., None]).exp()
        kept = (peak - shift).exp()
        total, peak = total * kept + p.sum(3), new
        p = (256 * p).float().to(FLOAT8).double() / 256
        acc = acc * kept[..., None] + p @ v[:, :, n : n + tile.columns]
    return acc / total.where(total > 0, 1.0)[..., None]


def tolerance(dtype):
    """How far the output may be from that of the definition, as a share of its size.

    A weight near the middle of a step of an eighth may be rounded either way. If its
    score is off by d, so many are: 8 d of them, each by an eighth, which is
    sqrt(8 d) / 8 in the mean square. On a GPU sums of products are kept to 14 bits, and
    d is about 2 ** -9; in the interpreter 2 ** -17.
    """
    d = 2**-17 if launch.INTERPRETED else 2**-9
    return (8 * d) ** 0.5 / 8 + torch.finfo(dtype).eps


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    ("length", "kv_length"), [(50, 70), (70, 50), (1, 40), (64, 64)]
)
def test_it_is_attention_on_the_rounded_numbers(length, kv_length, dtype, causal):
    query, key, value = example(length, kv_length, dtype=dtype)
    out = attention(query, key, value, causal=causal)
    wanted = on_rounded_inputs(query, key, value, causal)
    assert (out - wanted).norm() <= tolerance(dtype) * wanted.norm()


@pytest.mark.parametrize("causal", [False, True])
def test_it_stays_near_exact_attention(causal):
    """Each factor is off by a sixteenth at most, and by 2.6 % in the mean square."""
    query, key, value = example(200, 300, head_dim=32)
    out, lse = attention(query, key, value, causal=causal, return_lse=True)
    wanted, sums = core.attention(
        *(x.double() for x in (query, key, value)),
        mask_mod=masks.causal if causal else None,
        return_lse=True,
    )
    assert (out - wanted).norm() <= 0.0625 * wanted.norm()
    assert (lse - sums).abs().max() <= 0.25


def test_queries_that_see_no_key_get_zeros():
    out, lse = attention(*example(70, 50), causal=True, return_lse=True)
    assert (out[:, :, :20] == 0).all() and (lse[:, :, :20] == -math.inf).all()
    assert lse[:, :, 20:].isfinite().all()


def test_values_are_rounded_to_the_nearest_and_turned():
    value = torch.zeros(1, 2, 5, 16, device=DEVICE)
    value[0, 0, 1, 3], value[0, 0, 4, 2], value[0, 1, 0, 0] = 448.0, -17.2, 1.0
    rounded, scales = turned(value, 32)
    assert rounded.shape == (1, 2, 16, 32)
    assert scales[0].tolist() == pytest.approx([1.0, 1 / 448])
    assert rounded[0, 0, 3, 1] == 448 and rounded[0, 0, 2, 4] == -18
    assert rounded[0, 1, 0, 0] == 448 and rounded.float().abs().sum() == 448 + 18 + 448


def test_all_numbers_are_rounded_as_torch_rounds_them():
    x = torch.cat([normal(1, 1, 32, 16) * 2.0**-k for k in range(12)], dim=2)
    x[0, 0, 0, 0] = 448.0
    x8, scales = int8_attention.rounded(x, None, 512, FLOAT8)
    assert scales.tolist() == [[[1.0]]]
    assert torch.equal(x8.float(), x.to(FLOAT8).float())


def test_a_gradient_is_refused():
    query, key, value = (x.requires_grad_() for x in example(5, 5))
    with pytest.raises(ValueError, match="query needs a gradient, fp8 attention has"):
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
        ({"scale": -1.0}, "scale is -1.0, needs to be above 0"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    inputs = dict(zip(("query", "key", "value"), example(5, 5), strict=True))
    for name, x in change.items():
        inputs[name] = torch.ones(x, device=DEVICE) if isinstance(x, tuple) else x
    with pytest.raises(ValueError, match=message):
        attention(**inputs)


def test_a_gpu_without_float8_is_named(monkeypatch):
    monkeypatch.setattr(fp8_attention, "INTERPRETED", False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "an A100")
    with pytest.raises(ValueError, match="query is on an A100, needs a GPU with float"):
        attention(*example(5, 5))


@pytest.mark.gpu
@pytest.mark.skipif(launch.INTERPRETED, reason="needs a GPU")
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("head_dim", [64, 128, 256])
def test_on_a_gpu_it_is_as_good(head_dim, dtype, causal):
    inputs = example(1000, 1500, head_dim=head_dim, dtype=dtype)
    wanted = on_rounded_inputs(*inputs, causal)
    out = attention(*inputs, causal=causal)
    assert (out - wanted).norm() <= tolerance(dtype) * wanted.norm()
