"""Intensities are counted right, and nothing is faster than both ceilings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.kernels.roofline import Device, Work, attention_work, matmul_work

SMALL = st.integers(1, 40)
DEVICE = Device(product=100.0, copy=10.0)


def test_a_small_product_by_hand():
    work = matmul_work(2, 3, 4, itemsize=2)
    assert work == Work(operations=48, bytes=2 * (8 + 12 + 6))
    assert work.intensity == pytest.approx(48 / 52)


def test_attention_by_hand():
    # 2 heads, 3 queries, 5 keys of 4 numbers: 30 scores, each 4 * 4 operations
    work = attention_work(1, 2, 3, 5, 4, kv_heads=1, itemsize=2)
    assert work == Work(operations=480, bytes=2 * 4 * (2 * 2 * 3 + 2 * 5))


@given(SMALL, SMALL)
def test_a_causal_mask_is_counted_score_by_score(q_len, kv_len):
    seen = sum(max(0, i + kv_len - q_len + 1) for i in range(q_len))
    work = attention_work(1, 1, q_len, kv_len, 1, causal=True)
    assert work.operations == 4 * seen


@given(st.integers(1, 64), st.sampled_from([1, 2, 4, 8]))
def test_decoding_many_sequences_is_no_more_intense_than_one(batch, group):
    one = attention_work(1, 8, 1, 4096, 128, kv_heads=8 // group)
    many = attention_work(batch, 8, 1, 4096, 128, kv_heads=8 // group)
    assert many.intensity == pytest.approx(one.intensity)
    assert one.intensity < group  # the limit of long sequences, in two bytes


def test_the_ceilings_meet_at_the_ridge():
    assert DEVICE.ridge == 10
    assert DEVICE.attainable(Work(5.0, 1.0)) == 50
    assert DEVICE.attainable(Work(10.0, 1.0)) == 100
    assert DEVICE.attainable(Work(20.0, 1.0)) == 100


@given(st.floats(1e-3, 1e6), st.floats(1e-3, 1e6))
def test_time_is_that_of_the_slower_of_both(operations, count):
    slower = max(operations / 100, count / 10)
    assert DEVICE.seconds(Work(operations, count)) == pytest.approx(slower)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: matmul_work(0, 1, 1), "m is 0, needs at least 1"),
        (lambda: attention_work(1, 1, 1, 0, 8), "kv_len is 0, needs at least 1"),
        (
            lambda: attention_work(1, 8, 1, 1, 8, kv_heads=3),
            "kv_heads is 3, which does not divide 8",
        ),
    ],
)
def test_impossible_sizes_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
