import torch

from minitransformer.again import again


def counted():
    """A function that is remembered, and the list of its calls."""
    calls = []

    @again
    def twice(x, factor=2):
        calls.append(factor)
        return x * factor

    return twice, calls


def test_the_same_tensor_is_computed_once():
    twice, calls = counted()
    x = torch.tensor([1, 2])
    assert twice(x) is twice(x)
    assert calls == [2]


def test_another_tensor_is_computed_though_it_is_equal():
    twice, calls = counted()
    x, y = torch.tensor([1, 2]), torch.tensor([3, 4])
    assert [twice(z).tolist() for z in (x, y, x)] == [[2, 4], [6, 8], [2, 4]]
    twice(x.clone())
    assert len(calls) == 4


def test_a_tensor_that_was_written_into_is_computed_again():
    twice, _ = counted()
    x = torch.tensor([1, 2])
    twice(x)
    x += 1
    assert twice(x).tolist() == [4, 6]


def test_plain_values_count_too():
    twice, calls = counted()
    x = torch.tensor([1])
    assert [int(twice(x, n)) for n in (3, 3, 4)] == [3, 3, 4]
    assert int(twice(x)) == 2
    assert calls == [3, 4, 2]


def test_tensors_without_a_version_are_computed_each_time():
    twice, calls = counted()
    with torch.inference_mode():
        x = torch.tensor([1])
        twice(x)
        x += 1
        assert int(twice(x)) == 4
    assert len(calls) == 2
