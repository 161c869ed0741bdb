"""What holds for every cache, and the few functions that they share."""

import pytest
import torch

from minitransformer.attention import masks
from minitransformer.caches.base import Kept, choose, incoming, join, size_of
from minitransformer.caches.dense import DenseCache
from minitransformer.caches.evicting import EvictingCache
from minitransformer.caches.narrow import NarrowCache
from minitransformer.caches.paged import PagedCache, PagePool
from minitransformer.caches.quantized import QuantizedCache
from minitransformer.caches.sinks import SinkCache
from minitransformer.caches.slim import SlimCache, slim_weights
from minitransformer.caches.staircase import StaircaseCache
from minitransformer.caches.window import WindowCache
from minitransformer.testing import Shape, example

from .small import HEAD_DIM, close, decoder, in_pieces, text

LENGTH = 12


def pool(mixer):
    sizes = {"num_kv_heads": mixer.num_kv_heads, "head_dim": HEAD_DIM}
    return PagePool(20, 3, **sizes, dtype=torch.float64)


def slim(mixer, **options):
    w_kv = slim_weights(mixer.k_proj.weight.T, mixer.v_proj.weight.T)
    return SlimCache(w_kv, **options)


EXACT = {
    "dense": lambda mixer: DenseCache(),
    "window": lambda mixer: WindowCache(LENGTH),
    "sinks": lambda mixer: SinkCache(4, LENGTH - 4),
    "whole bits": lambda mixer: QuantizedCache(16, residual=4, group=2),
    "flat stairs": lambda mixer: StaircaseCache((16, 16, 16), residual=3, group=3),
    "slim": slim,
    "slim, late": lambda mixer: slim(mixer, late=True),
    "evicting": lambda mixer: EvictingCache(LENGTH - 3, 3),
    "paged": lambda mixer: PagedCache(pool(mixer)),
    "narrow": lambda mixer: NarrowCache(DenseCache(), torch.float64),
    "narrow, slim": lambda mixer: NarrowCache(slim(mixer, late=True), torch.float64),
}
"""Caches with room for all, so that they are attention as it is."""

CHECKED = [name for name in EXACT if name not in ("dense", "narrow")]
"""Those that check by ``incoming``; the plain one checks for itself."""

ONE_BY_ONE = [1] * LENGTH
PIECES = [ONE_BY_ONE, [LENGTH], [5, *[1] * 7], [4, 3, 5]]


def caches_for(make, model):
    return [make(block.mixer) for block in model.blocks]


@pytest.mark.parametrize("pieces", PIECES, ids=str)
@pytest.mark.parametrize(
    ("name", "kv_heads"),
    [
        (name, kv_heads)
        for name in EXACT
        for kv_heads in ((2,) if "slim" in name else (1, 2))  # it refuses grouped heads
    ],
)
def test_with_room_for_all_it_is_the_model_without_a_cache(name, kv_heads, pieces):
    model, ids = decoder(kv_heads=kv_heads), text(LENGTH)
    caches = caches_for(EXACT[name], model)
    close(in_pieces(model, ids, caches, pieces), model(ids))


@pytest.mark.parametrize("name", EXACT)
def test_left_padding_changes_nothing(name):
    model, ids, pads = decoder(), text(LENGTH), torch.tensor([3, 0])
    padded = torch.stack([row.roll(int(n)) for row, n in zip(ids, pads, strict=True)])
    pos = torch.arange(LENGTH) - pads[:, None]
    pos = pos.clamp_min(-1)
    caches = caches_for(EXACT[name], model)
    out = in_pieces(model, padded, caches, [5, 1, 1, 5], pos)
    for row, n in enumerate(pads.tolist()):
        alone = model(ids[row : row + 1, : LENGTH - n])
        close(out[row : row + 1, n:], alone)


@pytest.mark.parametrize("name", EXACT)
def test_without_turns_and_with_a_linear_bias_it_is_exact_too(name):
    def bent(score, b, h, q_idx, kv_idx):
        return score - 0.3 * (q_idx - kv_idx)

    model, ids = decoder(turn=False, score_mod=bent), text(LENGTH)
    caches = caches_for(EXACT[name], model)
    close(in_pieces(model, ids, caches, [4, *[1] * 8]), model(ids))


@pytest.mark.parametrize("name", EXACT)
def test_an_empty_cache_takes_no_bytes(name):
    model = decoder()
    assert EXACT[name](model.blocks[0].mixer).num_bytes() == 0


@pytest.mark.parametrize("name", EXACT)
def test_bytes_grow_with_the_batch(name):
    model, sizes = decoder(), []
    for batch in (1, 3):
        caches = caches_for(EXACT[name], model)
        in_pieces(model, text(LENGTH, batch), caches, [LENGTH])
        sizes.append(caches[0].num_bytes())
    assert sizes[1] == 3 * sizes[0] > 0


@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda k, v, p: (k[0], v, p), "key has shape"),
        (lambda k, v, p: (k, v[:, :, :1], p), "value"),
        (lambda k, v, p: (k, v, p[:1]), "pos has shape"),
    ],
)
def test_what_does_not_fit_each_other_is_refused(name, change, message):
    cache = EXACT[name](decoder().blocks[0].mixer)
    _, key, value = example(Shape(2, 2, 2, 3, 3), value_dim=8)
    with pytest.raises(ValueError, match=message):
        cache.update(*change(key, value, torch.arange(3)))
    assert cache.num_bytes() == 0


@pytest.mark.parametrize("name", CHECKED)
def test_another_batch_than_before_is_refused(name):
    model = decoder()
    caches = caches_for(EXACT[name], model)
    in_pieces(model, text(2), caches, [2])
    with pytest.raises(ValueError, match="batch"):
        model(text(1, batch=3), pos=torch.tensor([2]), caches=caches)


def test_positions_of_another_kind_than_before_are_refused():
    cache = WindowCache(4)
    _, key, value = example(Shape(2, 2, 2, 1, 1))
    cache.update(key, value, torch.tensor([0]))
    with pytest.raises(ValueError, match="pos has 2 axes, the cache has 1"):
        cache.update(key, value, torch.tensor([[1], [1]]))


def test_tokens_are_joined_cut_and_chosen():
    _, key, value = example(Shape(2, 2, 2, 4, 4))
    kept = incoming(key, value, torch.arange(4).expand(2, -1), None)
    both = join(join(None, kept.first(1)), kept.last(3))
    assert all(map(torch.equal, both, kept))
    assert all(map(torch.equal, kept.last(9), kept))
    assert kept.first(0).pos.shape == kept.last(0).pos.shape == (2, 0)
    some = choose(kept, torch.tensor([[0, 2], [1, 3]]))
    assert torch.equal(some.key[1], key[1, :, [1, 3]])
    assert torch.equal(some.value[0], value[0, :, [0, 2]])
    assert some.pos.tolist() == [[0, 2], [1, 3]]


def test_bytes_are_counted_by_type():
    x = torch.zeros(3, 5)
    assert size_of(x, x.half(), x.to(torch.uint8)) == 15 * (4 + 2 + 1)
    assert Kept(x.view(1, 1, 3, 5), x.view(1, 1, 3, 5), x).num_bytes() == 120


def test_a_window_with_its_mask_is_the_same_for_any_pieces():
    model, ids = decoder(mask=masks.sliding_window(4)), text(LENGTH)
    for pieces in PIECES:
        caches = [WindowCache(4) for _ in model.blocks]
        close(in_pieces(model, ids, caches, pieces), model(ids))
