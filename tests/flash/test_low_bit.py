"""Four-bit numbers are the nearest there are, and attention survives them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.flash import low_bit
from minitransformer.flash.low_bit import e2m1, fp4_attention, nvfp4, two_level


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def softmax_attention(query, key, value):
    scores = query @ key.T / query.shape[1] ** 0.5
    p = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True) @ value


def apart(got, wanted):
    return np.linalg.norm(got - wanted) / np.linalg.norm(wanted)


def test_four_bits_by_hand():
    given = [0.0, 0.25, 0.26, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 5.1, 100.0, -0.6]
    wanted = [0.0, 0.0, 0.5, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 6.0, 6.0, -0.5]
    assert e2m1(given).tolist() == wanted


def test_what_four_bits_hold_stays():
    held = np.concatenate([low_bit.E2M1, -low_bit.E2M1])
    assert np.array_equal(e2m1(held), held)


def test_a_group_by_hand():
    got = nvfp4([12.0, 2.0, -7.0, 0.4, 3.0, 0.0], group=4)
    # scale 2: 6, 1, -3.5 (tie, even: -4), 0.2 -> 0; then scale 0.5: 6, 0
    assert got.tolist() == [12.0, 2.0, -8.0, 0.0, 3.0, 0.0]


@pytest.mark.parametrize("shape", [(3, 32), (2, 2, 40), (5,), (1, 1), (2, 0), (0, 4)])
@pytest.mark.parametrize("group", [1, 7, 16])
def test_it_is_the_definition(shape, group):
    x = normal(*shape) * 10.0 ** normal(*shape, seed=1)
    got = nvfp4(x, group=group)
    assert got.shape == x.shape
    # a scale times a value, in another order of the same two factors
    assert np.array_equal(got, low_bit.naive_nvfp4(x, group=group))


@given(st.integers(-5, 5), st.integers(0, 100))
def test_a_power_of_two_goes_through(power, seed):
    x = normal(2, 32, seed=seed)  # scales stay far from both ends of e4m3
    scale = 2.0**power
    inside = np.abs(x).reshape(2, 2, 16).max(axis=-1).min() * min(scale, 1) / 6 > 2**-6
    if inside:
        assert np.array_equal(nvfp4(scale * x), scale * nvfp4(x))


def test_it_groups_along_the_axis_that_it_is_given():
    x = normal(20, 6)
    assert np.array_equal(nvfp4(x, axis=0), nvfp4(x.T).T)
    assert not np.array_equal(nvfp4(x, axis=0), nvfp4(x))


def test_zeros_and_the_least_stay_zero():
    assert not nvfp4(np.zeros((2, 16))).any()
    assert not nvfp4(np.full((2, 16), 1e-9)).any()
    assert not two_level(np.zeros((2, 16))).any()


def test_beyond_the_greatest_scale_numbers_saturate():
    assert nvfp4([1e9, -1e9]).tolist() == [low_bit.GREATEST, -low_bit.GREATEST]


def test_an_error_is_bounded_by_the_group():
    x = normal(50, 16)
    # half the widest step, 1 in 6, and the scale off by at most 1 in 16
    most = np.abs(x).max(axis=1, keepdims=True) * (1 / 6 * 17 / 16 + 1 / 16)
    assert (np.abs(nvfp4(x) - x) <= most).all()


def test_two_levels_keep_weights_that_one_drops():
    p = np.full((1, 32), 1e-3)
    p[0, 0] = 1.0
    assert (nvfp4(p)[0, 16:] == 0).all()  # 1e-3 / 6 is below half the least scale
    assert np.allclose(two_level(p)[0, 16:], 1e-3, rtol=1 / 16)


def test_two_levels_do_not_care_for_the_size_of_a_row():
    p = np.exp(normal(4, 40))
    assert np.allclose(two_level(p * 1e-6), two_level(p) * 1e-6, rtol=1e-12)


@pytest.mark.parametrize("smooth_key", [True, False])
@pytest.mark.parametrize("smooth_query", [True, False])
@pytest.mark.parametrize("stretch", [True, False])
def test_it_is_attention_if_nothing_is_rounded(
    smooth_key, smooth_query, stretch, monkeypatch
):
    monkeypatch.setattr(low_bit, "nvfp4", lambda x, **_: np.asarray(x))
    query, key, value = normal(10, 8), normal(7, 8, seed=1), normal(7, 5, seed=2)
    options = {"smooth_key": smooth_key, "smooth_query": smooth_query}
    got = fp4_attention(query, key, value, stretch=stretch, block=4, **options)
    assert np.allclose(got, softmax_attention(query, key, value), rtol=0, atol=1e-13)


def test_a_shared_mean_costs_nothing_once_it_is_taken_off():
    query, key, value = normal(40, 16), normal(48, 16, seed=1), normal(48, 8, seed=2)
    query[:, 3] += 8.0
    key[:, 5] += 20.0
    wanted = softmax_attention(query, key, value)
    smooth = apart(fp4_attention(query, key, value), wanted)
    for option in ("smooth_key", "smooth_query"):
        rough = fp4_attention(query, key, value, **{option: False})
        assert apart(rough, wanted) > 1.2 * smooth, option


def test_heads_are_attended_to_one_by_one():
    query, key, value = normal(2, 3, 9, 8), normal(2, 3, 20, 8), normal(2, 3, 20, 4)
    got = fp4_attention(query, key, value)
    assert got.shape == (2, 3, 9, 4)
    assert np.allclose(got[1, 2], fp4_attention(query[1, 2], key[1, 2], value[1, 2]))


def test_bad_input_is_named():
    x = normal(4, 8)
    with pytest.raises(ValueError, match="group is 0, needs at least 1"):
        nvfp4(x, group=0)
    with pytest.raises(ValueError, match="x has no axis"):
        nvfp4(1.0)
    with pytest.raises(ValueError, match="query has dim 8, key has 7"):
        fp4_attention(x, x[:, :7], x)
    with pytest.raises(ValueError, match="value has length 3, key has 4"):
        fp4_attention(x, x, x[:3])
    with pytest.raises(ValueError, match="value has length 0, key has 0"):
        fp4_attention(x, x[:0], x[:0])
    with pytest.raises(ValueError, match="block is 0, needs at least 1"):
        fp4_attention(x, x, x, block=0)
