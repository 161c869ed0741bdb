import pytest
import torch

from minitransformer.attention import masks
from minitransformer.caches.window import WindowCache
from minitransformer.testing import Shape, example

from .small import close, decoder, in_pieces, text


@pytest.mark.parametrize("size", [1, 2, 5, 40])
def test_one_at_a_time_it_is_attention_with_a_window_mask(size):
    ids, causal = text(15, batch=3), decoder()
    caches = [WindowCache(size) for _ in causal.blocks]
    got = in_pieces(causal, ids, caches, [1] * 15)
    masked = decoder(mask=masks.sliding_window(size))
    close(got, masked(ids))
    assert size == 40 or (got - causal(ids)).abs().max() > 1e-3


def test_a_call_sees_what_any_of_its_tokens_may_see():
    _, key, value = example(Shape(1, 2, 2, 9, 9))
    cache, pos = WindowCache(3), torch.arange(9)
    for part, seen in (
        (slice(0, 5), [0, 1, 2, 3, 4]),
        (slice(5, 6), [3, 4, 5]),
        (slice(6, 9), [4, 5, 6, 7, 8]),
    ):
        got = cache.update(key[:, :, part], value[:, :, part], pos[part])
        assert got[2].tolist() == seen
        assert torch.equal(got[0], key[:, :, seen])
        assert torch.equal(got[1], value[:, :, seen])


def test_its_bytes_stop_growing():
    _, key, value = example(Shape(2, 4, 2, 9, 9), head_dim=8, value_dim=6)
    cache = WindowCache(4)
    for t in range(9):
        at = slice(t, t + 1)
        cache.update(key[:, :, at], value[:, :, at], torch.tensor([t]))
        assert cache.num_bytes() == min(t + 1, 4) * 2 * 2 * (8 + 6) * 8


def test_after_a_long_prompt_only_the_window_is_held():
    _, key, value = example(Shape(2, 4, 2, 9, 9), head_dim=8, value_dim=6)
    cache = WindowCache(4)
    cache.update(key, value, torch.arange(9))
    assert cache.num_bytes() == 4 * 2 * 2 * (8 + 6) * 8
    held = cache.kept.key.untyped_storage().nbytes()
    assert held == 4 * 2 * 2 * 8 * 8
    assert torch.equal(cache.kept.key, key[:, :, 5:])


def test_a_window_of_nothing_is_refused():
    with pytest.raises(ValueError, match="size is 0, needs at least 1"):
        WindowCache(0)
