import math
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.attention.flex_attention import flex_attention

from minitransformer.attention import masks
from minitransformer.attention.core import attention, naive_attention
from minitransformer.layers.partial import Partial
from minitransformer.positions import bias
from minitransformer.testing import Shape, check_attend, example

CAUSAL = partial(attention, mask_mod=masks.causal)


def added(mod, heads, length):
    """What a mod adds to scores of zero, ``[H, L, L]``."""
    places, head = torch.arange(length), torch.arange(heads).view(-1, 1, 1)
    zeros = torch.zeros(1, heads, length, length, dtype=torch.float64)
    got = mod(zeros, torch.zeros(1, 1, 1, 1, dtype=int), head, places[:, None], places)
    return got[0].detach()


def test_slopes_of_a_power_of_two_by_hand():
    assert bias.alibi_slopes(8).tolist() == [2.0**-h for h in range(1, 9)]
    wanted = [2 ** (-h / 2) for h in range(1, 17)]
    assert bias.alibi_slopes(16).tolist() == pytest.approx(wanted)
    assert bias.alibi_slopes(1).tolist() == [2.0**-8]


@pytest.mark.parametrize("heads", [3, 6, 12, 20, 71])
def test_slopes_between_powers_are_those_of_both(heads):
    lower = 2 ** int(math.log2(heads))
    slopes = bias.alibi_slopes(heads).tolist()
    assert slopes[:lower] == bias.alibi_slopes(lower).tolist()
    higher = bias.alibi_slopes(2 * lower).tolist()
    assert slopes[lower:] == higher[0::2][: heads - lower]


def test_alibi_lowers_by_slope_times_distance():
    got = added(bias.alibi(torch.tensor([0.5, 2.0])), 2, 3)
    wanted = torch.tensor([[0.0, 1, 2], [1, 0, 1], [2, 1, 0]])
    torch.testing.assert_close(got, torch.stack([-0.5 * wanted, -2 * wanted]).double())


def t5_reference(gap, buckets, far, both):
    """T5's buckets, one distance at a time."""
    bucket = 0
    if both:
        buckets //= 2
        bucket, distance = (buckets if gap > 0 else 0), abs(gap)
    else:
        distance = max(-gap, 0)
    exact = buckets // 2
    if distance < exact:
        return bucket + distance
    large = math.log(distance / exact) / math.log(far / exact) * (buckets - exact)
    return bucket + min(exact + int(large), buckets - 1)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize(("buckets", "far"), [(32, 128), (8, 20), (16, 64)])
def test_buckets_are_those_of_t5(buckets, far, both):
    gaps = torch.arange(-300, 301)
    got = bias.t5_bucket(
        gaps, num_buckets=buckets, max_distance=far, bidirectional=both
    )
    assert got.tolist() == [t5_reference(g, buckets, far, both) for g in gaps.tolist()]


def test_a_t5_bias_is_looked_up_and_trains():
    learned = bias.T5Bias(2, num_buckets=4, max_distance=8)
    with torch.no_grad():
        learned.weight.copy_(torch.arange(8.0).view(4, 2))
    got = added(learned, 2, 3)  # buckets 0, 1 are exact, 2 holds the distances 2 and 3
    assert got[:, 2].tolist() == [[4, 2, 0], [5, 3, 1]]
    attend = Partial(attention, score_mod=bias.T5Bias(2))
    attend(*example(Shape(1, 2, 2, 3, 3))).square().sum().backward()
    assert attend.bound_score_mod.weight.grad.abs().sum() > 0


def test_kerple_by_hand():
    log, power = bias.Kerple(1), bias.Kerple(1, kind="power")
    assert added(log, 1, 3)[0, 2].tolist() == pytest.approx(
        [-math.log(3), -math.log(2), 0]
    )
    assert added(power, 1, 3)[0, 2].tolist() == pytest.approx([-0.5 * 2**0.5, -0.5, 0])


def fire_reference(fire, q, k, head):
    """The definition, one pair at a time."""
    c, limit = abs(fire.c.item()), abs(fire.threshold.item()) + 1e-6
    x = math.log(c * abs(q - k) + 1) / math.log(c * max(q, limit) + 1)
    units = np.maximum(x * fire.w1.detach().numpy() + fire.b1.detach().numpy(), 0)
    return float(units @ fire.w2[head].detach().numpy())


def test_fire_is_its_definition_before_and_beyond_its_threshold():
    torch.manual_seed(0)
    fire = bias.Fire(2, hidden=5, threshold=3.0).double()
    got = added(fire, 2, 8)
    for head, q, k in np.ndindex(2, 8, 8):
        wanted = fire_reference(fire, q, k, head)
        assert got[head, q, k].item() == pytest.approx(wanted, abs=1e-12)


LEARNED = {
    "t5": lambda heads: bias.T5Bias(heads, num_buckets=8, max_distance=16),
    "kerple": bias.Kerple,
    "kerple power": partial(bias.Kerple, kind="power"),
    "fire": bias.Fire,
}


@pytest.mark.parametrize("make", LEARNED.values(), ids=LEARNED)
def test_every_learned_bias_has_finite_gradients(make):
    torch.manual_seed(0)
    attend = Partial(CAUSAL, score_mod=make(2).double())
    attend(*example(Shape(1, 2, 2, 6, 6))).square().sum().backward()
    for name, parameter in attend.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


MODS = {"alibi": lambda heads: bias.alibi(bias.alibi_slopes(heads)), **LEARNED}


@pytest.mark.parametrize("make", MODS.values(), ids=MODS)
def test_positions_travel_with_keys_in_any_order(make):
    torch.manual_seed(0)
    mod = make(2)
    mod = mod.double() if isinstance(mod, torch.nn.Module) else mod
    attend = partial(CAUSAL, score_mod=mod)
    query, key, value = example(Shape(2, 2, 1, 3, 7))
    out = attend(query, key, value)
    q_pos, kv_pos = torch.arange(4, 7), torch.arange(7)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    for keys in (kv_pos, order):
        moved = key[:, :, keys], value[:, :, keys]
        same = attend(query, *moved, q_pos=q_pos, kv_pos=kv_pos[keys])
        torch.testing.assert_close(same, out, rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", MODS.values(), ids=MODS)
def test_another_number_of_heads_is_refused(make):
    attend = partial(CAUSAL, score_mod=make(2))
    with pytest.raises(ValueError, match="scores have 4 heads, the bias has 2"):
        attend(*example(Shape(1, 4, 2, 3, 3)))


def test_one_slope_for_all_heads_keeps_the_promises_of_an_attend():
    def attend(query, key, value, **options):
        slopes = torch.full((query.shape[1],), 0.3)
        return CAUSAL(query, key, value, score_mod=bias.alibi(slopes), **options)

    check_attend(attend)


@pytest.mark.skipif(
    torch.__version__.startswith("2.6"), reason="there flex takes only powers of 2"
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_alibi_runs_in_numpy_and_in_flex():
    inputs = example(Shape(1, 4, 4, 6, 6), dtype=torch.float32)
    slopes = bias.alibi_slopes(4)
    out = attention(*inputs, score_mod=bias.alibi(slopes))
    exact = naive_attention(
        *(x.numpy() for x in inputs), score_mod=bias.alibi(slopes.numpy())
    )
    torch.testing.assert_close(out.double(), torch.from_numpy(exact), rtol=0, atol=1e-6)
    flex = flex_attention(*inputs, bias.alibi(slopes.float()))
    torch.testing.assert_close(out, flex, rtol=0, atol=5e-6)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: bias.alibi_slopes(0), "num_heads is 0, needs at least 1"),
        (lambda: bias.Kerple(2, kind="sine"), "kind is 'sine', needs 'log' or 'power'"),
        (
            lambda: bias.t5_bucket(torch.arange(3), num_buckets=1),
            "num_buckets is 1 and max_distance 128: needs at least 2 buckets",
        ),
        (
            lambda: bias.t5_bucket(torch.arange(3), num_buckets=32, max_distance=16),
            "needs at least 2 buckets and a distance above 16",
        ),
    ],
)
def test_what_cannot_be_is_refused(run, message):
    with pytest.raises(ValueError, match=message):
        run()
