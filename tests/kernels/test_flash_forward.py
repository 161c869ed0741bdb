"""The forward kernel skips what a mask hides, and says where nothing is seen."""

import pytest
import torch

pytest.importorskip("triton")

from minitransformer.attention import core, masks
from minitransformer.kernels import flash_forward as module
from minitransformer.kernels import launch, tiles
from minitransformer.kernels.flash_forward import flash_forward

DEVICE = "cpu" if launch.INTERPRETED else "cuda"
NONE = (None, None, None)
OPTIONS = {
    "CAUSAL": True,
    "WINDOW": 0,
    "POS": False,
    "CAP": 0.0,
    "ALIBI": False,
    "MOD": None,
    "PRECISION": "ieee",
}


def example(length, kv_length):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(1, 1, n, 16, generator=generator).to(DEVICE)
        for n in (length, kv_length, kv_length)
    ]


@pytest.mark.parametrize("rows", [16, 64])
@pytest.mark.parametrize("columns", [16, 64])
def test_the_tile_does_not_change_the_result(rows, columns, monkeypatch):
    tile = tiles.FlashTile(rows, columns, 4, 1)
    monkeypatch.setattr(
        module, "flash_tiles", lambda *sizes: tiles.FlashTiles(tile, tile, tile)
    )
    tensors = example(45, 61)
    out, lse = flash_forward(*tensors, NONE, 0.25, **OPTIONS)
    wanted, sums = core.attention(
        *(x.double() for x in tensors), mask_mod=masks.causal, return_lse=True
    )
    assert torch.allclose(out.double(), wanted, atol=2e-6)
    assert torch.allclose(lse.double(), sums.double(), atol=2e-6)


def test_what_a_causal_mask_hides_is_not_read():
    query, key, value = example(64, 64)
    key[:, :, 40:], value[:, :, 40:] = torch.nan, torch.nan
    out, lse = flash_forward(query, key, value, NONE, 0.25, **OPTIONS)
    assert out[:, :, :32].isfinite().all() and lse[:, :, :32].isfinite().all()


def test_one_key_hands_back_its_value_and_its_score():
    query, key, value = example(1, 1)
    out, lse = flash_forward(query, key, value, NONE, 0.25, **OPTIONS)
    assert torch.allclose(out, value, atol=1e-6)
    assert torch.allclose(lse, 0.25 * (query * key).sum(-1), atol=1e-5)
