import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.flash import backward_loops, forward_loops, traffic
from minitransformer.flash.memory import TwoLevelMemory
from minitransformer.flash.traffic import Sizes, Traffic

LENGTHS = [st.integers(1, 12)] * 2
SMALL = [st.integers(1, 4)] * 4
SIZES = st.tuples(*LENGTHS, *SMALL).map(lambda numbers: Sizes(*numbers))
NAMES = ("standard", "flash1", "flash2")


def counted(name, sizes):
    """The numbers that both loops moved, and the closed forms."""
    normal = np.random.default_rng(0).normal
    inputs = (
        normal(size=(sizes.length, sizes.head_dim)),
        normal(size=(sizes.kv_length, sizes.head_dim)),
        normal(size=(sizes.kv_length, sizes.value_dim)),
    )
    grad_out = normal(size=(sizes.length, sizes.value_dim))
    options = {"block_q": sizes.block_q, "block_k": sizes.block_k}
    if sizes.causal:
        options["seen"] = forward_loops.causal(sizes.length, sizes.kv_length)
    forth, back = TwoLevelMemory(), TwoLevelMemory()
    kept = getattr(forward_loops, f"{name}_forward")(*inputs, forth, **options)
    kept = kept[1:] if name == "standard" else kept
    getattr(backward_loops, f"{name}_backward")(
        *inputs, *kept, grad_out, back, **options
    )
    got = [(memory.read / 8, memory.written / 8) for memory in (forth, back)]
    closed = [
        getattr(traffic, f"{name}_{way}")(sizes) for way in ("forward", "backward")
    ]
    return got, closed


@pytest.mark.parametrize("name", NAMES)
@given(sizes=SIZES)
def test_the_closed_form_is_what_was_counted_to_the_number(name, sizes):
    got, closed = counted(name, sizes)
    assert got == closed


@pytest.mark.parametrize("name", NAMES[1:])
@given(sizes=SIZES)
def test_so_it_is_with_a_causal_mask(name, sizes):
    # a key tile that no query sees cannot be: the last query sees all
    got, closed = counted(name, sizes._replace(causal=True))
    assert got == closed


def test_one_small_case_by_hand():
    """4 queries, 6 keys of 2 numbers, values of 3; tiles of 2 by 3: 2 times 2 tiles."""
    sizes = Sizes(4, 6, 2, 3, 2, 3)
    # queries once, 8; keys and values 6 * 5 for each of two blocks of queries
    assert traffic.flash2_forward(sizes) == Traffic(8 + 60, 4 * 4)
    # keys and values once, 30; 4 * (2 + 3 + 2) for each of two blocks of keys
    assert traffic.flash1_forward(sizes) == Traffic(30 + 56, 3 * 4 * 5)


def test_the_size_of_the_tiles_that_pass_by_does_not_matter():
    sizes = Sizes(64, 64, 8, 8, 16, 16)
    for other in (1, 5, 64):
        keys, queries = sizes._replace(block_k=other), sizes._replace(block_q=other)
        assert traffic.flash2_forward(keys) == traffic.flash2_forward(sizes)
        assert traffic.flash1_forward(queries) == traffic.flash1_forward(sizes)


def test_twice_the_tile_is_half_the_traffic_and_twice_the_length_four_times():
    sizes = Sizes(4096, 4096, 64, 64, 64, 1)
    for form in (traffic.flash2_forward, traffic.flash2_backward):
        once = sum(form(sizes._replace(block_q=64, block_k=64)))
        tile = sum(form(sizes._replace(block_q=128, block_k=128)))
        longer = sizes._replace(length=8192, kv_length=8192, block_q=64, block_k=64)
        # what does not depend on the tiles is less than a tenth
        assert 0.5 < tile / once < 0.55
        assert 3.9 < sum(form(longer)) / once < 4


def test_a_causal_mask_saves_nearly_half():
    sizes = Sizes(4096, 4096, 64, 64, 64, 64)
    for form in (traffic.flash1_forward, traffic.flash2_forward):
        share = sum(form(sizes._replace(causal=True))) / sum(form(sizes))
        assert 0.5 < share < 0.53
