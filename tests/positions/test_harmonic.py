from functools import partial

import numpy as np
import pytest
import torch

from minitransformer.attention import masks
from minitransformer.attention.core import attention
from minitransformer.positions import bias, harmonic, rotary
from minitransformer.testing import Shape, example

EXACT = {"rtol": 0, "atol": 1e-12}
CAUSAL = partial(attention, mask_mod=masks.causal)
FREQS, NONE = rotary.frequencies(8), torch.zeros(4, dtype=torch.float64)
INPUTS = example(Shape(2, 4, 2, 6, 6))


def test_slopes_are_the_harmonic_series():
    assert harmonic.harmonic_slopes(4).tolist() == [1, 1 / 2, 1 / 3, 1 / 4]
    with pytest.raises(ValueError, match="num_heads is 0, needs at least 1"):
        harmonic.harmonic_slopes(0)


def test_without_slopes_it_is_rope_and_without_turns_alibi():
    slopes = bias.alibi_slopes(4)
    turned = harmonic.rotary_with_bias(CAUSAL, FREQS, slopes * 0)
    wanted = rotary.with_rotary(CAUSAL, FREQS)
    torch.testing.assert_close(turned(*INPUTS), wanted(*INPUTS), **EXACT)
    bent = harmonic.rotary_with_bias(CAUSAL, NONE, slopes)
    wanted = partial(CAUSAL, score_mod=bias.alibi(slopes))
    torch.testing.assert_close(bent(*INPUTS), wanted(*INPUTS), **EXACT)


def test_the_weight_is_the_rotary_weight_times_a_prior_on_the_distance():
    query, key, _ = example(Shape(1, 2, 2, 5, 5))
    eye = torch.eye(5, dtype=torch.float64).expand(1, 2, 5, 5)  # values: the weights
    slopes = harmonic.harmonic_slopes(2)
    together = harmonic.rotary_with_bias(CAUSAL, FREQS, slopes)(query, key, eye)
    turned = rotary.with_rotary(CAUSAL, FREQS)(query, key, eye)
    places = torch.arange(5)
    prior = torch.exp(-slopes.view(2, 1, 1) * (places[:, None] - places).abs())
    wanted = turned * prior
    wanted = wanted / wanted.sum(dim=-1, keepdim=True)
    torch.testing.assert_close(together, wanted, **EXACT)


def test_positions_are_data():
    query, key, value = INPUTS
    attend = harmonic.rotary_with_bias(CAUSAL, FREQS, harmonic.harmonic_slopes(4))
    pos = torch.arange(100, 106)
    moved = attend(query, key, value, q_pos=pos, kv_pos=pos)
    torch.testing.assert_close(moved, attend(query, key, value), rtol=0, atol=1e-11)
    last = attend(query[:, :, 5:], key, value, q_pos=pos[5:], kv_pos=pos)
    torch.testing.assert_close(last, moved[:, :, 5:], **EXACT)


def test_the_factor_divides_by_one_more_than_the_distance():
    got = harmonic.harmonic_factor(np.full(4, 12.0), 0, 0, 3, np.arange(4))
    np.testing.assert_allclose(got, [3, 4, 6, 12])


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_the_sum_grows_by_one_over_the_distance_and_then_stops(kind):
    mod = harmonic.harmonic_sum(kind([2.0, 1.0]), max_distance=3)
    got = mod(kind(np.zeros(6)), 0, 0, kind(5), kind(np.arange(6)))
    end = 2 * (1 + 1 / 2 + 1 / 3)
    np.testing.assert_allclose(np.asarray(got), [-end, -end, -end, -3, -2, 0])
