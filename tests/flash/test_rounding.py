"""Rounding agrees with the definition, with PyTorch's casts, and with the standard."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minitransformer.flash import rounding
from minitransformer.flash.rounding import FORMATS, decode, naive_round, round_to

DTYPES = {
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "e4m3fn": torch.float8_e4m3fn,
    "e5m2": torch.float8_e5m2,
}
SATURATES = {
    name: bool(torch.tensor(3.4028e38).to(dtype).float().isfinite())
    for name, dtype in DTYPES.items()
}  # whether this version of PyTorch does: e4m3fn gave NaN in earlier ones


def all_float32_exponents():
    """float32 numbers with every exponent, and mantissas at and around every tie."""
    rng = np.random.default_rng(0)
    bit = np.uint32(1) << np.arange(23, dtype=np.uint32)
    top = np.uint32(2**23)
    mantissas = [rng.integers(0, 2**23, 200).astype(np.uint32), bit, bit - 1, bit + 1]
    mantissas += [top - bit, (3 * bit) % top, (3 * bit - 1) % top, (3 * bit + 1) % top]
    exponents = np.arange(256, dtype=np.uint32) << 23
    bits = (exponents[:, None] | np.unique(np.concatenate(mantissas) % top)).ravel()
    return np.concatenate([bits, bits | np.uint32(2**31)]).view(np.float32)


def same(got, wanted):
    """Equal with their signs, where NaN equals NaN."""
    nan = np.isnan(got) & np.isnan(wanted)
    return np.all(nan | ((got == wanted) & (np.signbit(got) == np.signbit(wanted))))


def patterns(fmt):
    form = FORMATS[fmt]
    return np.arange(2 ** (1 + form.exponent + form.mantissa))


def to_float64(x):
    with warnings.catch_warnings():  # signaling NaN become quiet
        warnings.simplefilter("ignore")
        return x.astype(np.float64)


@pytest.mark.parametrize("fmt", DTYPES)
def test_rounding_is_torchs_cast_for_every_float32_exponent(fmt):
    x = all_float32_exponents()
    cast = torch.from_numpy(x).to(DTYPES[fmt]).double().numpy()
    assert same(round_to(to_float64(x), fmt, saturate=SATURATES[fmt]), cast)


@pytest.mark.parametrize("fmt", DTYPES)
def test_every_pattern_decodes_as_torch_reads_it_and_rounds_to_itself(fmt):
    bits = patterns(fmt)
    stored = bits.astype(np.uint16 if len(bits) == 2**16 else np.uint8)
    values = torch.from_numpy(stored).view(DTYPES[fmt]).double().numpy()
    assert same(decode(bits, fmt), values)
    assert same(round_to(values, fmt), values)


@pytest.mark.parametrize("fmt", DTYPES)
def test_halfway_between_two_neighbors_the_even_pattern_wins(fmt):
    form = FORMATS[fmt]
    values = decode(np.arange(2 ** (form.exponent + form.mantissa)), fmt)
    values = values[np.isfinite(values)]
    halfway = (values[1:] + values[:-1]) / 2
    even = values[(np.arange(len(halfway)) + 1) // 2 * 2]
    assert same(round_to(halfway, fmt), even)
    assert same(round_to(np.nextafter(halfway, np.inf), fmt), values[1:])
    assert same(round_to(np.nextafter(halfway, 0.0), fmt), values[:-1])
    assert same(round_to(-halfway, fmt), -even)


@pytest.mark.parametrize("saturate", [False, True])
@pytest.mark.parametrize("fmt", DTYPES)
def test_rounding_finds_the_nearest_of_all_values(fmt, saturate):
    rng = np.random.default_rng(1)
    form = FORMATS[fmt]
    reach = rng.uniform(form.least - form.mantissa - 3, form.bias + 3, 3000)
    x = np.concatenate([2.0**reach, -(2.0**reach), [0.0, -0.0, np.inf, np.nan, 1e300]])
    x = np.append(x, form.greatest * np.array([1, 1.01, 1.03, 1.0625, 1.07, 1.2, -2]))
    wanted = naive_round(x, fmt, saturate=saturate)
    assert same(round_to(x, fmt, saturate=saturate), wanted)


@pytest.mark.parametrize(
    ("fmt", "number", "wanted"),
    [
        ("bf16", 1 + 2**-8, 1.0),  # a tie, to the even mantissa
        ("bf16", 1 + 3 * 2**-8, 1 + 2**-6),
        ("bf16", -(1 + 2**-8 + 2**-40), -(1 + 2**-7)),
        ("bf16", 2.0**-134, 0.0),  # half of the least subnormal
        ("bf16", 2.0**-134 * 1.001, 2.0**-133),
        ("fp16", 65519.99, 65504.0),
        ("fp16", 65520.0, np.inf),
        ("e4m3fn", 464.0, 448.0),
        ("e4m3fn", 464.1, np.nan),
        ("e4m3fn", np.inf, np.nan),
        ("e5m2", 61440.0, np.inf),
        ("e5m2", 61439.0, 57344.0),
        ("fp32", 2.0**24 + 1, 2.0**24),
        ("fp64", 0.1, 0.1),
    ],
)
def test_cases_worked_out_by_hand(fmt, number, wanted):
    assert same(round_to(np.array([number]), fmt), np.array([wanted]))
    assert round_to(number, fmt).shape == ()


@pytest.mark.parametrize(
    ("fmt", "greatest", "least_normal", "least"),
    [
        ("fp16", 65504.0, 2.0**-14, 2.0**-24),
        ("e4m3fn", 448.0, 2.0**-6, 2.0**-9),
        ("e5m2", 57344.0, 2.0**-14, 2.0**-16),
        ("bf16", float(torch.finfo(torch.bfloat16).max), 2.0**-126, 2.0**-133),
    ],
)
def test_the_ends_of_each_format_are_those_of_its_standard(
    fmt, greatest, least_normal, least
):
    form = FORMATS[fmt]
    assert form.greatest == greatest
    assert 2.0**form.least == least_normal
    assert decode(1, fmt) == least
    assert round_to(1e300, fmt, saturate=True) == greatest


def test_a_number_is_rounded_once_and_not_by_way_of_float32():
    number = 1 + 2.0**-8 + 2.0**-30  # just above a tie that float32 falls into
    assert round_to(number, "bf16") == 1 + 2.0**-7
    assert round_to(round_to(number, "fp32"), "bf16") == 1.0


def test_fp32_is_numpys_float32():
    x = np.random.default_rng(2).standard_normal(1000) * 10.0 ** np.arange(-50, 50, 0.1)
    with np.errstate(over="ignore", under="ignore"):
        assert same(round_to(x, "fp32"), x.astype(np.float32).astype(np.float64))


@given(st.floats(), st.floats(), st.sampled_from(list(FORMATS)))
@settings(max_examples=300, deadline=None)
def test_rounding_keeps_order_and_sign_and_does_nothing_twice(x, y, fmt):
    a, b = round_to(np.array([x, y]), fmt, saturate=True)
    assert not x <= y or a <= b
    assert np.isnan(x) or same(round_to(-x, fmt, saturate=True), -a)
    assert same(round_to(a, fmt), a)


@pytest.mark.parametrize("fmt", FORMATS)
def test_the_error_is_at_most_half_a_step(fmt):
    form = FORMATS[fmt]
    x = np.random.default_rng(3).uniform(1, 2, 10_000)
    error = np.abs(round_to(x, fmt) - x)
    half = 2.0 ** -(form.mantissa + 1)
    assert 0.99 * half < error.max() <= half


@pytest.mark.parametrize("fmt", FORMATS)
def test_stochastic_rounding_takes_a_neighbor_and_is_right_on_average(fmt):
    form, rng = FORMATS[fmt], np.random.default_rng(4)
    step = 2.0**-form.mantissa
    for exact in (1 + 0.25 * step, -(1 + 0.75 * step), 0.3 * step * 2.0**form.least):
        if exact == 0 or abs(exact) < 1e-300:
            continue
        quantum = step if abs(exact) >= 1 else step * 2.0**form.least
        drawn = rounding.round_stochastically(np.full(20_000, exact), fmt, rng)
        assert len(np.unique(drawn)) == 2
        assert np.abs(drawn - exact).max() < quantum
        sem = quantum * 0.5 / np.sqrt(len(drawn))
        assert abs(drawn.mean() - exact) < 5 * sem


def test_stochastic_rounding_leaves_values_of_the_format_alone():
    rng = np.random.default_rng(5)
    for fmt in ("e4m3fn", "e5m2", "fp16"):
        values = decode(patterns(fmt), fmt)
        values = values[np.isfinite(values)]
        assert same(rounding.round_stochastically(values, fmt, rng), values)
    x = rng.standard_normal(5)
    assert same(rounding.round_stochastically(x, "fp64", rng), x)
    assert np.isinf(rounding.round_stochastically([1e300], "bf16", rng)[0])


def test_shapes_are_kept_and_empty_input_comes_back():
    assert round_to(np.zeros((2, 0, 3)), "bf16").shape == (2, 0, 3)
    assert round_to([[1.0, 2.0]], "e5m2").shape == (1, 2)
    x = np.asfortranarray(np.random.default_rng(6).standard_normal((3, 4)))
    assert same(round_to(x, "fp16"), x.astype(np.float16).astype(float))


def test_an_unknown_format_is_named():
    with pytest.raises(ValueError, match="fmt is 'fp12', needs one of fp64, fp32"):
        round_to([1.0], "fp12")
    with pytest.raises(ValueError, match="fmt is 'fp12'"):
        decode([1], "fp12")
