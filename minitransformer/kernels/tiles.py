"""How large the tiles of a kernel are, as plain functions of shape and type."""

from typing import NamedTuple

import torch

from minitransformer.kernels.launch import INTERPRETED

PROCESSORS = 132
"""Streaming multiprocessors of an H100 or H200."""


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


def int8_tile(head_dim: int, dtype: torch.dtype) -> FlashTile:
    """Choose the tile of attention with int8 scores and values of a type."""
    if INTERPRETED:
        return FlashTile(32, 32, 4, 1)
    if dtype == torch.float32 or head_dim == 256:
        return FlashTile(64, 32, 4, 2)
    return FlashTile(128, 128 if head_dim == 128 else 64, 8, 3)


class DecodingTile(NamedTuple):
    """Tile of decoding: ``part`` keys a program, ``columns`` of them at a time."""

    part: int
    columns: int
    warps: int
    stages: int


def decoding_tile(heads: int, length: int) -> DecodingTile:
    """Choose the tile of decoding: parts enough for all processors.

    Args:
        heads: key heads of all sequences together.
        length: keys of a sequence.
    """
    columns = 32 if INTERPRETED else 64
    parts = max(1, 2 * PROCESSORS // max(heads, 1))
    part = max(-(-length // parts), 2 * columns)
    return DecodingTile(-(-part // columns) * columns, columns, 4, 3)


class LightningTile(NamedTuple):
    """Tile of linear attention.

    ``block`` tokens are taken in at once, ``part`` tokens by one program, for
    ``columns`` numbers of each value.
    """

    block: int
    part: int
    columns: int
    warps: int
    stages: int


def lightning_tile(
    heads: int, length: int, head_dim: int, value_dim: int, dtype: torch.dtype
) -> LightningTile:
    """Choose the tile of linear attention: parts enough for all processors.

    Args:
        heads: of all sequences together.
        length: of a sequence.
        head_dim: numbers in a key.
        value_dim: numbers in a value.
        dtype: of both.
    """
    block = 32 if INTERPRETED or dtype == torch.float32 else 64
    columns = min(value_dim, 64)
    parts = max(1, 2 * PROCESSORS * columns // (heads * value_dim))
    part = max(-(-length // parts), 4 * block)
    return LightningTile(block, -(-part // block) * block, columns, 4, 3)
