import pytest
import torch

from minitransformer.attention.core import attention, naive_weights
from minitransformer.caches.evicting import EvictingCache, naive_survivors
from minitransformer.testing import Shape, example

from .small import close, decoder, in_pieces, text


def step(cache, query, key, value, pos):
    k, v, at = cache.update(key, value, pos)
    here = pos if pos.ndim == 2 else pos.expand(len(key), -1)
    return cache.around(attention)(query, k, v, q_pos=here, kv_pos=at)


@pytest.mark.parametrize(("heavy", "recent"), [(3, 2), (4, 0), (0, 4), (1, 1)])
def test_who_survives_is_who_was_looked_at(heavy, recent):
    query, key, value = example(Shape(1, 1, 1, 16, 16), seed=3)
    cache = EvictingCache(heavy, recent)
    for pos in torch.arange(16).split(1):
        step(cache, query[:, :, pos], key[:, :, pos], value[:, :, pos], pos)
    scores = (query @ key.mT / 8**0.5).exp()[0, 0].numpy()
    survivors = naive_survivors(scores, heavy, recent)
    assert cache.kept.pos.tolist() == [survivors]
    assert torch.equal(cache.kept.key, key[:, :, survivors])
    assert torch.equal(cache.kept.value, value[:, :, survivors])


def test_mass_is_the_sum_of_the_weights_over_queries_and_heads():
    query, key, value = example(Shape(2, 4, 2, 5, 5))
    cache = EvictingCache(9, 1)
    step(cache, query, key, value, torch.arange(5))
    wanted = naive_weights(query.numpy(), key.numpy()).sum(axis=(1, 2))
    close(cache.mass, torch.tensor(wanted))


def test_noting_the_mass_does_not_change_the_output():
    query, key, value = example(Shape(2, 4, 2, 5, 5))
    cache = EvictingCache(9, 1)
    cache.update(key, value, torch.arange(5))
    out, lse = cache.around(attention)(query, key, value, return_lse=True)
    wanted = attention(query, key, value, return_lse=True)
    close(out, wanted[0])
    close(lse, wanted[1])


def test_a_token_that_everyone_looks_at_stays_for_ever():
    query, key, value = example(Shape(1, 2, 2, 40, 40))
    key[:, :, 3] = 4.0
    query = query.abs()
    cache = EvictingCache(2, 3)
    for pos in torch.arange(40).split(1):
        step(cache, query[:, :, pos], key[:, :, pos], value[:, :, pos], pos)
    assert 3 in cache.kept.pos[0].tolist()


def test_empty_slots_go_first():
    query, key, value = example(Shape(2, 1, 1, 6, 6))
    pos = torch.stack([torch.arange(-3, 3).clamp_min(-1), torch.arange(6)])
    cache = EvictingCache(2, 1)
    step(cache, query, key, value, pos)
    assert cache.kept.pos[0].tolist() == [0, 1, 2]
    assert cache.kept.pos[1, -1] == 5


def test_they_go_before_tokens_that_nobody_looked_at():
    _, key, value = example(Shape(1, 1, 1, 4, 4))
    cache = EvictingCache(1, 1)
    cache.update(key, value, torch.tensor([0, -1, -1, 1]))
    cache.note(torch.zeros(1, 1, 1, 4))
    assert cache.kept.pos.tolist() == [[0, 1]]


def test_its_bytes_stop_growing():
    ids, model = text(20, batch=3), decoder(kv_heads=1)
    caches = [EvictingCache(4, 3) for _ in model.blocks]
    for t in range(20):
        model(ids[:, t : t + 1], pos=torch.tensor([t]), caches=caches)
        tokens = min(t + 1, 7)
        assert caches[1].num_bytes() == 3 * tokens * (16 + 1) * 8


def test_with_too_little_room_the_model_says_something_else():
    ids, model = text(20), decoder()
    caches = [EvictingCache(2, 2) for _ in model.blocks]
    got = in_pieces(model, ids, caches, [1] * 20)
    close(got[:, :4], model(ids)[:, :4])
    assert (got - model(ids)).abs().max() > 1e-3


def test_without_the_mass_of_the_last_call_it_refuses():
    _, key, value = example(Shape(1, 1, 1, 2, 2))
    cache = EvictingCache(2, 2)
    cache.update(key, value, torch.arange(2))
    with pytest.raises(ValueError, match=r"attend through around\(\)"):
        cache.update(key, value, torch.arange(2))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: EvictingCache(-1, 3), "heavy is -1, needs at least 0"),
        (lambda: EvictingCache(3, -1), "recent is -1, needs at least 0"),
        (lambda: EvictingCache(0, 0), r"heavy \+ recent is 0, needs at least 1"),
        (
            lambda: EvictingCache(1, 1).note(torch.ones(1, 1, 1, 3)),
            "weights has 3 keys, 0 are kept",
        ),
    ],
)
def test_what_does_not_fit_is_refused(run, message):
    with pytest.raises(ValueError, match=message):
        run()
