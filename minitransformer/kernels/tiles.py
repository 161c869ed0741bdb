"""How large the tiles of a kernel are, as plain functions of shape and type."""

from typing import NamedTuple

import torch

from minitransformer.kernels.launch import INTERPRETED


class FlashTile(NamedTuple):
    """Tile of an attention kernel: queries, keys, warps, and loads under way."""

    rows: int
    columns: int
    warps: int
    stages: int


class FlashTiles(NamedTuple):
    """The tiles of the three kernels of FlashAttention."""

    forward: FlashTile
    keys: FlashTile
    queries: FlashTile


def flash_tiles(head_dim: int, dtype: torch.dtype) -> FlashTiles:
    """Choose the tiles of the forward, the dK-dV and the dQ kernel.

    In half precision they are what was fastest on an H200. In float32, which has no
    matrix unit, and for the interpreter, where a tile is a NumPy array, small ones.
    """
    if INTERPRETED:
        tile = FlashTile(32, 32, 4, 1)
        return FlashTiles(tile, tile, tile)
    if dtype == torch.float32 or head_dim == 256:
        small = FlashTile(32, 32, 4, 1)
        return FlashTiles(FlashTile(64, 32, 4, 2), small, small)
    if head_dim == 128:
        return FlashTiles(
            FlashTile(128, 128, 8, 3), FlashTile(64, 64, 4, 2), FlashTile(128, 64, 8, 4)
        )
    return FlashTiles(
        FlashTile(64, 128, 4, 2), FlashTile(128, 64, 4, 2), FlashTile(128, 64, 8, 3)
    )
