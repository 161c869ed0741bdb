"""One new token on a cache in few bits: the codes are read where they lie."""

import pytest
import torch

pytest.importorskip("triton")

from minitransformer.attention import core
from minitransformer.caches.quantized import Block, Quantized, block, quantize
from minitransformer.caches.staircase import StaircaseCache
from minitransformer.kernels import staircase_decoding as module
from minitransformer.kernels import tiles
from minitransformer.kernels.resources import Build, resources
from minitransformer.kernels.staircase_decoding import attention

from .budget import DEVICE, DTYPES, needs_gpu, normal

HALVES = [pytest.param(x, marks=needs_gpu) for x in (torch.float16, torch.bfloat16)]


def whole(x):
    return Quantized(x, None, 16, x.shape[-1])


def filled(
    tokens, *, kv_heads=2, head_dim=16, dtype=torch.float32, pos=None, **options
):
    cache = StaircaseCache(**options)
    new = [normal(2, kv_heads, tokens, head_dim, seed=s, dtype=dtype) for s in (1, 2)]
    pos = torch.arange(tokens, device=DEVICE) if pos is None else pos
    for start in range(0, tokens, cache.residual):
        part = slice(start, start + cache.residual)
        cache.update(*(x[:, :, part] for x in new), pos[..., part])
    return cache


def kept(cache):
    """Return the stairs of a cache, and the same dequantized, in float64."""
    waits = cache.waiting
    stairs = [*cache.blocks(), (whole(waits.key), whole(waits.value))]
    read = [one.read() for one in cache.blocks()] + [(waits.key, waits.value)]
    return stairs, [torch.cat(x, dim=2).double() for x in zip(*read, strict=True)]


def check(query, stairs, wide, **options):
    """Hold output and lse to what the type allows.

    Products of E numbers and a mean of values are off by a few roundings of their
    greatest; a dequantized number by one more, as it is made in another order.
    """
    got, lse = attention(query, stairs, return_lse=True, **options)
    pos = options.get("kv_pos")
    at = {} if pos is None else {"kv_pos": pos, "q_pos": pos.amax(-1, keepdim=True)}
    exact, sums = core.attention(query.double(), *wide, return_lse=True, **at)
    top = max(float(x.abs().max()) for x in (query, *wide))
    error = torch.finfo(query.dtype).eps * query.shape[-1] ** 0.5 * top**2
    assert (got - exact).abs().max() <= error
    assert (lse - sums).abs().max() <= error
    assert got.dtype == query.dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tokens", [1, 16, 17, 90])
def test_codes_give_what_the_dequantized_cache_gives(tokens, dtype):
    cache = filled(tokens, dtype=dtype)
    check(normal(2, 4, 1, 16, dtype=dtype), *kept(cache))


@pytest.mark.parametrize("part", [32, 64])
@pytest.mark.parametrize("group", [1, 64])
def test_parts_and_groups_may_be_cut_anywhere(group, part, monkeypatch):
    tile = tiles.DecodingTile(part, 32, 4, 1)
    monkeypatch.setattr(module, "staircase_tile", lambda *sizes: tile)
    check(normal(2, 2, 1, 16), *kept(filled(150, residual=64, group=group)))


@pytest.mark.parametrize("bits", [(16, 8), (16, 16, 2), (16, 4, 1)])
@pytest.mark.parametrize("heads", [1, 6])
def test_any_stairs_and_any_shared_heads(heads, bits):
    kv_heads = min(heads, 2)
    cache = filled(70, bits=bits, kv_heads=kv_heads)
    check(normal(2, heads, 1, 16), *kept(cache))


def test_empty_slots_are_not_seen():
    pos = torch.arange(53, device=DEVICE).expand(2, -1).clone()
    pos[1] -= 20
    pos[pos < 0] = -1  # the second sequence begins later
    cache = filled(53, pos=pos)
    check(normal(2, 4, 1, 16), *kept(cache), kv_pos=pos)


def test_a_sequence_without_tokens_gets_zeros():
    cache = filled(20)
    pos = torch.tensor([[0] * 20, [-1] * 20])
    out, lse = attention(
        normal(2, 2, 1, 16), kept(cache)[0], kv_pos=pos, return_lse=True
    )
    assert not out[1].any() and out[0].any()
    assert lse[1].isneginf().all() and lse[0].isfinite().all()


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_long_sums_are_as_exact_as_short_ones(bits, dtype, monkeypatch):
    """The mean of many values is small, the sum of their codes is not."""
    tile = tiles.DecodingTile(8192, 64, 4, 3)
    monkeypatch.setattr(module, "staircase_tile", lambda *sizes: tile)
    size = (1, 2, 8192, 128)
    stairs = [block(*(normal(*size, seed=s, dtype=dtype) for s in (1, 2)), bits, 64)]
    query = normal(1, 8, 1, 128, dtype=dtype)
    read = [x.double() for x in Block(*stairs[0]).read()]
    wanted = core.attention(query.double(), *read)
    error = (attention(query, stairs).double() - wanted).norm() / wanted.norm()
    assert error <= torch.finfo(dtype).eps


def changed(name):
    """Return arguments with one thing wrong."""
    query, stairs = normal(2, 2, 1, 16), kept(filled(40))[0]
    key, value = stairs[0]
    if name == "length":
        query = normal(2, 2, 3, 16)
    elif name == "bits":
        x = normal(2, 2, 3, 8, 16)
        stairs = [(quantize(x, 3, dim=3), quantize(x.flatten(2, 3), 3, dim=3))]
    elif name == "group":
        x = normal(2, 2, 3, 6, 16)
        stairs = [(quantize(x, 4, dim=3), quantize(x.flatten(2, 3), 4, dim=3))]
    elif name == "dtype":
        query = query.half()
    elif name == "heads":
        query = normal(2, 3, 1, 16)
    elif name == "codes":
        stairs = [(key._replace(codes=key.codes[..., 1:]), value)]
    elif name == "none":
        stairs = []
    return query, stairs


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("length", "needs \\(B, H, 1, E\\)"),
        ("bits", "keys have 3 bits"),
        ("group", "group is 6, needs a power of 2"),
        ("dtype", "k_low has torch.float32"),
        ("heads", "keys have 2 heads, query 3"),
        ("codes", "codes of key have shape"),
        ("none", "0 stairs hold tokens"),
    ],
)
def test_what_does_not_fit_is_refused(name, words):
    with pytest.raises(ValueError, match=words):
        attention(*changed(name))


def test_positions_of_another_length_are_refused():
    with pytest.raises(ValueError, match="kv_pos has shape"):
        attention(normal(2, 2, 1, 16), kept(filled(40))[0], kv_pos=torch.zeros(39))


def test_it_compiles_for_a_hopper_gpu_without_spills():
    half, number = "*fp16:16", "i32"
    pointers = ("k_low_ptr", "k_high_ptr", "v_low_ptr", "v_high_ptr", "q_ptr")
    counts = ("kv_heads", "tokens", "all_tokens", "before", "part", "first", "parts")
    builds = [
        Build(
            module._stair,
            {
                **dict.fromkeys(pointers, half),
                **dict.fromkeys(("k_ptr", "v_ptr"), "*i32:16" if bits < 16 else half),
                **dict.fromkeys(("out_ptr", "lse_ptr"), "*fp32:16"),
                **dict.fromkeys(counts, number),
                **{"pos_ptr": "*i32:16", "scale": "fp32"},
            },
            {
                **{"HEADS": 4, "ROWS": 4, "BN": 64, "E": 128, "BITS": bits},
                **{"GROUP": 64, "POS": False, "PRECISION": "tf32"},
            },
            **limits,
        )
        for bits, limits in (
            (2, {"warps": 2, "registers": 168}),
            (4, {"warps": 2, "registers": 168}),
            (8, {}),
            (16, {}),
        )
    ]
    taken = resources(builds)
    assert [each.spills for each in taken] == [0] * 4
    assert all(each.shared <= 227 * 1024 for each in taken)
    assert "mma.sync" in taken[0].ptx
