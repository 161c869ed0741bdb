import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minitransformer.caches.quantized import QuantizedCache
from minitransformer.caches.staircase import (
    StaircaseCache,
    bits_of_age,
    naive_staircase,
)
from minitransformer.testing import Shape, example

from .small import close, decoder, in_pieces, text


def feed(cache, key, value, piece=1):
    for pos in torch.arange(key.shape[2]).split(piece):
        seen = cache.update(key[:, :, pos], value[:, :, pos], pos)
    return seen


def read(cache):
    """What the next call would find: settled tokens, then those that wait."""
    keys, values = zip(*(block.read() for block in cache.blocks()), strict=True)
    return (
        torch.cat([*keys, cache.waiting.key], 2),
        torch.cat([*values, cache.waiting.value], 2),
    )


@pytest.mark.parametrize("length", [4, 8, 12, 16, 20, 27, 40])
@pytest.mark.parametrize("bits", [(16, 8, 4, 2), (16, 3), (16, 4, 4, 1), (16, 16, 2)])
def test_it_is_the_definition(length, bits):
    _, key, value = example(Shape(2, 2, 2, length, length))
    cache = StaircaseCache(bits, residual=4, group=2)
    feed(cache, key, value)
    got = read(cache)
    for b, h in ((0, 0), (1, 1)):
        wanted = naive_staircase(key[b, h].numpy(), value[b, h].numpy(), 4, 2, bits)
        close(got[0][b, h], torch.tensor(wanted[0]), 1e-12)
        close(got[1][b, h], torch.tensor(wanted[1]), 1e-12)


def test_the_first_stair_of_what_is_quantized_is_the_second_of_the_list():
    _, key, value = example(Shape(1, 1, 1, 4, 4))
    cache = StaircaseCache((16, 8, 2), residual=4, group=4)
    feed(cache, key, value)
    assert [block.key.bits for block in cache.blocks()] == [8]
    error = (read(cache)[0] - key).abs().max()
    reach = (key.amax(2) - key.amin(2)).max()
    assert 0 < error <= reach / 2 / 255


def test_stairs_are_filled_from_the_top_and_the_last_holds_all_older():
    _, key, value = example(Shape(1, 1, 1, 27, 27))
    cache = StaircaseCache((16, 8, 4, 2), residual=4, group=4)
    feed(cache, key, value)
    blocks = cache.blocks()
    assert [block.key.bits for block in blocks] == [2, 4, 8]
    assert [block.value.codes.shape[2] for block in blocks] == [16, 4, 4]
    assert cache.waiting.pos.tolist() == [24, 25, 26]
    ages = [bits_of_age(a, 4, (16, 8, 4, 2), 27) for a in range(27)]
    assert ages == [16] * 3 + [8] * 4 + [4] * 4 + [2] * 16


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 999), st.integers(1, 11))
def test_errors_add_up_to_no_more_than_the_stairs_allow(seed, groups):
    length = 4 * groups
    _, key, value = example(Shape(1, 1, 1, length, length), seed=seed)
    bits = (16, 8, 4, 2)
    cache = StaircaseCache(bits, residual=4, group=4)
    feed(cache, key, value)
    got = read(cache)
    grouped = key.unflatten(2, (-1, 4))
    reach_key = grouped.amax(3, keepdim=True) - grouped.amin(3, keepdim=True)
    reach_value = value.amax(3, keepdim=True) - value.amin(3, keepdim=True)
    steps = [1 / (2**b - 1) for b in bits[1:]]
    seen = torch.tensor(
        [sum(steps[: min(groups - g, 3)]) / 2 for g in range(groups)]
    ).double()
    error = (got[0] - key).unflatten(2, (-1, 4)).abs()
    assert (error <= reach_key * seen[:, None, None] * (1 + 1e-9)).all()
    error = (got[1] - value).unflatten(2, (-1, 4)).abs()
    reach_value = reach_value.unflatten(2, (-1, 4))
    assert (error <= reach_value * seen[:, None, None] * (1 + 1e-9)).all()
    again = got[0].unflatten(2, (-1, 4))  # the ends of a group survive every stair
    assert torch.equal(again.amax(3), grouped.amax(3))
    assert torch.equal(again.amin(3), grouped.amin(3))


def test_on_the_last_stair_nothing_changes_any_more():
    _, key, value = example(Shape(1, 2, 2, 60, 60))
    cache = StaircaseCache((16, 4, 2), residual=4, group=4)
    feed(cache, key[:, :, :20], value[:, :, :20])
    early = read(cache)
    for pos in torch.arange(20, 60).split(1):
        cache.update(key[:, :, pos], value[:, :, pos], pos)
    late = read(cache)
    assert torch.equal(early[0][:, :, :12], late[0][:, :, :12])
    assert torch.equal(early[1][:, :, :12], late[1][:, :, :12])


@pytest.mark.parametrize("bits", [2, 5])
def test_two_stairs_are_uniform_quantization(bits):
    _, key, value = example(Shape(2, 2, 2, 30, 30))
    stairs = StaircaseCache((16, bits), residual=8, group=4)
    uniform = QuantizedCache(bits, residual=8, group=4)
    both = feed(stairs, key, value), feed(uniform, key, value)
    assert all(map(torch.equal, *both))
    assert stairs.num_bytes() == uniform.num_bytes()


def test_no_token_is_lost_and_the_newest_are_exact():
    _, key, value = example(Shape(2, 2, 2, 40, 40))
    cache = StaircaseCache(residual=8, group=8)
    for t in range(40):
        at = slice(t, t + 1)
        seen = cache.update(key[:, :, at], value[:, :, at], torch.tensor([t]))
        assert seen[2].tolist() == list(range(t + 1))
        new = t - t % 8
        assert torch.equal(seen[0][:, :, new:], key[:, :, new : t + 1])
        assert torch.equal(seen[1][:, :, new:], value[:, :, new : t + 1])


def test_its_bytes_are_those_of_each_stair():
    _, key, value = example(Shape(1, 1, 1, 27, 27), value_dim=8, dtype=torch.float32)
    cache = StaircaseCache((16, 8, 4, 2), residual=4, group=4)
    feed(cache, key, value)
    codes = (4 * 8 + 4 * 4 + 16 * 2) * 16 // 8  # tokens x bits, 16 numbers, in bytes
    ends = 2 * 4 * (24 // 4 * 8 + 24)
    assert cache.num_bytes() == codes + ends + 3 * 16 * 4


def test_pieces_that_divide_the_stair_give_the_same():
    ids, model = text(40), decoder()

    def run(pieces):
        caches = [StaircaseCache(residual=8, group=4) for _ in model.blocks]
        return in_pieces(model, ids, caches, pieces)

    one = run([1] * 40)
    close(run([8] * 5), one)
    assert (one - model(ids)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": (8, 4, 2)}, r"bits is \(8, 4, 2\), needs 16 and at least one more"),
        ({"bits": (16,)}, "needs 16 and at least one more"),
        ({"bits": (16, 2, 4)}, r"bits is \(16, 2, 4\), but stairs go down"),
        ({"bits": (16, 12, 2)}, "bits is 12, needs 1 to 8, or 16"),
        ({"residual": 16, "group": 5}, "group is 5, needs a divisor of residual 16"),
    ],
)
def test_what_are_no_stairs_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        StaircaseCache(**options)
