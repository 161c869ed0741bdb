import numpy as np
import pytest
import torch

from minitransformer.attention import masks
from minitransformer.attention.core import naive_attention
from minitransformer.caches.sinks import SinkCache, naive_slots
from minitransformer.positions.rotary import frequencies, naive_rotate, rotate
from minitransformer.testing import Shape, example

from .small import close, decoder, in_pieces, text


def feed(cache, key, value, pos=None):
    """Hand in one token at a time; yield what each of them sees."""
    for t in range(key.shape[2]):
        at = slice(t, t + 1)
        here = torch.tensor([t]) if pos is None else pos[:, at]
        yield cache.update(key[:, :, at], value[:, :, at], here)


@pytest.mark.parametrize(("sinks", "window"), [(0, 1), (0, 4), (1, 3), (4, 5), (4, 1)])
def test_it_keeps_the_first_and_the_last_side_by_side(sinks, window):
    _, key, value = example(Shape(2, 2, 2, 14, 14))
    for t, got in enumerate(feed(SinkCache(sinks, window), key, value)):
        slots = naive_slots(t, sinks, window)
        filled = got[2][0] >= 0
        wanted = t - slots.place[-1] + slots.place  # so that the newest stands at t
        assert got[2][0][filled].tolist() == wanted.tolist()
        assert torch.equal(got[0][:, :, filled], key[:, :, slots.token])
        assert torch.equal(got[1][:, :, filled], value[:, :, slots.token])


@pytest.mark.parametrize(("sinks", "window"), [(0, 4), (1, 3), (4, 5)])
def test_turned_on_reading_it_is_the_definition(sinks, window):
    query, key, value = example(Shape(1, 1, 1, 13, 13))
    freqs = frequencies(8)
    for t, (k, v, at) in enumerate(feed(SinkCache(sinks, window), key, value)):
        slots = naive_slots(t, sinks, window)
        turned = [
            naive_rotate(key[0, 0, j].numpy(), p, freqs.numpy())
            for j, p in zip(slots.token, slots.place, strict=True)
        ]
        q = naive_rotate(query[0, 0, t].numpy(), slots.place[-1], freqs.numpy())
        wanted = naive_attention(
            q[None, None, None],
            np.array(turned)[None, None],
            value[:, :, slots.token].numpy(),
        )
        here = torch.tensor([t])
        q = rotate(query[:, :, t : t + 1], here, freqs)
        scores = (q @ rotate(k, at, freqs).mT / 8**0.5).masked_fill(at < 0, -torch.inf)
        close(scores.softmax(-1) @ v, torch.tensor(wanted), 1e-12)


def test_without_turns_it_is_attention_with_the_mask_of_sinks():
    ids, model = text(20, batch=3), decoder(turn=False)
    caches = [SinkCache(2, 5) for _ in model.blocks]
    got = in_pieces(model, ids, caches, [1] * 20)
    close(got, decoder(turn=False, mask=masks.sinks(2, 5))(ids))
    window = decoder(turn=False, mask=masks.sliding_window(5))(ids)
    assert (got - window).abs().max() > 1e-3


def test_without_sinks_it_is_a_window_since_only_differences_matter():
    ids, model = text(16), decoder()
    caches = [SinkCache(0, 5) for _ in model.blocks]
    got = in_pieces(model, ids, caches, [1] * 16)
    close(got, decoder(mask=masks.sliding_window(5))(ids))


def test_positions_inside_the_cache_are_not_those_of_the_text():
    ids, model = text(20), decoder()
    caches = [SinkCache(2, 5) for _ in model.blocks]
    got = in_pieces(model, ids, caches, [7, *[1] * 13])
    far = decoder(mask=masks.sinks(2, 5))(ids)
    close(got[:, :7], far[:, :7])
    assert (got - far).abs().max() > 1e-3


def test_sequences_that_begin_later_have_their_own_sinks():
    _, key, value = example(Shape(2, 2, 2, 12, 12))
    pos = torch.stack([torch.arange(12), torch.arange(-4, 8).clamp_min(-1)])
    alone = SinkCache(2, 3)
    rows = list(feed(SinkCache(2, 3), key, value, pos))
    single = list(feed(alone, key[1:, :, 4:], value[1:, :, 4:]))
    for (k, v, at), (k1, v1, at1) in zip(rows[4:], single, strict=True):
        filled, filled1 = at[1] >= 0, at1[0] >= 0
        assert torch.equal(at[1][filled], at1[0][filled1])
        assert torch.equal(k[1][:, filled], k1[0][:, filled1])
        assert torch.equal(v[1][:, filled], v1[0][:, filled1])


def test_its_bytes_stop_growing():
    _, key, value = example(Shape(2, 4, 2, 12, 12), head_dim=8, value_dim=6)
    cache = SinkCache(3, 4)
    for t, _ in enumerate(feed(cache, key, value)):
        tokens = 3 + min(
            max(t + 1 - 3, 0), 4
        )  # places of sinks are there from the start
        assert cache.num_bytes() == tokens * 2 * 2 * (8 + 6) * 8


def test_several_tokens_beyond_the_room_are_refused_and_change_nothing():
    _, key, value = example(Shape(1, 1, 1, 8, 8))
    cache, pos = SinkCache(2, 4), torch.arange(8)
    cache.update(key[:, :, :5], value[:, :, :5], pos[:5])
    before = cache.num_bytes()
    with pytest.raises(ValueError, match=r"ends at 6 .* sinks \+ window = 6"):
        cache.update(key[:, :, 5:7], value[:, :, 5:7], pos[5:7])
    assert cache.num_bytes() == before
    cache.update(key[:, :, 5:6], value[:, :, 5:6], pos[5:6])


@pytest.mark.parametrize(
    ("options", "message"),
    [((-1, 4), "sinks is -1, needs at least 0"), ((4, 0), "window is 0")],
)
def test_sizes_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SinkCache(*options)
