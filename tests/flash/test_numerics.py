"""Rounded attention is its definition, drifts as derived, and else is exact."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minitransformer.attention.core import attention
from minitransformer.attention.masks import causal
from minitransformer.flash import numerics
from minitransformer.flash.numerics import Precision, rounded_attention
from minitransformer.flash.rounding import round_to
from minitransformer.testing import check_attend, example

EXACT, BF16 = Precision.everywhere("fp64"), Precision.everywhere("bf16")
KERNEL = Precision.kernel("bf16")
WIDE_STATE = Precision("bf16", "bf16", "fp32", "bf16")


def inputs(length, keys, dim=16, heads=1, seed=0):
    rng = np.random.default_rng(seed)
    shapes = [(1, heads, n, dim) for n in (length, keys, keys)]
    return [torch.tensor(round_to(rng.standard_normal(s), "bf16")) for s in shapes]


def mean_error(precision, block, arrays):
    out = rounded_attention(*arrays, precision=precision, block=block)
    return numerics.deviation(out.numpy(), attention(*arrays).numpy()).mean


@pytest.mark.parametrize("beta", [None, 2.0])
@pytest.mark.parametrize("block", [None, 2, 64])
def test_without_rounding_it_is_attention(block, beta):
    bound = {"precision": EXACT, "block": block, "beta": beta}
    check_attend(partial(rounded_attention, **bound), like=attention)
    check_attend(
        partial(rounded_attention, mask_mod=causal, **bound),
        like=partial(attention, mask_mod=causal),
    )


@pytest.mark.parametrize("block", [None, 1, 7, 16, 100])
@pytest.mark.parametrize("beta", [None, 2.0])
@pytest.mark.parametrize(
    "precision",
    [
        BF16,
        KERNEL,
        WIDE_STATE,
        Precision("fp16", "e4m3fn", "fp32", "bf16"),
        Precision("bf16", "fp32", "fp16", "fp32"),
    ],
)
def test_it_is_the_definition_rounding_by_rounding(precision, block, beta):
    q, k, v = inputs(6, 40)
    k[:, :, 20:] = k[:, :, :20]  # every maximum twice
    options = {"precision": precision, "block": block, "beta": beta}
    got = rounded_attention(q, k, v, **options)[0, 0].numpy()
    arrays = [x[0, 0].numpy() for x in (q, k, v)]
    assert np.array_equal(got, numerics.naive_rounded_attention(*arrays, **options))


def test_two_keys_in_bf16_by_hand():
    # scores 1 and 0 (E = 1); exp(-1) = 0.36788 -> 0.3671875, the sum -> 1.3671875
    q, k, v = (np.array(x)[:, None] for x in ([1.0], [1.0, 0.0], [1.0, 3.0]))
    flash = numerics.naive_rounded_attention(q, k, v, precision=BF16, block=2)
    # the sum of P is 1.3671875, P v = 1 + 3 * 0.3671875 = 2.1015625 -> 2.09375
    assert flash[0, 0] == round_to(2.09375 / 1.3671875, "bf16") == 1.53125
    base = numerics.naive_rounded_attention(q, k, v, precision=BF16)
    # weights 0.73143 -> 0.73046875 and 0.26857 -> 0.268554688
    assert base[0, 0] == round_to(0.73046875 + 3 * 0.2685546875, "bf16") == 1.5390625


def test_ones_added_in_bf16_stop_at_256():
    n = 600
    q, k, v = torch.zeros(1, 1, 1, 4), torch.zeros(1, 1, n, 4), torch.ones(1, 1, n, 1)
    for block, wanted in ((1, 256), (2, 512), (n, 600)):
        _, lse = rounded_attention(
            q, k, v, precision=BF16, block=block, return_lse=True
        )
        assert lse.exp().item() == pytest.approx(wanted)


def test_small_blocks_drift_more_and_a_wide_state_mends_it():
    arrays = inputs(32, 1024, heads=4)
    base = mean_error(BF16, None, arrays)
    flash = [mean_error(BF16, block, arrays) for block in (16, 64, 1024)]
    assert flash[0] > 1.2 * flash[1] > 1.2 * flash[2]
    assert flash[0] > 2 * base
    assert abs(flash[2] / base - 1) < 0.3  # one block: another order of division only
    assert mean_error(WIDE_STATE, 16, arrays) < base
    assert mean_error(KERNEL, 16, arrays) < 0.6 * base


def test_fp16_is_closer_than_bf16():
    arrays = inputs(32, 256, heads=2)
    fp16 = mean_error(Precision.everywhere("fp16"), 16, arrays)
    assert fp16 < 0.25 * mean_error(BF16, 16, arrays)  # three more bits: about 1/8


@given(st.integers(0, 10**6), st.sampled_from([None, 1, 3, 8]), st.floats(1.5, 8))
@settings(max_examples=30, deadline=None)
def test_the_shift_changes_nothing_in_exact_arithmetic(seed, block, beta):
    q, k, v = inputs(4, 8, dim=4, seed=seed)
    k[:, :, 4:] = k[:, :, :4]
    options = {"precision": EXACT, "block": block, "return_lse": True}
    plain = rounded_attention(q, k, v, **options)
    moved = rounded_attention(q, k, v, beta=beta, **options)
    for a, b in zip(plain, moved, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ([3.0, 3.0, 1.0], 6.0),
        ([3.0, 2.9995, 1.0], 6.0),
        ([3.0, 2.998, 1.0], 3.0),  # not tied
        ([-3.0, -3.0, -9.0], 0.0),
        ([0.0, 0.0, -1.0], 0.0),  # stays: the exponential is still 1
        ([-1.0, -2.0, -3.0], -1.0),
        ([-np.inf, -np.inf, -np.inf], -np.inf),
        ([4.0, -np.inf, 4.0], 8.0),
    ],
)
def test_only_tied_maxima_are_moved(row, wanted):
    assert numerics.shift(torch.tensor([row]), 2.0).tolist() == [[wanted]]
    assert numerics.shift(torch.tensor([row]), None).item() == max(row)
    if np.isfinite(row).all():
        assert numerics.naive_shift(np.array(row), 2.0) == wanted


def tied_rows(count, rng, size=1 / 512):
    """Two keys at the maximum, one small: scores [rows, 3], values in [-4, -2)."""
    scores = np.tile([2.0, 2.0, 2.0 + np.log(size)], (count, 1))
    return scores, -round_to(rng.uniform(2, 4, (count, 3)), "bf16")


def errors(scores, values, beta):
    """Rounded minus exact output of attention rows with given scores."""
    m = numerics.shift(torch.tensor(scores), beta).numpy()
    p = round_to(np.exp(scores - m), "bf16")
    o = round_to((p * values).sum(axis=1), "bf16") / p.sum(axis=1)
    return o - (p * values).sum(axis=1) / p.sum(axis=1)


def test_tied_maxima_bias_the_rounding_and_the_shift_removes_the_bias():
    scores, values = tied_rows(40_000, np.random.default_rng(1))
    for beta, biased in ((None, True), (2.0, False)):
        error = errors(scores, values, beta)
        sem = error.std() / np.sqrt(len(error))
        assert (abs(error.mean()) > 50 * sem) == biased
        assert biased or abs(error.mean()) < 5 * sem
    # half of the sums are ties, each rounded away by 2**-6, over l = 2; the tail takes
    # back its own size in all rows
    wanted = -(2**-6 / 2 - 3 / 512) / (2 + 1 / 512)
    error = errors(scores, values, None)
    assert abs(error.mean() - wanted) < 5 * error.std() / np.sqrt(len(error))


def test_a_tail_of_nothing_does_not_bias():
    scores, values = tied_rows(40_000, np.random.default_rng(2))
    scores[:, 2] = -np.inf
    error = errors(scores, values, None)
    assert abs(error.mean()) < 5 * error.std() / np.sqrt(len(error))


def test_a_shift_too_great_leaves_nothing():
    scores = torch.tensor([[[[60.0]]]])  # E = 1: the score is query times key
    args = scores, torch.ones(1, 1, 2, 1), torch.ones(1, 1, 2, 1)
    fine = rounded_attention(*args, precision=KERNEL, block=2, beta=2.0)
    assert fine.item() == pytest.approx(1, rel=2**-8)
    gone = rounded_attention(*args, precision=KERNEL, block=2, beta=8.0)
    assert gone.isnan().item()


def test_the_derivative_goes_straight_through():
    q, k, v = (x.requires_grad_() for x in inputs(3, 5, dim=4))
    exact = torch.autograd.grad(attention(q, k, v).sum(), (q, k, v))
    for block in (None, 2):
        out = rounded_attention(q, k, v, precision=KERNEL, block=block)
        grads = torch.autograd.grad(out.sum(), (q, k, v))
        for got, wanted in zip(grads, exact, strict=True):
            assert got.abs().max() > 0
            torch.testing.assert_close(got, wanted, rtol=0.1, atol=0.02)
    x = torch.tensor([1.001], dtype=torch.float64, requires_grad=True)
    y = numerics.round_straight_through(x, "bf16")
    assert y.item() == 1.0 and torch.autograd.grad(y * 3, x)[0].item() == 3.0


@pytest.mark.parametrize("block", [None, 2])
def test_without_rounding_gradients_are_right(block):
    arrays = [x.requires_grad_() for x in inputs(3, 5, dim=2)]
    run = partial(rounded_attention, precision=EXACT, block=block, beta=2.0)
    assert torch.autograd.gradcheck(run, arrays)


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_the_wasserstein_distance_bounds_the_mean_from_below(seed):
    rng = np.random.default_rng(seed)
    first = [rng.standard_normal((3, 4)), rng.standard_normal(5)]
    second = [x + 0.3 * rng.standard_normal(x.shape) for x in first]
    got = numerics.weight_deviation(first, second)
    rounding = 17 * np.finfo(float).eps  # two sums of 17 numbers, in another order
    assert 0 < got.wasserstein <= got.mean * (1 + rounding) <= got.max


def test_the_wasserstein_distance_is_scipys_and_blind_to_order():
    from scipy.stats import wasserstein_distance

    rng = np.random.default_rng(3)
    a, b = rng.standard_normal(50), rng.standard_normal(50) * 1.2 + 0.1
    got = numerics.weight_deviation([a], [b])
    assert got.wasserstein == pytest.approx(wasserstein_distance(a, b), rel=1e-12)
    turned = numerics.weight_deviation([a], [a[::-1].copy()])
    assert turned.wasserstein == 0 < turned.mean
    apart = numerics.weight_deviation([a, b], [a, b + 1])
    assert apart == pytest.approx((1.0, 0.5, 0.5))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: rounded_attention(*a, precision=BF16, block=0), "block is 0, needs"),
        (
            lambda a: rounded_attention(*a, precision=BF16, beta=1.0),
            "beta is 1.0, needs",
        ),
        (
            lambda a: Precision("bf16", "bf17", "fp32", "bf16"),
            "weights is 'bf17', needs",
        ),
        (lambda a: numerics.deviation(np.ones(2), np.ones(3)), "got has shape"),
        (lambda a: numerics.weight_deviation([np.ones(2)], []), "second has shapes"),
        (lambda a: numerics.weight_deviation([], []), "second has shapes"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(example((1, 1, 1, 2, 2)))
