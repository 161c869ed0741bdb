"""The blocks that the flash kernels visit are those that a mask leaves."""

import pytest
import torch

pytest.importorskip("triton")

import triton
import triton.language as tl

from minitransformer.kernels import launch
from minitransformer.kernels.flash_scores import keys_of, queries_of

DEVICE = "cpu" if launch.INTERPRETED else "cuda"
ROWS, COLUMNS = 16, 32


@triton.jit
def _bounds(
    out_ptr, size, offset, other,
    BM: tl.constexpr, BN: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr,
    KEYS: tl.constexpr,
):  # fmt: skip
    for i in range(0, tl.cdiv(size, BM if KEYS else BN)):
        if KEYS:
            bounds = keys_of(i * BM, offset, other, BM, BN, CAUSAL, WINDOW, False)
        else:
            bounds = queries_of(i * BN, offset, other, BM, BN, CAUSAL, WINDOW, False)
        for part in tl.static_range(4):
            tl.store(out_ptr + 4 * i + part, bounds[part])


def visible(length, kv_length, causal, window):
    """The mask, as the definition has it."""
    gap = torch.arange(length)[:, None] + kv_length - length - torch.arange(kv_length)
    seen = torch.ones_like(gap, dtype=torch.bool)
    if causal:
        seen &= gap >= 0
    if window:
        seen &= gap < window
    return seen


@pytest.mark.parametrize("keys", [True, False])
@pytest.mark.parametrize(
    ("length", "kv_length"), [(64, 64), (50, 70), (70, 50), (1, 90), (33, 200)]
)
def test_every_visible_pair_is_visited_and_full_blocks_are_full(
    keys, length, kv_length
):
    for causal, window in ((False, 0), (True, 0), (True, 1), (True, 40), (True, 100)):
        seen = visible(length, kv_length, causal, window)
        if not keys:
            seen = seen.T
        side, step = (ROWS, COLUMNS) if keys else (COLUMNS, ROWS)
        size, other = seen.shape
        count = -(-size // side)
        out = torch.zeros(count, 4, dtype=torch.int32, device=DEVICE)
        _bounds[(1,)](
            out, size, kv_length - length, other, ROWS, COLUMNS, causal, window, keys
        )
        for i, bounds in enumerate(out.tolist()):
            begin, full_begin, full_end, end = bounds
            assert begin <= full_begin <= full_end
            assert begin % step == full_begin % step == full_end % step == 0
            rows = seen[i * side : (i + 1) * side]
            assert not rows[:, :begin].any() and not rows[:, max(end, full_end) :].any()
            assert rows[:, full_begin:full_end].all()


def test_blocks_that_nothing_sees_are_not_visited():
    out = torch.zeros(4, 4, dtype=torch.int32, device=DEVICE)
    _bounds[(1,)](out, 64, 0, 64, 16, 16, True, 0, True)
    assert [row[3] for row in out.tolist()] == [16, 32, 48, 64]
    _bounds[(1,)](out, 64, 0, 64, 16, 16, True, 16, True)
    assert [row[0] for row in out.tolist()] == [0, 0, 16, 32]
