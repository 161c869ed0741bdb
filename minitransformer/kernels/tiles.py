"""How large the tiles of a kernel are, as plain functions of shape and type.

A program works on one tile; Triton's tiles have sides that are powers of 2, known when
the kernel is compiled. These functions stand where other code has ``triton.autotune``,
which needs a GPU to ask: a choice that can be read, tested, and made anywhere. The
numbers were found on an H200 with ``tests/benchmarks/bench_kernels.py``.
"""

from typing import NamedTuple

import torch

from minitransformer.kernels.launch import INTERPRETED

PROCESSORS = 132
"""Streaming multiprocessors of an H100 or H200."""
LONGEST = 32768
"""Numbers of a row that one program holds at once; longer rows come in blocks."""
LONG_BLOCK, LONG_WARPS = 16384, 32
"""Block and warps of a kernel that reads a long row twice. So many warps leave room for
no more than one or two programs a processor, whose rows then fit into the cache.
"""


class RowTile(NamedTuple):
    """Tile of a kernel that works on whole rows.

    ``rows`` rows at once, ``block`` numbers of each at a time, ``warps`` of 32 threads.
    There are ``waves`` programs for each processor of the GPU, which walk over the rows
    and have ``stages`` loads under way at once; with 0 there is one for each tile.
    """

    rows: int
    block: int
    warps: int
    waves: int = 0
    stages: int = 1

    def programs(self, rows: int, processors: int) -> int:
        """Return how many programs share ``rows``."""
        tiles = -(-rows // self.rows)
        return min(tiles, self.waves * processors) if self.waves else tiles


class MatmulTile(NamedTuple):
    """Tile ``[m, n]`` of a product, ``k`` numbers of each sum at a time.

    ``group`` rows of tiles are worked on together, ``stages`` loads are under way at
    once, ``warps`` of 32 threads share the work.
    """

    m: int
    n: int
    k: int
    group: int
    warps: int
    stages: int


def power_of_two(number: int) -> int:
    """Return the smallest power of 2 that is at least ``number``, at least 1."""
    return 1 << max(number - 1, 0).bit_length()


def row_tile(columns: int, *, most: int = LONGEST, numbers: int = 4096) -> RowTile:
    """Choose the tile of a kernel on rows: short rows share a program.

    Args:
        columns: numbers in a row.
        most: numbers of a row held at once; a power of 2.
        numbers: about how many a program takes if rows are short.
    """
    block = min(power_of_two(columns), most)
    rows = min(max(numbers // block, 1), 16)
    warps = min(max(rows * block // 1024, 1), 16)
    return RowTile(rows, block, warps)


def norm_tile(columns: int) -> RowTile:
    """Choose the tile of a norm, for at most 16384 columns.

    Every row meets the same gains. With long rows these are a third of what a program
    reads, so there programs walk over many rows and read the gains once.
    """
    block = power_of_two(columns)
    if block > 4096:
        return RowTile(max(16384 // block, 1), block, 16, waves=4, stages=3)
    rows = min(max(2048 // block, 2), 16)
    return RowTile(rows, block, max(rows * block // 2048, 2))


def norm_backward_tile(columns: int) -> RowTile:
    """Choose the tile of a norm's way back, for at most 16384 columns.

    Programs keep the gradients of the gains while they walk over rows, five tiles in
    registers; the next two tiles of both inputs are under way meanwhile.
    """
    block = power_of_two(columns)
    if block <= 1024:
        return RowTile(min(4096 // block, 16), block, 4, waves=2, stages=3)
    if block > 8192:  # no room for a tile that is under way
        return RowTile(1, block, 16, waves=1)
    return RowTile(8192 // block, block, 8, waves=1, stages=3)


def matmul_tile(m: int, n: int, k: int, dtype: torch.dtype) -> MatmulTile:
    """Choose the tile of a product ``[m, k] @ [k, n]``.

    Large products in half precision take the largest tile whose sums fit in the
    registers, if it divides the sides: the masks of a ragged edge need registers too.
    Small ones take smaller tiles, so that there are programs for all processors.
    In float32 tiles are small: products of full precision have no matrix unit.
    """
    deep = min(max(power_of_two(k), 16), 64)
    if dtype == torch.float32:
        side = min(max(power_of_two(min(m, n)), 16), 64)
        return MatmulTile(side, side, min(deep, 32), 8, 4, 3)
    whole = m % 128 == 0 and n % 256 == 0 and k % 64 == 0
    if whole and m * n >= PROCESSORS * 128 * 256:
        return MatmulTile(128, 256, 64, 8, 8, 3)
    return MatmulTile(
        min(max(power_of_two(m), 16), 128),
        min(max(power_of_two(n), 16), 128 if m * n >= PROCESSORS * 128 * 128 else 64),
        *(deep, 8, 4, 3),
    )


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


def fp8_tile(head_dim: int) -> FlashTile:
    """Choose the tile of attention with all factors in float8."""
    if INTERPRETED:
        return FlashTile(32, 32, 4, 1)
    return FlashTile(64, 64, 4, 2) if head_dim == 256 else FlashTile(64, 128, 4, 3)


def hopper_persistent(head_dim: int, kv_len: int) -> bool:
    """Tell whether ``hopper_attention`` takes one program a processor, or one a tile.

    The fixed cost of a tile counts where its work is short.
    """
    return head_dim == 64 or kv_len <= 4096


class DecodingTile(NamedTuple):
    """Tile of decoding: ``part`` keys a program, ``columns`` of them at a time.

    ``registers`` is the most that a thread may take, or None: as the compiler likes.
    """

    part: int
    columns: int
    warps: int
    stages: int
    registers: int | None = None


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


def staircase_tile(
    heads: int, length: int, bits: int, dtype: torch.dtype
) -> DecodingTile:
    """Choose the tile of decoding on codes: at most 2048 keys a program.

    What programs do at the same time hides what one of them waits for. With few bits, 2
    warps are faster than 4; with 168 registers a processor has room for six programs.

    Args:
        heads: key heads of all sequences together.
        length: keys of a sequence.
        bits: of a code; 16 are numbers.
        dtype: of the query.
    """
    tile = decoding_tile(heads, length)
    if INTERPRETED or bits == 16 or dtype == torch.float32:
        return tile
    parts = -(-2 * PROCESSORS // max(heads, 1))
    part = max(min(-(-length // parts), 2048), 2 * tile.columns)
    part = -(-part // tile.columns) * tile.columns
    if bits > 4:
        return tile._replace(part=part)
    return tile._replace(part=part, warps=2, registers=168)


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
