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
