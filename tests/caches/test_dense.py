import pytest
import torch

from minitransformer.caches.dense import DenseCache
from minitransformer.testing import Shape, example


def test_it_hands_back_all_that_came():
    _, key, value = example(Shape(2, 4, 2, 5, 5))
    cache, pos = DenseCache(), torch.arange(5)
    for part in (slice(0, 3), slice(3, 4), slice(4, 5)):
        got = cache.update(key[:, :, part], value[:, :, part], pos[part])
    for one, wanted in zip(got, (key, value, pos), strict=True):
        assert torch.equal(one, wanted)


def test_positions_may_differ_by_sequence():
    _, key, value = example(Shape(2, 2, 2, 1, 1))
    cache = DenseCache()
    cache.update(key, value, torch.tensor([[-1], [0]]))
    *_, pos = cache.update(key, value, torch.tensor([[0], [1]]))
    assert pos.tolist() == [[-1, 0], [0, 1]]


def test_its_bytes_are_those_of_keys_and_values():
    cache = DenseCache()
    assert cache.num_bytes() == 0
    _, key, value = example(
        Shape(3, 4, 2, 7, 7), head_dim=8, value_dim=6, dtype=torch.float32
    )
    cache.update(key, value, torch.arange(7))
    assert cache.num_bytes() == 3 * 2 * 7 * (8 + 6) * 4


def test_what_does_not_go_on_is_refused():
    cache, pos = DenseCache(), torch.arange(2)
    _, key, value = example(Shape(2, 2, 2, 2, 2))
    cache.update(key, value, pos)
    with pytest.raises(ValueError, match=r"key has \(batch, heads\) \(1, 2\)"):
        cache.update(key[:1], value[:1], pos)
    with pytest.raises(ValueError, match="pos 2 axes"):
        cache.update(key, value, pos.expand(2, -1))


def grown(lengths, rows=2):
    """A cache that got parts of these lengths, and all that came, joined."""
    _, key, value = example(Shape(rows, 2, 2, sum(lengths), sum(lengths)))
    cache, pos, at = DenseCache(), torch.arange(sum(lengths)), 0
    for length in lengths:
        part = slice(at, at + length)
        got = cache.update(key[:, :, part], value[:, :, part], pos[part])
        at += length
    return cache, got, (key, value, pos)


@pytest.mark.parametrize("lengths", [(1,) * 150, (70, 1, 1), (3, 200, 1), (63, 1, 1)])
def test_it_outgrows_its_room_without_loss(lengths):
    _, got, wanted = grown(lengths)
    for one, other in zip(got, wanted, strict=True):
        assert torch.equal(one, other)


def test_its_memory_is_copied_a_few_times_only():
    cache, moves, last = DenseCache(), 0, None
    for i in range(1000):
        key, *_ = cache.update(
            torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1), torch.tensor([i])
        )
        moves += key.data_ptr() != last
        last = key.data_ptr()
    assert moves <= 7  # the first, then room for 64, 130, 262, 526, 1054


def test_a_cropped_cache_goes_on_as_if_nothing_had_come():
    cache, _, (key, value, _) = grown((3, 4, 2))
    cache.crop(5)
    assert cache.length == 5
    new = [x[..., :2, :] + 7 for x in (key, value)]
    got = cache.update(*new, torch.tensor([5, 6]))
    for one, old, more in zip(got[:2], (key, value), new, strict=True):
        assert torch.equal(one, torch.cat([old[:, :, :5], more], dim=2))
    assert got[2].tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_cropping_frees_the_bytes_it_counts():
    cache, *_ = grown((4, 4))
    whole = cache.num_bytes()
    cache.crop(2)
    assert cache.num_bytes() * 4 == whole
    cache.crop(0)
    assert cache.num_bytes() == 0


@pytest.mark.parametrize("length", [-1, 8])
def test_no_more_can_be_kept_than_there_is(length):
    cache, *_ = grown((4, 3))
    with pytest.raises(ValueError, match=f"length is {length}, needs 0 to 7"):
        cache.crop(length)
    with pytest.raises(ValueError, match="length is 1, needs 0 to 0"):
        DenseCache().crop(1)


@pytest.mark.parametrize("lengths", [(5,), (5, 1)])  # without room, and with
@pytest.mark.parametrize("rows", [[1, 0], [1, 1, 0], [1]])
def test_sequences_change_places(rows, lengths):
    cache, _, (key, value, pos) = grown(lengths)
    cache.reorder(torch.tensor(rows))
    tail = key[rows][:, :, :1] + 1
    got = cache.update(tail, tail[..., :6], torch.tensor([9]))
    assert torch.equal(got[0], torch.cat([key[rows], tail], dim=2))
    assert torch.equal(got[1], torch.cat([value[rows], tail[..., :6]], dim=2))
    assert got[2].tolist() == [*pos.tolist(), 9]


def test_positions_go_with_their_sequence():
    _, key, value = example(Shape(2, 2, 2, 2, 2))
    cache = DenseCache()
    cache.reorder(torch.tensor([0]))  # empty: nothing to do
    cache.update(key, value, torch.tensor([[-1, 0], [0, 1]]))
    cache.reorder(torch.tensor([1, 0]))
    *_, pos = cache.update(key, value, torch.tensor([[2, 3], [1, 2]]))
    assert pos.tolist() == [[0, 1, 2, 3], [-1, 0, 1, 2]]


def test_what_is_cached_can_be_derived():
    cache = DenseCache()
    parts = [torch.ones(1, 1, 1, 2, requires_grad=True) for _ in range(4)]
    total = torch.zeros(())
    for i, part in enumerate(parts):
        key, value, _ = cache.update(part, part * 2, torch.tensor([i]))
        total = total + (key * value).sum()
    total.backward()
    assert [part.grad[0, 0, 0, 0].item() for part in parts] == [16, 12, 8, 4]
