"""Tiles are such that Triton can compile them."""

import pytest
import torch

pytest.importorskip("triton")

from minitransformer.kernels import tiles

HALF = (torch.float16, torch.bfloat16)


@pytest.mark.parametrize("interpreted", [False, True])
@pytest.mark.parametrize("head_dim", [16, 32, 64, 128, 256])
@pytest.mark.parametrize("dtype", [*HALF, torch.float32])
def test_flash_tiles_have_sides_of_powers_of_two(
    interpreted, head_dim, dtype, monkeypatch
):
    monkeypatch.setattr(tiles, "INTERPRETED", interpreted)
    for tile in tiles.flash_tiles(head_dim, dtype):
        assert tile.rows & (tile.rows - 1) == 0 and tile.rows >= 16
        assert tile.columns & (tile.columns - 1) == 0 and tile.columns >= 16


@pytest.mark.parametrize("head_dim", [64, 128, 256])
def test_what_a_program_loads_ahead_fits_into_shared_memory(head_dim, monkeypatch):
    monkeypatch.setattr(tiles, "INTERPRETED", False)
    for dtype in (torch.float16, torch.float32):
        tile = tiles.flash_tiles(head_dim, dtype).forward
        keys_and_values = 2 * tile.stages * tile.columns * head_dim * dtype.itemsize
        assert tile.rows * head_dim * dtype.itemsize + keys_and_values <= 227 * 1024
