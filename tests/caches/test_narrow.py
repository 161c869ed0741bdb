import pytest
import torch

from minitransformer.caches.dense import DenseCache
from minitransformer.caches.evicting import EvictingCache
from minitransformer.caches.narrow import NarrowCache
from minitransformer.caches.sinks import SinkCache
from minitransformer.caches.slim import SlimCache
from minitransformer.testing import Shape, example

from .small import decoder, in_pieces, text


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_it_stores_half_and_is_off_by_one_rounding(dtype):
    _, key, value = example(Shape(2, 4, 2, 7, 7), value_dim=8, dtype=torch.float32)
    cache = NarrowCache(DenseCache(), dtype)
    got = cache.update(key, value, torch.arange(7))
    assert cache.num_bytes() == 2 * 2 * 7 * (8 + 8) * 2
    for x, wanted in zip(got[:2], (key, value), strict=True):
        assert x.dtype == torch.float32
        assert torch.equal(x, wanted.to(dtype).float())
        assert not torch.equal(x, wanted)


def test_what_the_wrapped_cache_asks_for_goes_through():
    assert NarrowCache(SinkCache(1, 2), torch.half).raw
    assert not NarrowCache(DenseCache(), torch.half).raw
    ids, model = text(9), decoder().float()
    caches = [NarrowCache(EvictingCache(2, 2), torch.half) for _ in model.blocks]
    in_pieces(model, ids, caches, [1] * 9)
    assert caches[0].cache.kept.pos.shape == (2, 4)


def test_keys_kept_in_half_give_values_multiplied_in_the_wide_type():
    generator = torch.Generator().manual_seed(0)
    w_kv = torch.randn(32, 32, generator=generator)
    _, key, value = example(Shape(1, 4, 4, 5, 5), value_dim=8, dtype=torch.float32)
    cache = NarrowCache(SlimCache(w_kv), torch.bfloat16)
    _, got, _ = cache.update(key, value, torch.arange(5))
    rounded = key.bfloat16().float().transpose(1, 2).flatten(2)
    wanted = (rounded @ w_kv).unflatten(2, (4, 8)).transpose(1, 2)
    assert torch.equal(got, wanted)


def test_whole_numbers_are_refused():
    with pytest.raises(ValueError, match=r"dtype is torch\.int8, needs a floating one"):
        NarrowCache(DenseCache(), torch.int8)
