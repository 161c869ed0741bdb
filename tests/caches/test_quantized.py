import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minitransformer.caches.quantized import (
    QuantizedCache,
    dequantize,
    naive_quantize,
    pack,
    quantize,
    unpack,
)
from minitransformer.testing import Shape, example

from .small import close, decoder, in_pieces, text

BITS = [1, 2, 3, 4, 5, 6, 7, 8]


def numbers(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def test_two_bits_by_hand():
    x = torch.tensor([0.0, 0.9, 2.2, 3.0])  # levels 0, 1, 2, 3
    coded = quantize(x, 2, dim=0)
    assert dequantize(coded).tolist() == [0.0, 1.0, 2.0, 3.0]
    assert coded.codes.tolist() == [0b11_10_01_00, 0]
    low, high = coded.ends
    assert (low.item(), high.item()) == (0.0, 3.0)


@given(st.lists(st.integers(0, 255), max_size=40), st.sampled_from(BITS))
def test_what_is_packed_comes_back_and_takes_bits_bytes_for_eight(numbers, bits):
    codes = torch.tensor(numbers, dtype=torch.long) % 2**bits
    packed = pack(codes, bits)
    assert packed.dtype == torch.uint8
    assert packed.numel() == bits * -(-len(numbers) // 8)
    assert torch.equal(unpack(packed, bits, len(numbers)), codes)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dim", [0, 1, 2])
def test_it_is_the_definition_group_by_group(bits, dim):
    x = numbers(3, 5, 7)
    got = dequantize(quantize(x, bits, dim=dim)).movedim(dim, -1).reshape(-1)
    groups = x.movedim(dim, -1).reshape(-1, x.shape[dim]).numpy()
    wanted = np.concatenate([naive_quantize(group, bits) for group in groups])
    close(got, torch.tensor(wanted), 1e-14)


@settings(deadline=None)
@given(st.integers(0, 999), st.sampled_from(BITS), st.floats(1e-3, 1e3))
def test_laws_of_rounding(seed, bits, scale):
    x = scale * numbers(4, 9, seed=seed)
    once = dequantize(quantize(x, bits, dim=1))
    low, high = x.amin(1, keepdim=True), x.amax(1, keepdim=True)
    bound = (high - low) / 2 / (2**bits - 1)
    assert ((once - x).abs() <= bound * (1 + 1e-12)).all()
    assert torch.equal(once.amin(1, keepdim=True), low)
    assert torch.equal(once.amax(1, keepdim=True), high)
    assert torch.equal(dequantize(quantize(once, bits, dim=1)), once)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("bits", BITS)
def test_in_half_types_only_their_own_rounding_is_added(bits, dtype):
    x = numbers(20, 32, dtype=dtype)
    once = dequantize(quantize(x, bits, dim=1))
    assert once.dtype == dtype
    reach = x.double().amax(1, keepdim=True) - x.double().amin(1, keepdim=True)
    own = torch.finfo(dtype).eps / 2 * x.double().abs().amax(1, keepdim=True)
    bound = reach / 2 / (2**bits - 1) + own + 1e-6 * reach  # float32 in between
    assert ((once.double() - x.double()).abs() <= bound).all()
    again = dequantize(quantize(once, bits, dim=1))
    assert torch.equal(again, once) or bits == 8  # 8 bits are as fine as the type


def test_a_group_of_equal_numbers_stays_and_16_bits_change_nothing():
    x = torch.full((2, 5), 1.3)
    assert torch.equal(dequantize(quantize(x, 1, dim=1)), x)
    y = numbers(2, 5)
    assert dequantize(quantize(y, 16, dim=1)) is y


def bytes_by_hand(tokens, bits, residual, group, size=8):
    """Bytes of one head with 8 channels: codes, ends, and what waits."""
    settled = tokens - tokens % residual
    codes = settled * (8 + 8) * bits // 8
    ends = 2 * size * (settled // group * 8 + settled)
    return codes + ends + (tokens - settled) * 16 * size


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
@pytest.mark.parametrize(("residual", "group"), [(4, 4), (8, 2), (1, 1)])
def test_its_bytes_are_codes_ends_and_what_waits(bits, residual, group):
    _, key, value = example(Shape(3, 2, 2, 19, 19), value_dim=8)
    cache = QuantizedCache(bits, residual=residual, group=group)
    for t in range(19):
        at = slice(t, t + 1)
        cache.update(key[:, :, at], value[:, :, at], torch.tensor([t]))
        wanted = 3 * 2 * bytes_by_hand(t + 1, bits, residual, group)
        assert cache.num_bytes() == wanted


def test_in_half_types_two_bits_take_less_than_a_fifth():
    _, key, value = example(Shape(1, 1, 1, 256, 256), head_dim=64, value_dim=64)
    cache = QuantizedCache(2, residual=32, group=32)
    cache.update(key.half(), value.half(), torch.arange(256))
    dense = 256 * 128 * 2
    assert cache.num_bytes() == dense // 8 + 2 * 2 * (256 // 32 * 64 + 256)
    assert dense / cache.num_bytes() > 5


@pytest.mark.parametrize("bits", [2, 8])
@pytest.mark.parametrize("piece", [1, 3, 16])
def test_keys_and_values_stay_within_the_bound(bits, piece):
    _, key, value = example(Shape(2, 2, 2, 48, 48))
    cache = QuantizedCache(bits, residual=8, group=4)
    for pos in torch.arange(48).split(piece):
        seen = cache.update(key[:, :, pos], value[:, :, pos], pos)
    settled = cache.pos.shape[-1]
    assert settled == 48 - 48 % 8
    before = (48 - piece) // 8 * 8  # settled when the last call came
    groups = key[:, :, :before].unflatten(2, (-1, 4))
    reach = (groups.amax(3) - groups.amin(3)).repeat_interleave(4, dim=2)
    error = (seen[0] - key).abs()
    assert (error[:, :, :before] <= reach / 2 / (2**bits - 1) + 1e-12).all()
    assert error[:, :, :before].max() > 0
    assert torch.equal(seen[0][:, :, before:], key[:, :, before:])
    reach = value.amax(3, keepdim=True) - value.amin(3, keepdim=True)
    error = (seen[1] - value).abs()
    assert (error <= reach / 2 / (2**bits - 1) + 1e-12).all()
    assert torch.equal(seen[1][:, :, before:], value[:, :, before:])


def test_pieces_that_divide_the_residual_give_the_same():
    ids, model = text(24), decoder()

    def run(pieces):
        caches = [QuantizedCache(2, residual=8, group=4) for _ in model.blocks]
        return in_pieces(model, ids, caches, pieces)

    one = run([1] * 24)
    close(run([8] * 3), one)
    close(run([4] * 6), one)
    assert (one - model(ids)).abs().max() > 1e-3
    close(run([24]), model(ids))  # a prompt sees its own tokens as they are


def test_more_bits_are_nearer_to_the_model():
    ids, model = text(32), decoder()
    errors = []
    for bits in (1, 2, 4, 8):
        caches = [QuantizedCache(bits, residual=4, group=4) for _ in model.blocks]
        errors.append((in_pieces(model, ids, caches, [1] * 32) - model(ids)).std())
    assert errors == sorted(errors, reverse=True)


def test_empty_slots_widen_no_group():
    _, key, value = example(Shape(2, 1, 1, 8, 8))
    key[0, :, :3], value[0, :, :3] = 1e6, -1e6
    pos = torch.stack([torch.arange(-3, 5).clamp_min(-1), torch.arange(8)])
    cache = QuantizedCache(8, residual=8, group=8)
    cache.update(key, value, pos)
    last = cache.update(key[:, :, :1], value[:, :, :1], torch.tensor([[5], [8]]))
    assert (last[0][0, :, 3:8] - key[0, :, 3:]).abs().max() < 0.05
    assert last[2].tolist() == [[*pos[0].tolist(), 5], [*range(9)]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 0}, "bits is 0, needs 1 to 8, or 16"),
        ({"bits": 9}, "bits is 9, needs 1 to 8, or 16"),
        ({"bits": 2, "group": 3}, "group is 3, needs a divisor of residual 32"),
        ({"bits": 2, "group": 64}, "group is 64, needs a divisor of residual 32"),
        ({"bits": 2, "group": 0}, "group is 0, needs at least 1"),
        ({"bits": 2, "residual": 0}, "residual is 0, needs at least 1"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        QuantizedCache(**options)
