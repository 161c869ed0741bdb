import numpy as np
import pytest

from minitransformer.attention import masks
from minitransformer.attention.core import naive_attention
from minitransformer.flash.forward_loops import (
    blocks,
    causal,
    flash1_forward,
    flash2_forward,
    standard_forward,
)
from minitransformer.flash.memory import TwoLevelMemory

# float64 rounds at 1e-16; a row has few keys and values of order 1.
EXACT = 1e-13
SIZES = [(1, 1), (2, 3), (5, 5), (64, 64)]
LENGTHS = [(6, 6), (4, 9), (7, 3), (1, 5)]


def draw(length, kv_length, seed=0):
    normal = np.random.default_rng(seed).normal
    return (
        normal(size=(length, 4)),
        normal(size=(kv_length, 4)),
        normal(size=(kv_length, 3)),
    )


def reference(query, key, value, **options):
    arrays = (x[None, None] for x in (query, key, value))
    out, lse = naive_attention(*arrays, return_lse=True, **options)
    return out[0, 0], lse[0, 0]


def run(loop, inputs, tiles, memory=None, **options):
    memory = memory or TwoLevelMemory()
    options |= {"block_q": tiles[0], "block_k": tiles[1]}
    result = loop(*inputs, memory, **options)
    assert memory.used == 0, "every tile is given back"
    return result


@pytest.mark.parametrize("tiles", SIZES, ids=str)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_all_loops_compute_attention(lengths, tiles):
    inputs = draw(*lengths)
    wanted, wanted_lse = reference(*inputs)
    out, _ = run(standard_forward, inputs, tiles)
    np.testing.assert_allclose(out, wanted, rtol=0, atol=EXACT)
    out, peak, total = run(flash1_forward, inputs, tiles)
    np.testing.assert_allclose(out, wanted, rtol=0, atol=EXACT)
    np.testing.assert_allclose(peak + np.log(total), wanted_lse, rtol=0, atol=EXACT)
    out, lse = run(flash2_forward, inputs, tiles)
    np.testing.assert_allclose(out, wanted, rtol=0, atol=EXACT)
    np.testing.assert_allclose(lse, wanted_lse, rtol=0, atol=EXACT)


@pytest.mark.parametrize("tiles", SIZES, ids=str)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_masked_loops_compute_masked_attention(lengths, tiles):
    inputs = draw(*lengths)
    wanted, wanted_lse = reference(*inputs, mask_mod=masks.causal)
    options = {"seen": causal(*lengths), "scale": 0.5}
    out, peak, total = run(flash1_forward, inputs, tiles, **options)
    np.testing.assert_allclose(out, wanted, rtol=0, atol=EXACT)
    some = np.isfinite(wanted_lse)
    lse = peak[some] + np.log(total[some])
    np.testing.assert_allclose(lse, wanted_lse[some], rtol=0, atol=EXACT)
    assert not total[~some].any()
    out, lse = run(flash2_forward, inputs, tiles, **options)
    np.testing.assert_allclose(out, wanted, rtol=0, atol=EXACT)
    np.testing.assert_allclose(lse, wanted_lse, rtol=0, atol=EXACT)


def test_the_standard_loop_hands_over_its_weights():
    inputs = draw(5, 6)
    out, weights = run(standard_forward, inputs, (2, 4))
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    np.testing.assert_allclose(weights @ inputs[2], out, rtol=0, atol=EXACT)


@pytest.mark.parametrize("loop", [flash1_forward, flash2_forward])
def test_scores_of_thousands_do_not_overflow(loop):
    query, key, value = draw(4, 8)
    inputs = 1e3 * query, key, value
    result = run(loop, inputs, (2, 2))
    np.testing.assert_allclose(result[0], reference(*inputs)[0], rtol=0, atol=1e-10)


@pytest.mark.parametrize("loop", [flash1_forward, flash2_forward])
def test_flash_never_holds_more_than_its_tiles(loop):
    """Q, O, K, V, S and two numbers a row; L and S do not matter."""
    for lengths in ((8, 8), (32, 64)):
        memory = TwoLevelMemory()
        run(loop, draw(*lengths), (4, 2), memory)
        assert memory.peak == 8 * (4 * (4 + 3 + 2) + 2 * (4 + 3) + 4 * 2)


def test_flash_runs_in_a_memory_of_exactly_its_peak_and_no_less():
    inputs = draw(8, 8)
    need = 8 * (4 * (4 + 3 + 2) + 2 * (4 + 3) + 4 * 2)
    run(flash2_forward, inputs, (4, 2), TwoLevelMemory(need))
    with pytest.raises(ValueError, match="tile S 0 0 has 64 bytes, fast memory has 56"):
        run(flash2_forward, inputs, (4, 2), TwoLevelMemory(need - 8))


def test_a_skipped_tile_moves_nothing():
    lengths, tiles = (8, 8), (4, 4)
    names = {}
    for name, seen in (("all", None), ("causal", causal(*lengths))):
        memory = TwoLevelMemory()
        run(flash2_forward, draw(*lengths), tiles, memory, seen=seen)
        names[name] = [e.label for e in memory.log if e.action == "load"]
    skipped = [("K", 1), ("V", 1)]
    assert len(names["all"]) == len(names["causal"]) + 2
    assert [label for label in names["causal"] if label in skipped] == skipped


def test_blocks_cover_all_rows_once():
    assert blocks(7, 3) == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert blocks(0, 3) == []
    with pytest.raises(ValueError, match="block is 0, needs at least 1"):
        blocks(4, 0)


def test_the_causal_mask_stands_on_the_last_key():
    seen = causal(2, 3)
    whole = slice(0, 2), slice(0, 3)
    np.testing.assert_array_equal(seen(*whole), [[1, 1, 0], [1, 1, 1]])
    np.testing.assert_array_equal(seen(slice(1, 2), slice(2, 3)), [[1]])
