"""The kernel of probabilistic FlashAttention is its twin on the CPU."""

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

from minitransformer.flash import probabilistic as twin
from minitransformer.kernels import launch
from minitransformer.kernels.probabilistic import prflash_attention

DEVICE = "cpu" if launch.INTERPRETED else "cuda"


def example(length=70):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(2, h, length, 16, generator=generator).to(DEVICE) for h in (4, 2, 2)
    ]


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_drawn_rounds_give_what_the_twin_gives(rounds, weighted):
    law = twin.distance_probabilities(5, "geometric", 0.6)
    taken = twin.draw(law, rounds, np.random.default_rng(1))
    shares = twin.pooled_shares(taken, law if weighted else None)
    assert 0 in shares and len(set(shares)) > 1
    got = prflash_attention(*example(), shares=shares, block=16, return_lse=True)
    wide = [x.double() for x in example()]
    wanted = twin.prflash_attention(*wide, shares=shares, block=16, return_lse=True)
    for ours, exact in zip(got, wanted, strict=True):
        assert (ours - exact).abs().max() <= 2e-6


def test_a_distance_of_share_0_is_not_read():
    query, key, value = example(64)
    key[:, :, :16], value[:, :, :16] = torch.nan, torch.nan
    out = prflash_attention(query, key, value, shares=[1, 1, 0, 0], block=16)
    assert out[:, :, 32:].isfinite().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shares": [1.0, 0.5]}, "shares has 2 distances, needs 5"),
        ({"shares": [0.0, 1, 1, 1, 1]}, "the first above 0"),
        ({"shares": [1.0, 1, -1, 1, 1]}, "none below 0"),
        ({"block": 20, "shares": [1.0] * 5}, "size is 20, needs a power of 2"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    given = {"shares": [1.0] * 5, "block": 16} | change
    with pytest.raises(ValueError, match=message):
        prflash_attention(*example(), **given)


def test_queries_and_keys_must_be_as_many():
    query, key, value = example()
    with pytest.raises(ValueError, match="key has length 70, query has 10"):
        prflash_attention(query[:, :, :10], key, value, shares=[1.0] * 5, block=16)
