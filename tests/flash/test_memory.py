import numpy as np
import pytest
import torch

from minitransformer.flash.memory import (
    TwoLevelMemory,
    peak_bytes,
    snapshots,
    tensor_bytes,
)


def test_a_sum_of_two_vectors_by_hand():
    slow, total = np.arange(6.0).reshape(2, 3), np.zeros(3)
    memory = TwoLevelMemory(capacity=72)
    a, b = memory.load(slow[0], "a"), memory.load(slow[1], "b")
    both = memory.new((3,), "sum")
    both += a + b
    memory.store(both, total)
    memory.free(a, b, both)
    np.testing.assert_array_equal(total, [3, 5, 7])
    assert (memory.read, memory.written) == (48, 24)
    assert (memory.used, memory.peak) == (0, 72)


def test_a_tile_is_a_copy():
    slow = np.zeros(2)
    memory = TwoLevelMemory()
    tile = memory.load(slow, "a")
    tile += 1
    assert not slow.any()
    memory.store(tile, slow)
    tile += 1
    np.testing.assert_array_equal(slow, [1, 1])


def test_bytes_are_those_of_the_numbers_type():
    memory = TwoLevelMemory()
    memory.load(np.zeros(3, dtype=np.float32), "a")
    memory.load(np.zeros((2, 2)), "b")
    assert memory.read == 12 + 32


def test_what_does_not_fit_is_refused_until_room_is_made():
    memory = TwoLevelMemory(capacity=24)
    first = memory.load(np.zeros(2), "K", 0)
    with pytest.raises(ValueError, match="tile S 1 2 has 16 bytes, fast memory has 8"):
        memory.new((2,), "S", 1, 2)
    memory.free(first)
    memory.new((3,), "S", 1, 2)
    assert memory.used == 24


def test_a_tile_that_is_not_there_is_refused():
    memory = TwoLevelMemory()
    tile = memory.load(np.zeros(2), "a")
    with pytest.raises(ValueError, match=r"slow has shape \(3,\), the tile has \(2,\)"):
        memory.store(tile, np.zeros(3))
    memory.free(tile)
    for use in (lambda: memory.free(tile), lambda: memory.store(tile, np.zeros(2))):
        with pytest.raises(ValueError, match="no such tile in fast memory"):
            use()


def test_a_memory_of_nothing_is_refused():
    with pytest.raises(ValueError, match="capacity is 0, needs a positive number"):
        TwoLevelMemory(0)


def test_snapshots_show_what_was_held_and_moved():
    memory = TwoLevelMemory()
    k = memory.load(np.zeros(1), "K", 0)
    s = memory.new((2,), "S", 0)
    memory.free(s)
    q = memory.load(np.zeros(1), "Q", 0)
    memory.store(q, np.zeros(1))
    memory.free(k)
    memory.new((2,), "S", 1)
    first, second = snapshots(memory.log, "S")
    assert first == (("S", 0), {("K", 0), ("S", 0)}, 8, 0)
    assert second == (("S", 1), {("Q", 0), ("S", 1)}, 16, 8)


def test_the_log_adds_up_to_the_counts():
    memory = TwoLevelMemory()
    tile = memory.load(np.zeros(5), "a")
    memory.store(tile, np.zeros(5))
    sizes = {event.action: event.size for event in memory.log}
    assert sizes == {"load": memory.read, "store": memory.written}


def test_the_peak_is_what_was_held_at_once_and_not_in_all():
    def both():
        first = torch.ones(1000)
        del first
        return torch.ones(500) + torch.ones(500)

    assert peak_bytes(both) == 3 * 2000
    assert peak_bytes(lambda: torch.ones(1000) + torch.ones(1000)) == 3 * 4000
    assert peak_bytes(lambda: None) == 0


def test_the_peak_sees_what_derivatives_keep():
    x = torch.ones(1000, requires_grad=True)

    def derive():
        y = torch.exp(x)
        return torch.autograd.grad(y.sum(), x)

    # y, which is kept, and its product with what flows back, one number; the sum
    assert 8_000 <= peak_bytes(derive) <= 8_100


def test_the_bytes_of_tensors():
    assert tensor_bytes(torch.zeros(3), torch.zeros(2, 2, dtype=torch.float64)) == 44
