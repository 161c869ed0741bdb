import math
from functools import partial

import numpy as np
import pytest
import torch

from minitransformer.attention import masks
from minitransformer.attention.core import attention
from minitransformer.positions.token_phase import naive_score, with_token_phase
from minitransformer.testing import Shape, check_attend, example

EXACT = {"rtol": 0, "atol": 1e-12}
CAUSAL = partial(attention, mask_mod=masks.causal)


def test_a_score_by_hand():
    query, key = np.array([1.0, 1, 0.5, 0.5]), np.array([3.0, 1, 0.5, 0.5])
    amplitude, phase = 4 / math.sqrt(2), 0.5 / math.sqrt(2)
    wanted = amplitude * math.cos(2 * math.pi * 9**0.5 * phase)
    assert naive_score(query, key, 9, alpha=0.5) == pytest.approx(wanted)
    assert naive_score(query, key, 0) == pytest.approx(amplitude)
    assert naive_score(query, key, 9, theta=1.0) == pytest.approx(2.25)


@pytest.mark.parametrize("theta", [0.25, 0.5, 1.0])
def test_it_is_the_definition(theta):
    query, key, _ = example(Shape(1, 4, 2, 3, 5))
    eye = torch.eye(5, dtype=torch.float64).expand(1, 2, 5, 5)  # values: the weights
    weights = with_token_phase(attention, alpha=0.3, theta=theta)(query, key, eye)
    for h, i in np.ndindex(4, 3):
        row = [
            naive_score(
                query[0, h, i].numpy(),
                key[0, h // 2, j].numpy(),
                abs(2 + i - j),
                alpha=0.3,
                theta=theta,
            )
            for j in range(5)
        ]
        wanted = torch.tensor(row, dtype=torch.float64).softmax(0)
        torch.testing.assert_close(weights[0, h, i], wanted, **EXACT)


def test_without_phases_it_is_attention_by_the_amplitudes():
    query, key, value = example(Shape(2, 4, 2, 5, 5))
    query[..., 4:] = 0
    wanted = CAUSAL(query[..., :4], key[..., :4], value)
    got = with_token_phase(CAUSAL)(query, key, value)
    torch.testing.assert_close(got, wanted, **EXACT)


def test_scores_depend_on_the_distance_alone():
    query, key, value = example(Shape(1, 2, 2, 4, 4))
    attend, pos = with_token_phase(attention), torch.tensor([3, 0, 9, 4])
    near = attend(query, key, value, q_pos=pos, kv_pos=pos)
    far = attend(query, key, value, q_pos=pos + 1000, kv_pos=pos + 1000)
    torch.testing.assert_close(near, far, **EXACT)


def test_it_keeps_the_promises_of_an_attend():
    check_attend(with_token_phase(CAUSAL))


def test_with_rising_distance_the_mean_goes_and_the_spread_stays():
    rng = np.random.default_rng(0)
    query, key = rng.normal(0.5, 1, (2, 4000, 64))
    pairs = list(zip(query, key, strict=True))
    at = {d: [naive_score(q, k, d) for q, k in pairs] for d in (0, 1, 4096)}
    assert np.mean(at[0]) > 1.2  # 32 numbers of mean 1/4 over the root of 32: 1.41
    for distance in (1, 4096):
        # The spread is about 1.3: the mean of 4,000 is known to 0.02.
        assert abs(np.mean(at[distance])) < 0.08
        assert np.std(at[distance]) > 1.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0}, "alpha is 0, needs to be above 0"),
        ({"theta": 0}, "theta is 0, needs a number above 0 and at most 1"),
        ({"theta": 1.2}, "theta is 1.2, needs a number above 0 and at most 1"),
        ({"theta": 0.01}, "theta is 0.01: none of 8 numbers is an amplitude"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        with_token_phase(attention, **options)(*example(Shape(1, 1, 1, 2, 2)))
