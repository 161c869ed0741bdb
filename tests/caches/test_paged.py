import pytest
import torch

from minitransformer.caches.paged import PagedCache, PagePool
from minitransformer.testing import Shape, example

from .small import LAYERS, close, decoder, in_pieces, text


def pool(pages=10, size=3, **options):
    sizes = {"num_kv_heads": 2, "head_dim": 8, "dtype": torch.float64} | options
    return PagePool(pages, size, **sizes)


def tokens(length, batch=2, seed=0):
    shape = Shape(batch, 2, 2, length, length)
    _, key, value = example(shape, value_dim=8, seed=seed)
    return key, value, torch.arange(length)


def test_a_token_lies_where_its_table_says():
    memory = pool()
    cache, (key, value, pos) = PagedCache(memory), tokens(7)
    for at in pos.split(2):
        cache.update(key[:, :, at], value[:, :, at], at)
    for b in range(2):
        for t in range(7):
            page, slot = cache.tables[b][t // 3], t % 3
            assert torch.equal(memory.key[page, slot], key[b, :, t])
            assert torch.equal(memory.value[page, slot], value[b, :, t])
            assert memory.pos[page, slot] == t
    assert [len(table) for table in cache.tables] == [3, 3]
    assert len(memory.free) == 4


def test_empty_slots_take_no_place():
    memory = pool()
    cache, (key, value, _) = PagedCache(memory), tokens(6)
    pos = torch.stack([torch.arange(6), torch.tensor([-1, -1, -1, -1, 0, 1])])
    k, v, at = cache.update(key, value, pos)
    assert cache.lengths == [6, 2] and [len(t) for t in cache.tables] == [2, 1]
    assert at.tolist() == [[0, 1, 2, 3, 4, 5], [0, 1, -1, -1, -1, -1]]
    assert torch.equal(k[1, :, :2], key[1, :, 4:])
    assert torch.equal(v[1, :, :2], value[1, :, 4:])


def test_its_bytes_are_those_of_its_pages():
    memory = pool()
    assert memory.page_bytes() == 3 * 2 * (8 + 8) * 8
    cache, (key, value, pos) = PagedCache(memory), tokens(10, batch=1)
    for t in range(10):
        cache.update(key[:, :, t : t + 1], value[:, :, t : t + 1], pos[t : t + 1])
        assert cache.num_bytes() == (t // 3 + 1) * memory.page_bytes()


def test_a_fork_shares_pages_until_someone_writes():
    memory = pool()
    cache, (key, value, pos) = PagedCache(memory), tokens(5, batch=1)
    cache.update(key, value, pos)
    cache.fork([0, 0, 0])
    assert cache.num_bytes() == 2 * memory.page_bytes()
    more = tokens(2, batch=3, seed=5)
    new = cache.update(more[0], more[1], pos[:2] + 5)
    # full pages stay shared, the open one and the next are each row's own
    assert cache.num_bytes() == (1 + 3 * 2) * memory.page_bytes()
    for b in range(3):
        assert torch.equal(new[0][b], torch.cat([key[0], more[0][b]], dim=1))
        assert torch.equal(new[1][b], torch.cat([value[0], more[1][b]], dim=1))
        assert new[2][b].tolist() == list(range(7))
    cache.release()
    assert sorted(memory.free) == list(range(10)) and memory.users == [0] * 10


def test_rows_left_out_of_a_fork_are_given_back():
    memory = pool()
    cache, (key, value, pos) = PagedCache(memory), tokens(4, batch=3)
    cache.update(key, value, pos)
    cache.fork([2, 0])
    assert len(memory.free) == 10 - 4
    got = cache.update(key[:2], value[:2], pos + 4)
    assert torch.equal(got[0][0, :, :4], key[2])
    assert torch.equal(got[0][1, :, :4], key[0])


def test_pages_given_back_are_used_again():
    memory = pool(pages=2)
    first, (key, value, pos) = PagedCache(memory), tokens(6, batch=1)
    first.update(key, value, pos)
    first.release()
    second = PagedCache(memory)
    got = second.update(key[:, :, :4], value[:, :, :4], pos[:4])
    assert got[2].tolist() == [[0, 1, 2, 3]]


def test_without_free_pages_nothing_is_written():
    memory = pool(pages=3)
    cache, (key, value, pos) = PagedCache(memory), tokens(3)
    cache.update(key, value, pos)
    stored = memory.key.clone()
    with pytest.raises(ValueError, match="2 pages needed, 1 are free"):
        cache.update(key[:, :, :1], value[:, :, :1], pos[:1] + 3)
    assert torch.equal(memory.key, stored) and cache.lengths == [3, 3]


def test_pages_for_copies_are_counted_before_writing():
    memory = pool(pages=2)
    cache, (key, value, pos) = PagedCache(memory), tokens(4, batch=1)
    cache.update(key, value, pos)
    cache.fork([0, 0])
    one = key[:, :, :1].expand(2, -1, -1, -1)
    with pytest.raises(ValueError, match="2 pages needed, 0 are free"):
        cache.update(one, one, pos[:1] + 4)


def test_beams_go_on_as_if_each_were_alone():
    model, ids = decoder(), text(5, batch=1)
    caches = [PagedCache(pool(30)) for _ in range(LAYERS)]
    in_pieces(model, ids, caches, [5])
    for cache in caches:
        cache.fork([0, 0])
    tails = text(4, batch=2, seed=9)
    got = in_pieces(model, tails, caches, [1, 3], torch.arange(5, 9))
    close(got, model(torch.cat([ids.expand(2, -1), tails], dim=1))[:, 5:])


def test_several_batches_may_share_a_pool():
    memory = pool(20)
    one, other = PagedCache(memory), PagedCache(memory)
    a, b = tokens(7, seed=1), tokens(4, batch=1, seed=2)
    one.update(*a)
    other.update(*b)
    again = one.update(a[0][:, :, :1], a[1][:, :, :1], a[2][:1] + 7)
    assert torch.equal(again[0][:, :, :7], a[0])
    pages = [page for cache in (one, other) for t in cache.tables for page in t]
    assert len(set(pages)) == len(pages)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: pool(pages=0), "num_pages is 0, needs at least 1"),
        (lambda: pool(size=0), "page_size is 0, needs at least 1"),
        (lambda: PagedCache(pool()).fork([0]), "row is 0, needs 0 to -1"),
        (
            lambda: PagedCache(pool(head_dim=4)).update(*tokens(2)),
            r"key has \(heads, size\) \(2, 8\)",
        ),
        (
            lambda: PagedCache(pool(dtype=torch.float32)).update(*tokens(2)),
            r"the pool has \(2, 8\) in torch.float32",
        ),
    ],
)
def test_what_does_not_fit_is_refused(run, message):
    with pytest.raises(ValueError, match=message):
        run()
