"""The formulas of positions beside those of ``transformers``, which is in wide use."""

import math

import pytest
import torch

from minitransformer.positions import bias, rotary

pytest.importorskip("transformers")
from transformers import GPTJConfig, GPTNeoXConfig, LlamaConfig, T5Config
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.bloom import modeling_bloom
from transformers.models.gpt_neox import modeling_gpt_neox
from transformers.models.gptj import modeling_gptj
from transformers.models.llama import modeling_llama
from transformers.models.t5 import modeling_t5

POS = torch.tensor([[0, 1, 2, 50, 1000], [3, 4, 900, 6, 1023]])
# Their frequencies and angles are float32: an angle of 1,023 is off by 2^-14, and
# vectors have numbers up to about 4.
CLOSE = {"rtol": 0, "atol": 1e-3}
RELATIVE = {"rtol": 1e-6, "atol": 0}  # of a float32 power and a few products


def inputs():
    """A query [2, 4, 5, 16] and a key [2, 2, 5, 16]."""
    drawn = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, heads, 5, 16, generator=drawn) for heads in (4, 2))


def llama(**scaling):
    """A configuration with heads of 16 numbers, trained to length 1,024."""
    parameters = {"rope_type": "default", "rope_theta": 500.0, **scaling}
    return LlamaConfig(
        hidden_size=64,
        num_attention_heads=4,
        max_position_embeddings=1024,
        rope_parameters=parameters,
    )


def test_tables_and_outputs_are_those_of_llama():
    query, key = inputs()
    made = modeling_llama.LlamaRotaryEmbedding(llama())
    freqs = rotary.frequencies(16, base=500.0)
    torch.testing.assert_close(made.inv_freq.double(), freqs, **RELATIVE)
    theirs = modeling_llama.apply_rotary_pos_emb(query, key, *made(query, POS))
    for x, wanted in zip((query, key), theirs, strict=True):
        torch.testing.assert_close(rotary.rotate(x, POS, freqs), wanted, **CLOSE)


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_partial_rotation_is_that_of_gpt_neox(share):
    query, key = inputs()
    config = GPTNeoXConfig(
        hidden_size=64,
        num_attention_heads=4,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 1e4,
            "partial_rotary_factor": share,
        },
    )
    made = modeling_gpt_neox.GPTNeoXRotaryEmbedding(config)
    freqs = rotary.frequencies(int(16 * share))
    torch.testing.assert_close(made.inv_freq.double(), freqs, **RELATIVE)
    theirs = modeling_gpt_neox.apply_rotary_pos_emb(query, key, *made(query, POS))
    for x, wanted in zip((query, key), theirs, strict=True):
        torch.testing.assert_close(rotary.rotate(x, POS, freqs), wanted, **CLOSE)


def test_the_interleaved_layout_is_that_of_gpt_j():
    query, _ = inputs()
    config = GPTJConfig(n_embd=64, n_head=4, rotary_dim=16, n_positions=1024)
    table = modeling_gptj.create_sinusoidal_positions(1024, config.rotary_dim)
    sin, cos = table[POS].chunk(2, dim=-1)
    theirs = modeling_gptj.apply_rotary_pos_emb(query.transpose(1, 2), sin, cos)
    got = rotary.rotate(query, POS, rotary.frequencies(16), layout="interleaved")
    torch.testing.assert_close(got, theirs.transpose(1, 2), **CLOSE)


@pytest.mark.parametrize("factor", [1.0, 2.0, 8.0])
def test_stretched_frequencies_are_theirs(factor):
    linear, _ = ROPE_INIT_FUNCTIONS["linear"](llama(rope_type="linear", factor=factor))
    freqs = rotary.frequencies(16, base=500.0)
    ours = rotary.interpolate(freqs, factor)
    torch.testing.assert_close(linear.double(), ours, **RELATIVE)


@pytest.mark.parametrize("length", [100, 1024, 1500, 8192])
@pytest.mark.parametrize("factor", [1.0, 4.0])
def test_dynamic_ntk_is_ours_with_the_stretch_of_the_length(length, factor):
    config = llama(rope_type="dynamic", factor=factor)
    theirs, _ = ROPE_INIT_FUNCTIONS["dynamic"](config, seq_len=length)
    stretch = factor * max(length, 1024) / 1024 - (factor - 1)
    ours = rotary.ntk_aware(16, stretch, base=500.0)
    torch.testing.assert_close(theirs.double(), ours, **RELATIVE)


@pytest.mark.parametrize("size", [16, 64, 128])
@pytest.mark.parametrize("factor", [1.0, 4.0, 32.0])
@pytest.mark.parametrize(("fast", "slow"), [(32, 1), (8, 2)])
def test_yarn_has_their_frequencies_and_temperature(size, factor, fast, slow):
    config = llama(
        rope_type="yarn",
        factor=factor,
        beta_fast=fast,
        beta_slow=slow,
        original_max_position_embeddings=1024,
    )
    config.head_dim = size
    theirs, temperature = ROPE_INIT_FUNCTIONS["yarn"](config)
    ours = rotary.yarn(
        size, factor, train_len=1024, base=500.0, beta_fast=fast, beta_slow=slow
    )
    torch.testing.assert_close(theirs.double(), ours, **RELATIVE)
    assert rotary.yarn_temperature(factor) == pytest.approx(temperature, abs=1e-12)


def test_p_rope_is_their_proportional_rope():
    config = llama(rope_type="proportional", partial_rotary_factor=0.75)
    theirs, _ = ROPE_INIT_FUNCTIONS["proportional"](config)
    ours = rotary.keep_fastest(rotary.frequencies(16, base=500.0), 0.75)
    torch.testing.assert_close(theirs.double(), ours, **RELATIVE)


@pytest.mark.parametrize("heads", [1, 2, 3, 6, 8, 12, 16, 20, 71])
def test_alibi_differs_from_that_of_bloom_by_a_number_a_query_alone(heads):
    mask = torch.ones(1, 9, dtype=torch.long)
    theirs = modeling_bloom.build_alibi_tensor(mask, heads, torch.float32)
    slopes = bias.alibi_slopes(heads)
    torch.testing.assert_close(theirs[:, 0, 1].double(), slopes, **RELATIVE)
    place, head = torch.arange(9), torch.arange(heads).view(-1, 1, 1)
    zeros = torch.zeros(1, heads, 9, 9, dtype=torch.float64)
    ours = bias.alibi(slopes)(zeros, 0, head, place[:, None], place)[0]
    apart = (theirs.double() - ours).tril()  # BLOOM counts keys from the first one
    wanted = (slopes[:, None, None] * place[:, None]).expand(-1, -1, 9).tril()
    torch.testing.assert_close(apart, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize(("buckets", "far"), [(32, 128), (8, 20), (16, 64), (64, 999)])
def test_buckets_are_those_of_t5(buckets, far, both):
    gaps = torch.arange(-2000, 2001)
    made = modeling_t5.T5Attention(T5Config(), has_relative_attention_bias=True)
    theirs = made._relative_position_bucket(
        gaps, bidirectional=both, num_buckets=buckets, max_distance=far
    )
    ours = bias.t5_bucket(
        gaps, num_buckets=buckets, max_distance=far, bidirectional=both
    )
    differ = ours != theirs
    # Their logarithm is float32: where the exact one is whole, it may fall below it.
    side = buckets // 2 if both else buckets
    exact = side // 2
    share = (gaps[differ].abs() / exact).log() / math.log(far / exact)
    steps = share.double() * (side - exact)
    assert (steps - steps.round()).abs().lt(1e-5).all()
    assert differ.sum() <= 2
