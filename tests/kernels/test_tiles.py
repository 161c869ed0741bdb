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


@pytest.mark.parametrize(
    ("number", "wanted"), [(0, 1), (1, 1), (2, 2), (3, 4), (64, 64), (65, 128)]
)
def test_the_next_power_of_two(number, wanted):
    assert tiles.power_of_two(number) == wanted


@pytest.mark.parametrize("columns", [1, 3, 100, 1024, 5000, 32768, 32769, 10**6])
def test_a_row_fits_into_its_tile_or_into_blocks_of_it(columns):
    tile = tiles.row_tile(columns)
    assert tile.block == min(tiles.power_of_two(columns), tiles.LONGEST)
    assert tiles.power_of_two(tile.rows) == tile.rows
    assert tile.warps in (1, 2, 4, 8, 16)
    assert tile.rows == 1 or tile.rows * tile.block <= 4096


def test_short_rows_share_a_program():
    assert tiles.row_tile(256).rows == 16
    assert tiles.row_tile(4096).rows == 1


@pytest.mark.parametrize("columns", [1, 3, 100, 512, 1024, 1025, 4096, 5000, 8192])
def test_tiles_of_norms_hold_whole_rows_and_fit_into_registers(columns):
    for tile, held in (
        (tiles.norm_tile(columns), 3),
        (tiles.norm_backward_tile(columns), 5),
    ):
        assert tile.block == tiles.power_of_two(columns)
        assert tiles.power_of_two(tile.rows) == tile.rows
        threads = 32 * tile.warps
        registers = min(65536 // threads, 255)
        assert held * tile.rows * tile.block / threads <= registers


def test_a_norm_of_the_longest_row_it_may_hold_has_a_tile():
    assert tiles.norm_tile(16384) == tiles.RowTile(1, 16384, 16, 4, 3)


def test_an_rms_norm_of_that_row_goes_back_with_four_tiles_and_nothing_ahead():
    tile = tiles.norm_backward_tile(16384)
    assert (tile.rows, tile.block, tile.stages) == (1, 16384, 1)
    threads = 32 * tile.warps
    assert 4 * tile.block / threads <= min(65536 // threads, 255)


@pytest.mark.parametrize(
    ("rows", "waves", "wanted"), [(1, 0, 1), (9, 0, 3), (9, 1, 2), (9, 9, 3), (9, 2, 3)]
)
def test_programs_are_one_a_tile_or_some_a_processor(rows, waves, wanted):
    tile = tiles.RowTile(4, 64, 4, waves)
    assert tile.programs(rows, processors=2) == wanted


@pytest.mark.parametrize("dtype", [*HALF, torch.float32])
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1), (17, 5, 100), (4096, 4096, 4096), (8192, 100, 31), (3, 9999, 7)],
)
def test_the_tiles_of_a_product_can_be_multiplied(shape, dtype):
    tile = tiles.matmul_tile(*shape, dtype)
    for side in tile[:3]:
        assert side >= 16 and tiles.power_of_two(side) == side
    assert tile.stages * tile.k * (tile.m + tile.n) * dtype.itemsize <= 227 * 1024


def test_only_a_whole_large_product_takes_the_largest_tile():
    assert tiles.matmul_tile(4096, 4096, 4096, torch.float16)[:2] == (128, 256)
    assert tiles.matmul_tile(4096, 4097, 4096, torch.float16)[:2] == (128, 128)


@pytest.mark.parametrize(("length", "parts"), [(64, 1), (2048, 2), (16384, 8)])
@pytest.mark.parametrize("bits", [2, 8])
def test_parts_of_a_stair_are_enough_for_all_processors(
    length, parts, bits, monkeypatch
):
    monkeypatch.setattr(tiles, "INTERPRETED", False)
    tile = tiles.staircase_tile(256, length, bits, torch.float16)
    assert -(-length // tile.part) == parts
    assert tile.part % tile.columns == 0
    programs = tile.registers and 65536 // (tile.registers * tile.warps * 32)
    assert programs == (6 if bits == 2 else None)


def test_numbers_as_they_came_have_the_tile_of_decoding(monkeypatch):
    monkeypatch.setattr(tiles, "INTERPRETED", False)
    plain = tiles.decoding_tile(256, 16384)
    assert tiles.staircase_tile(256, 16384, 16, torch.float16) == plain
    assert tiles.staircase_tile(256, 16384, 4, torch.float32) == plain


@pytest.mark.parametrize(
    ("head_dim", "kv_len", "persistent"),
    [(64, 16384, True), (128, 4096, True), (128, 4097, False)],
)
def test_programs_are_persistent_where_tiles_are_short(head_dim, kv_len, persistent):
    assert tiles.hopper_persistent(head_dim, kv_len) is persistent
