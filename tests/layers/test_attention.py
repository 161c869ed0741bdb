import pytest
import torch
from torch import nn

from minitransformer.attention import masks
from minitransformer.attention.core import attention
from minitransformer.layers.attention import Attention
from minitransformer.layers.partial import Partial
from minitransformer.positions import rotary

CAUSAL = Partial(attention, mask_mod=masks.causal)


def layer(**options):
    torch.manual_seed(0)
    return Attention(12, 4, **options).double()


def tokens(length, dim=12):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, length, dim, generator=generator, dtype=torch.float64)


def close(got, wanted):
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("cross", [False, True])
def test_with_the_weights_copied_it_is_the_module_of_pytorch(bias, cross):
    ours = layer(bias=bias)
    theirs = nn.MultiheadAttention(12, 4, bias=bias, batch_first=True).double()
    parts = [ours.q_proj, ours.k_proj, ours.v_proj]
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([p.weight for p in parts]))
        theirs.out_proj.weight.copy_(ours.o_proj.weight)
        if bias:
            theirs.in_proj_bias.copy_(torch.cat([p.bias for p in parts]))
            theirs.out_proj.bias.copy_(ours.o_proj.bias)
    x, context = tokens(5), tokens(7) if cross else None
    source = x if context is None else context
    wanted, _ = theirs(x, source, source, need_weights=False)
    close(ours(x, context=context), wanted)


def test_grouped_heads_have_fewer_weights_and_the_same_shape():
    grouped = layer(num_kv_heads=2)
    assert grouped.k_proj.weight.shape == (6, 12)
    assert grouped(tokens(5)).shape == (2, 5, 12)


def test_grouped_heads_are_full_heads_with_repeated_weights():
    grouped, full = layer(num_kv_heads=2), layer()
    with torch.no_grad():
        for name in ("k_proj", "v_proj"):
            weight = getattr(grouped, name).weight.view(2, 3, 12)
            repeated = weight.repeat_interleave(2, dim=0).reshape(12, 12)
            getattr(full, name).weight.copy_(repeated)
        for name in ("q_proj", "o_proj"):
            getattr(full, name).weight.copy_(getattr(grouped, name).weight)
    close(grouped(tokens(5)), full(tokens(5)))


class Growing:
    """The least cache there is: all keys so far."""

    def __init__(self):
        self.kept = None

    def update(self, key, value, pos):
        new = key, value, pos
        if self.kept is None:
            self.kept = new
        else:
            pairs = zip(self.kept, new, (2, 2, -1), strict=True)
            self.kept = tuple(torch.cat([old, x], dim) for old, x, dim in pairs)
        return self.kept


def test_token_by_token_with_a_cache_it_gives_the_same():
    causal, x = layer(attend=CAUSAL, num_kv_heads=2), tokens(6)
    cache = Growing()
    steps = [
        causal(x[:, t : t + 1], pos=torch.tensor([t]), cache=cache) for t in range(6)
    ]
    close(torch.cat(steps, dim=1), causal(x))


def test_left_padding_changes_nothing():
    causal, x = layer(attend=CAUSAL), tokens(4)
    padded = torch.cat([torch.full_like(x[:, :2], 9.0), x], dim=1)
    pos = torch.tensor([-1, -1, 0, 1, 2, 3])
    close(causal(padded, pos=pos)[:, 2:], causal(x))


def test_turned_keys_are_cached_turned_and_give_the_same():
    turn = Partial(rotary.rotate, freqs=rotary.frequencies(4), layout="interleaved")
    causal, x = Attention(16, 4, attend=CAUSAL, turn=turn).double(), tokens(6, dim=16)
    cache = Growing()
    steps = [
        causal(x[:, t : t + 1], pos=torch.tensor([t]), cache=cache) for t in range(6)
    ]
    close(torch.cat(steps, dim=1), causal(x))
    moved = causal(x, pos=torch.arange(50, 56))
    torch.testing.assert_close(moved, causal(x), rtol=0, atol=1e-11)
    still = Attention(16, 4, attend=CAUSAL).double()
    still.load_state_dict(causal.state_dict(), strict=False)
    assert (still(x) - causal(x)).abs().max() > 1e-3


class Raw(Growing):
    """Wants keys as they were projected."""

    raw = True


class Around(Growing):
    """Doubles what the layer attends to."""

    def around(self, attend):
        return lambda *inputs, **options: 2 * attend(*inputs, **options)


def test_a_cache_that_asks_for_raw_keys_has_them_turned_on_reading():
    turn = Partial(rotary.rotate, freqs=rotary.frequencies(4))
    causal, x = Attention(16, 4, attend=CAUSAL, turn=turn).double(), tokens(6, dim=16)
    cache = Raw()
    steps = [
        causal(x[:, t : t + 1], pos=torch.tensor([t]), cache=cache) for t in range(6)
    ]
    close(torch.cat(steps, dim=1), causal(x))
    close(cache.kept[0], causal.split(causal.k_proj(x)))


def test_a_cache_may_change_what_is_attended_through():
    causal, x = layer(attend=CAUSAL), tokens(4)
    pos = torch.arange(4)
    twice, once = causal(x, pos=pos, cache=Around()), causal(x, pos=pos, cache=Raw())
    close(twice, 2 * once)


def test_head_dim_need_not_follow_from_dim():
    wide = layer(head_dim=5)
    assert wide.q_proj.weight.shape == (20, 12)
    assert wide(tokens(3)).shape == (2, 3, 12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_kv_heads": 3}, "num_kv_heads is 3, needs a divisor of 4"),
        ({"num_kv_heads": 0}, "num_kv_heads is 0, needs a divisor of 4"),
    ],
)
def test_heads_that_do_not_divide_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        layer(**options)


def test_a_dim_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="dim is 10, needs a multiple of num_heads 4"):
        Attention(10, 4)


def test_a_cache_without_positions_is_refused():
    with pytest.raises(ValueError, match="cache is given without pos"):
        layer()(tokens(2), cache=Growing())


def test_a_context_with_positions_is_refused():
    with pytest.raises(ValueError, match="context has no positions"):
        layer()(tokens(2), context=tokens(3), pos=torch.arange(2))
