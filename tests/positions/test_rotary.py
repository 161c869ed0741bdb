import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.attention import masks
from minitransformer.attention.core import attention
from minitransformer.positions import rotary
from minitransformer.testing import Shape, check_attend, example

EXACT = {"rtol": 0, "atol": 1e-12}
FREQS = rotary.frequencies(8)
whole = st.integers(0, 10_000)


def vectors(length=3, seed=0):
    return example(Shape(2, 4, 2, length, length), seed=seed)[:2]


def scores(query, key, q_pos, kv_pos, freqs=FREQS, **options):
    query = rotary.rotate(query, torch.as_tensor(q_pos), freqs, **options)
    key = rotary.rotate(key, torch.as_tensor(kv_pos), freqs, **options)
    return query @ key.repeat_interleave(2, dim=1).mT


def test_a_turn_by_hand():
    x = torch.tensor([1.0, 0, 0, 2], dtype=torch.float64).view(1, 1, 1, 4)
    freqs = torch.tensor([math.pi / 2, math.pi / 4], dtype=torch.float64)
    root = math.sqrt(0.5)
    half = rotary.rotate(x, torch.tensor([1]), freqs).flatten()
    # Pairs (1, 0) by a quarter, (0, 2) by an eighth.
    wanted = torch.tensor([0, -2 * root, 1, 2 * root], dtype=torch.float64)
    torch.testing.assert_close(half, wanted, **EXACT)
    neighbors = rotary.rotate(x, torch.tensor([1]), freqs, layout="interleaved")
    wanted = torch.tensor([0, 1, -2 * root, 2 * root], dtype=torch.float64)
    torch.testing.assert_close(neighbors.flatten(), wanted, **EXACT)


@pytest.mark.parametrize("layout", ["half", "interleaved"])
@pytest.mark.parametrize("pairs", [4, 3, 0])
def test_it_is_the_definition(layout, pairs):
    query, _ = vectors()
    pos = torch.tensor([[0, 7, 123], [5, 5, 1]])
    got = rotary.rotate(query, pos, FREQS[:pairs], layout=layout)
    for b, h, i in np.ndindex(2, 4, 3):
        at, freqs = int(pos[b, i]), FREQS[:pairs].numpy()
        wanted = rotary.naive_rotate(query[b, h, i].numpy(), at, freqs, layout=layout)
        torch.testing.assert_close(got[b, h, i], torch.from_numpy(wanted), **EXACT)


@given(whole, whole, st.integers(0, 2**31))
def test_scores_depend_on_the_distance_alone(start, shift, seed):
    query, key = vectors(seed=seed)
    pos = torch.tensor([start, start + 3, start + 11])
    moved = scores(query, key, pos + shift, pos + shift)
    # An angle of 20,000 radians is known to 4e-12, and scores are of order 10.
    torch.testing.assert_close(moved, scores(query, key, pos, pos), rtol=0, atol=1e-9)


@given(whole)
def test_lengths_are_kept(position):
    query, _ = vectors()
    turned = rotary.rotate(query, torch.full((3,), position), FREQS)
    torch.testing.assert_close(turned.norm(dim=-1), query.norm(dim=-1), **EXACT)


def test_the_layouts_are_one_rotation_written_in_two_orders():
    query, key = vectors()
    pos = torch.tensor([2, 9, 40])
    interleaved = rotary.rotate(query, pos, FREQS, layout="interleaved")
    via_half = rotary.to_interleaved(rotary.rotate(rotary.to_half(query), pos, FREQS))
    torch.testing.assert_close(interleaved, via_half, **EXACT)
    assert torch.equal(rotary.to_half(rotary.to_interleaved(query)), query)
    torch.testing.assert_close(
        scores(query, key, pos, pos, layout="interleaved"),
        scores(rotary.to_half(query), rotary.to_half(key), pos, pos),
        **EXACT,
    )


def llama_reference(x, pos, base=1e4):
    """Turn as Llama's code has it: x cos + rotate_half(x) sin, with doubled tables."""
    inv = 1.0 / base ** (np.arange(0, x.shape[-1], 2) / x.shape[-1])
    angle = np.outer(pos, inv)
    cos, sin = (np.concatenate([f(angle)] * 2, axis=-1) for f in (np.cos, np.sin))
    a, b = np.split(x, 2, axis=-1)
    return x * cos + np.concatenate([-b, a], axis=-1) * sin


def test_the_half_layout_is_that_of_llama():
    query, _ = vectors(length=5)
    pos = np.array([0, 1, 2, 300, 4000])
    wanted = torch.from_numpy(llama_reference(query.numpy(), pos))
    got = rotary.rotate(query, torch.from_numpy(pos), FREQS)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-11)


def test_partial_rotation_is_that_of_gpt_neox():
    query, _ = vectors()
    pos = np.array([3, 4, 50])
    moving = llama_reference(query[..., :4].numpy(), pos)
    got = rotary.rotate(query, torch.from_numpy(pos), rotary.frequencies(4))
    torch.testing.assert_close(got[..., :4], torch.from_numpy(moving), **EXACT)
    assert torch.equal(got[..., 4:], query[..., 4:])


def test_keeping_all_is_rope_and_keeping_none_is_no_position():
    query, _ = vectors()
    pos = torch.tensor([1, 2, 3])
    assert torch.equal(rotary.keep_fastest(FREQS, 1.0), FREQS)
    still = rotary.rotate(query, pos, rotary.keep_fastest(FREQS, 0.0))
    assert torch.equal(still, query)
    assert rotary.keep_fastest(FREQS, 0.5).tolist() == [*FREQS[:2].tolist(), 0, 0]


def test_interpolation_squeezes_positions():
    query, _ = vectors()
    squeezed = rotary.rotate(
        query, torch.tensor([8, 16, 24]), rotary.interpolate(FREQS, 8.0)
    )
    wanted = rotary.rotate(query, torch.tensor([1, 2, 3]), FREQS)
    torch.testing.assert_close(squeezed, wanted, **EXACT)


def test_ntk_scaling_keeps_the_fastest_and_slows_the_slowest_in_full():
    scaled = rotary.ntk_aware(64, 4.0)
    ratio = rotary.frequencies(64) / scaled
    assert ratio[0] == 1
    assert ratio[-1].item() == pytest.approx(4.0)
    assert (ratio.diff() > 0).all()


def yarn_reference(dim, base, train_len, factor, fast=32, slow=1):
    """The formulas of the paper, pair by pair: a ramp between two numbers of turns."""
    inv = base ** (-np.arange(0, dim, 2) / dim)

    def pair(turns):
        return dim * math.log(train_len / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = max(math.floor(pair(fast)), 0), min(math.ceil(pair(slow)), dim - 1)
    result = []
    for i, freq in enumerate(inv):
        ramp = min(max((i - low) / (high - low), 0), 1)
        result.append(freq / factor * ramp + freq * (1 - ramp))
    return torch.tensor(result, dtype=torch.float64)


@pytest.mark.parametrize(
    ("dim", "base", "train_len", "factor"),
    [(128, 1e4, 4096, 16.0), (64, 5e5, 8192, 4.0), (128, 1e4, 2048, 1.0)],
)
def test_yarn_is_its_reference(dim, base, train_len, factor):
    got = rotary.yarn(dim, factor, train_len=train_len, base=base)
    wanted = yarn_reference(dim, base, train_len, factor)
    torch.testing.assert_close(got, wanted, **EXACT)


def test_yarn_keeps_pairs_of_many_turns_and_slows_pairs_of_few():
    freqs = rotary.frequencies(128)
    ratio = freqs / rotary.yarn(128, 8.0, train_len=4096)
    turns = 4096 * freqs / (2 * math.pi)
    # The borders are rounded outwards to whole pairs: look one pair beyond.
    assert (ratio[turns > 40] == 1).all()
    assert torch.allclose(ratio[turns < 0.8], torch.tensor(8.0, dtype=torch.float64))
    assert (ratio.diff() >= -1e-12).all()


def test_yarn_sharpens_scores():
    assert rotary.yarn_temperature(1.0) == 1.0
    assert rotary.yarn_temperature(16.0) == pytest.approx(1.27726, abs=1e-5)


def test_two_coordinates_turn_by_themselves():
    query, key = vectors()
    freqs = rotary.frequencies(4)
    pos = torch.tensor([[0, 2, 5], [1, 1, 3]])
    other = pos + torch.tensor([[7], [20]])
    turned = [
        rotary.rotate_2d(query, at, freqs)
        @ rotary.rotate_2d(key.repeat_interleave(2, 1), at, freqs).mT
        for at in (pos, other)
    ]
    torch.testing.assert_close(*turned, rtol=0, atol=1e-11)
    rows = rotary.rotate_2d(query, torch.stack([pos[0], pos[0] * 0]), freqs)
    assert torch.equal(rows[..., 4:], query[..., 4:])
    torch.testing.assert_close(
        rows[..., :4], rotary.rotate(query[..., :4], pos[0], freqs), **EXACT
    )


def test_xpos_depends_on_the_distance_alone_and_fades():
    query, key = vectors()
    key = key.repeat_interleave(2, 1)

    def score(shift, distance):
        q_pos, kv_pos = (torch.full((3,), n) for n in (shift + distance, shift))
        turned, other = rotary.xpos(query, key, q_pos, kv_pos, FREQS, span=16.0)
        return (turned * other).sum(-1)

    torch.testing.assert_close(score(0, 9), score(100, 9), rtol=0, atol=1e-9)
    still = torch.zeros(4, dtype=torch.float64)
    at = torch.tensor([32, 32, 32])
    faded, kept = rotary.xpos(query, key, at, at * 0, still, span=16.0)
    zeta = (torch.arange(4, dtype=torch.float64) / 4 + 0.4) / 1.4
    wanted = query * key * (zeta**2).repeat(2)
    torch.testing.assert_close(faded * kept, wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("layout", ["half", "interleaved"])
def test_rotary_attention_keeps_the_promises_of_an_attend(layout):
    causal = partial(attention, mask_mod=masks.causal)
    check_attend(rotary.with_rotary(causal, FREQS, layout=layout))


def test_keys_turned_once_before_they_are_cached_give_the_same():
    query, key, value = example(Shape(1, 2, 2, 6, 6))
    whole = rotary.with_rotary(partial(attention, mask_mod=masks.causal), FREQS)
    pos = torch.arange(6)
    cached = rotary.rotate(key, pos, FREQS)
    steps = []
    for t in range(6):
        now = rotary.rotate(query[:, :, t : t + 1], pos[t : t + 1], FREQS)
        steps.append(attention(now, cached[:, :, : t + 1], value[:, :, : t + 1]))
    torch.testing.assert_close(
        torch.cat(steps, dim=2), whole(query, key, value), **EXACT
    )


def test_packed_documents_start_again_at_zero():
    query, key, value = example(Shape(1, 2, 2, 7, 7))
    pos = torch.tensor([0, 1, 2, 0, 1, 2, 3])
    alone = rotary.with_rotary(attention, FREQS)
    second = alone(query[:, :, 3:], key[:, :, 3:], value[:, :, 3:])
    ids = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    together = attention(
        rotary.rotate(query, pos, FREQS),
        rotary.rotate(key, pos, FREQS),
        value,
        mask_mod=lambda b, h, q_idx, kv_idx: ids[q_idx] == ids[kv_idx],
    )
    torch.testing.assert_close(together[:, :, 3:], second, **EXACT)


def test_each_head_may_have_its_own_frequencies():
    query, _ = vectors()
    pos = torch.tensor([1, 2, 3])
    own = FREQS * torch.tensor([[1.0], [2.0], [0.0], [0.5]])
    got = rotary.rotate(query, pos, own)
    for head in range(4):
        wanted = rotary.rotate(query[:, head : head + 1], pos, own[head])
        torch.testing.assert_close(got[:, head : head + 1], wanted, **EXACT)


def test_half_precision_is_turned_in_float32():
    query, _ = vectors()
    pos = torch.tensor([1000, 100_000, 3])
    got = rotary.rotate(query.to(torch.bfloat16), pos, FREQS)
    assert got.dtype == torch.bfloat16
    wanted = rotary.rotate(query.to(torch.bfloat16).double(), pos, FREQS)
    torch.testing.assert_close(got.double(), wanted, rtol=0, atol=0.02)  # 4 * 2^-8


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: rotary.frequencies(7), "head_dim is 7, needs an even number"),
        (
            lambda: rotary.rotate(torch.zeros(1, 1, 2, 5), torch.arange(2), FREQS),
            "x has head_dim 5, needs an even number",
        ),
        (
            lambda: rotary.rotate(torch.zeros(1, 1, 2, 4), torch.arange(2), FREQS),
            "freqs has 4 pairs, x has 2",
        ),
        (
            lambda: rotary.rotate(torch.zeros(1, 1, 2, 8), torch.arange(3), FREQS),
            r"pos has shape \(3,\), x has length 2",
        ),
        (
            lambda: rotary.rotate(torch.zeros(1, 1, 2, 8), torch.ones(3, 2), FREQS),
            r"pos has shape \(3, 2\), x has length 2 and batch 1",
        ),
        (
            lambda: rotary.rotate(torch.zeros(2, 8), torch.arange(2), FREQS),
            r"x has shape \(2, 8\), needs \(B, H, L, E\)",
        ),
        (lambda: rotary.ntk_aware(2, 4.0), "head_dim is 2, needs two pairs"),
        (
            lambda: rotary.rotate(
                torch.zeros(1, 1, 2, 8), torch.arange(2), FREQS, layout="halves"
            ),
            "layout is 'halves', needs 'half' or 'interleaved'",
        ),
        (lambda: rotary.keep_fastest(FREQS, 1.5), "share is 1.5"),
        (lambda: rotary.interpolate(FREQS, 0.5), "factor is 0.5, needs at least 1"),
        (lambda: rotary.ntk_aware(8, 0.5), "factor is 0.5, needs at least 1"),
        (
            lambda: rotary.rotate_2d(torch.zeros(1, 1, 2, 6), torch.zeros(2, 2), FREQS),
            "x has head_dim 6, needs a multiple of 4",
        ),
        (
            lambda: rotary.rotate_2d(torch.zeros(1, 1, 2, 8), torch.zeros(2), FREQS),
            r"pos has shape \(2,\), needs \(2, L\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(run, message):
    with pytest.raises(ValueError, match=message):
        run()
