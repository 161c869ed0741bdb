"""Listed blocks are seen, others are not even read."""

import pytest
import torch

pytest.importorskip("triton")

from minitransformer.attention import core, masks
from minitransformer.kernels import launch
from minitransformer.kernels.block_sparse import attention, lists_of

DEVICE = "cpu" if launch.INTERPRETED else "cuda"
SIZE = 16


def example(length=70, kv_length=70, heads=4, kv_heads=2, head_dim=16):
    generator = torch.Generator().manual_seed(0)
    sizes = [(heads, length), (kv_heads, kv_length), (kv_heads, kv_length)]
    return [
        torch.randn(2, h, n, head_dim, generator=generator).to(DEVICE) for h, n in sizes
    ]


def dense(tensors, seen, bias=None, *, causal=False):
    """The definition: a mask and a bias for each pair of positions."""
    wide = [x.double() for x in tensors]
    shift = tensors[1].shape[2] - tensors[0].shape[2]

    def mask(b, h, q_idx, kv_idx):
        hit = seen[h % len(seen), (q_idx - shift) // SIZE, kv_idx // SIZE]
        return hit & (kv_idx <= q_idx) if causal else hit

    def mod(score, b, h, q_idx, kv_idx):
        if bias is None:
            return score
        return score + bias[h % len(seen), (q_idx - shift) // SIZE, kv_idx // SIZE]

    return core.attention(*wide, mask_mod=mask, score_mod=mod, return_lse=True)


def assert_same(got, wanted):
    for ours, exact in zip(got, wanted, strict=True):
        assert torch.equal(ours.isfinite(), exact.isfinite())
        gap = (ours - exact).nan_to_num(0.0, posinf=0.0, neginf=0.0)
        assert gap.abs().max() <= 2e-6


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("length", "kv_length"), [(70, 70), (33, 90), (1, 40)])
@pytest.mark.parametrize("maps", [1, 4])
def test_it_is_attention_under_the_mask_of_its_blocks(length, kv_length, maps, causal):
    tensors = example(length, kv_length)
    generator = torch.Generator().manual_seed(1)
    size = (maps, -(-length // SIZE), -(-kv_length // SIZE))
    seen = (torch.rand(size, generator=generator) < 0.5).to(DEVICE)
    bias = torch.randn(size, generator=generator).to(DEVICE)
    lists = lists_of(seen, SIZE, bias)
    got = attention(*tensors, lists=lists, causal=causal, return_lse=True)
    assert_same(got, dense(tensors, seen, bias, causal=causal))


def test_all_blocks_are_attention():
    tensors = example()
    lists = lists_of(torch.ones(5, 5, dtype=torch.bool, device=DEVICE), SIZE)
    got = attention(*tensors, lists=lists, causal=True, return_lse=True)
    wide = [x.double() for x in tensors]
    assert_same(got, core.attention(*wide, mask_mod=masks.causal, return_lse=True))


def test_a_long_list_may_end_within_the_keys():
    tensors = example(16, 130 * SIZE + 3, heads=1, kv_heads=1)
    seen = torch.ones(1, 131, dtype=torch.bool, device=DEVICE)
    got = attention(*tensors, lists=lists_of(seen, SIZE), return_lse=True)
    wide = [x.double() for x in tensors]
    assert_same(got, core.attention(*wide, return_lse=True))


def test_a_block_that_is_not_listed_is_not_read():
    query, key, value = example()
    key[:, :, 16:32], value[:, :, 16:32] = torch.nan, torch.nan
    seen = torch.ones(5, 5, dtype=torch.bool, device=DEVICE)
    seen[:, 1] = False
    assert attention(query, key, value, lists=lists_of(seen, SIZE)).isfinite().all()


def test_no_block_gives_zeros():
    tensors = example()
    seen = torch.zeros(5, 5, dtype=torch.bool, device=DEVICE)
    out, lse = attention(*tensors, lists=lists_of(seen, SIZE), return_lse=True)
    assert not out.any() and torch.isneginf(lse).all()


def test_lists_put_the_blocks_that_are_seen_first():
    lists = lists_of(torch.tensor([[0, 1, 1], [1, 0, 0]]), 32)
    assert lists.counts.tolist() == [[2, 1]]
    assert lists.blocks[0, 0, :2].tolist() == [1, 2]
    assert lists.blocks[0, 1, :1].tolist() == [0]
    assert lists.size == 32


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seen": torch.ones(4), "size": 16}, "seen has 1 axes"),
        ({"seen": torch.ones(4, 4), "size": 24}, "size is 24, needs a power of 2"),
        ({"seen": torch.ones(4, 4), "size": 8}, "size is 8, needs a power of 2, at"),
        (
            {"seen": torch.ones(4, 4), "size": 16, "bias": torch.ones(3, 4)},
            r"bias has shape \(3, 4\), seen has \(4, 4\)",
        ),
    ],
)
def test_lists_that_cannot_be_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        lists_of(**given)


def test_what_does_not_fit_is_named():
    tensors = example()
    lists = lists_of(torch.ones(4, 5, dtype=torch.bool), SIZE)
    with pytest.raises(ValueError, match=r"lists has blocks \(1, 4, 5\), needs \(1 or"):
        attention(*tensors, lists=lists)
    tensors[0].requires_grad_()
    with pytest.raises(ValueError, match="query needs a gradient"):
        attention(*tensors, lists=lists)
    with pytest.raises(ValueError, match=r"query has shape \(2, 4, 0, 16\)"):
        attention(*example(length=0), lists=lists)
