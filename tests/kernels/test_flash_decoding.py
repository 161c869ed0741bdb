"""A few queries on many keys: parts that are merged, keys in one piece or in pages."""

import pytest
import torch

pytest.importorskip("triton")

from minitransformer.attention import core, masks
from minitransformer.caches.paged import PagedCache, PagePool
from minitransformer.kernels import flash_decoding as module
from minitransformer.kernels import launch, tiles
from minitransformer.kernels.flash_decoding import attention, paged_attention

DEVICE = "cpu" if launch.INTERPRETED else "cuda"


def example(length=1, kv_length=150, heads=4, kv_heads=2, head_dim=16, batch=2):
    generator = torch.Generator().manual_seed(0)
    sizes = [(heads, length), (kv_heads, kv_length), (kv_heads, kv_length)]
    return [
        torch.randn(batch, h, n, head_dim, generator=generator).to(DEVICE)
        for h, n in sizes
    ]


def assert_same(got, wanted):
    for ours, exact in zip(got, wanted, strict=True):
        assert torch.equal(ours.isfinite(), exact.isfinite())
        gap = (ours - exact).nan_to_num(0.0, posinf=0.0, neginf=0.0)
        assert gap.abs().max() <= 2e-6


def exact(tensors, **options):
    wide = [x.double() for x in tensors]
    return core.attention(*wide, return_lse=True, **options)


@pytest.mark.parametrize("part", [32, 64, 1024])
@pytest.mark.parametrize(("length", "kv_length"), [(1, 150), (3, 33), (5, 5), (8, 1)])
def test_any_parts_give_attention(part, length, kv_length, monkeypatch):
    tile = tiles.DecodingTile(part, 32, 4, 1)
    monkeypatch.setattr(module, "decoding_tile", lambda *sizes: tile)
    tensors = example(length, kv_length)
    for causal in (False, True):
        got = attention(*tensors, causal=causal, return_lse=True)
        assert_same(got, exact(tensors, mask_mod=masks.causal if causal else None))


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_heads_share_keys(kv_heads):
    tensors = example(kv_heads=kv_heads)
    assert_same(attention(*tensors, return_lse=True), exact(tensors))


def test_positions_are_data():
    tensors = example(2, 70)
    generator = torch.Generator().manual_seed(1)
    at = {
        "q_pos": torch.randint(-1, 70, (2, 2), generator=generator).to(DEVICE),
        "kv_pos": torch.randint(-1, 70, (2, 70), generator=generator).to(DEVICE),
    }
    at["q_pos"][0, 0] = -1
    got = attention(*tensors, causal=True, return_lse=True, **at)
    assert_same(got, exact(tensors, mask_mod=masks.causal, **at))
    assert not got[0][0, :, 0].any()


def test_keys_may_be_strided():
    query, key, value = example()
    strided = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (key, value)]
    assert torch.equal(attention(query, *strided), attention(query, key, value))


def test_pages_of_a_cache_are_read_where_they_lie():
    generator = torch.Generator().manual_seed(0)
    pool = PagePool(12, 16, num_kv_heads=2, head_dim=16)
    other, cache = PagedCache(pool), PagedCache(pool)
    lengths = torch.tensor([37, 21])
    pos = torch.arange(37).expand(2, -1).clone()
    pos[1, 21:] = -1  # the second sequence is shorter
    new = [torch.randn(2, 2, 37, 16, generator=generator) for _ in range(4)]
    other.update(*(x[:, :, :20] for x in new[2:]), pos[:, :20])  # takes pages first
    key, value, kv_pos = cache.update(*new[:2], pos)
    query = torch.randn(2, 4, 1, 16, generator=generator)
    table = torch.zeros(2, 3, dtype=torch.int64)
    for b, pages in enumerate(cache.tables):
        table[b, : len(pages)] = torch.tensor(pages)
    got = paged_attention(
        query.to(DEVICE),
        pool.key.transpose(1, 2).to(DEVICE),
        pool.value.transpose(1, 2).to(DEVICE),
        table=table,
        counts=lengths,
        return_lse=True,
    )
    at = {"q_pos": (lengths - 1).unsqueeze(1), "kv_pos": kv_pos}
    wanted = exact((query, key, value), mask_mod=masks.causal, **at)
    assert_same([x.cpu() for x in got], wanted)


def test_no_gradient_flows_and_none_is_lost_silently():
    tensors = [x.requires_grad_() for x in example()]
    with pytest.raises(ValueError, match="query needs a gradient, decoding has none"):
        attention(*tensors)


@pytest.mark.gpu
@pytest.mark.skipif(launch.INTERPRETED, reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_on_a_gpu_the_error_is_that_of_the_type(dtype):
    tensors = [x.to(dtype) for x in example(1, 5000, 32, 8, 128)]
    out = attention(*tensors)
    plain = core.attention(*tensors)
    wanted, _ = exact(tensors)
    assert (out - wanted).norm() <= 2 * (plain - wanted).norm()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": (2, 2, 9, 32)}, "key has head_dim 32, query has 16"),
        ({"query": (2, 4, 40, 16)}, "query has 80 rows for each key head"),
        ({"value": (2, 2, 0, 16)}, r"value has shape \(2, 2, 0, 16\), needs numbers"),
        ({"q_pos": torch.zeros(1)}, "q_pos is given without kv_pos"),
        (
            {"q_pos": torch.zeros(1), "kv_pos": torch.zeros(3)},
            r"kv_pos has shape \(3,\), needs \(9,\) or \(2, 9\)",
        ),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    inputs = dict(zip(("query", "key", "value"), example(1, 9), strict=True))
    for name, x in change.items():
        inputs[name] = torch.ones(x, device=DEVICE) if isinstance(x, tuple) else x
    with pytest.raises(ValueError, match=message):
        attention(**inputs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"table": torch.zeros(3, 2)}, r"table has shape \(3, 2\), needs \(2, n\)"),
        ({"counts": torch.zeros(3)}, r"counts has shape \(3,\), needs \(2,\)"),
        ({"counts": torch.tensor([33, 1])}, "counts has 33, table 2 pages of 16"),
    ],
)
def test_a_table_that_does_not_fit_is_named(change, message):
    query, *_ = example()
    pool = torch.ones(5, 2, 16, 16, device=DEVICE)
    given = {"table": torch.zeros(2, 2), "counts": torch.tensor([3, 4])} | change
    with pytest.raises(ValueError, match=message):
        paged_attention(query, pool, pool, **given)


def test_pages_of_an_odd_size_are_refused():
    query, *_ = example()
    pool = torch.ones(5, 2, 12, 16, device=DEVICE)
    with pytest.raises(ValueError, match="key has pages of 12 tokens, needs a power"):
        paged_attention(
            query, pool, pool, table=torch.zeros(2, 2), counts=torch.tensor([3, 4])
        )
