import pytest
import torch

from minitransformer.attention import masks
from minitransformer.flash.visible import places, spans
from minitransformer.testing import Shape, example


def tiles(shape, mask_mod, block_q=4, block_k=4, q_pos=None, kv_pos=None):
    """Each tile that is not skipped: its rows, its columns and its mask."""
    query, key, _ = example(shape)
    where = places(query, key, q_pos, kv_pos, mask_mod)
    return [
        (rows, columns, seen)
        for rows in spans(shape.length, block_q)
        for columns, seen in where.visible(rows, block_k)
    ]


def dense(shape, found):
    """Who may see whom, put together from the tiles."""
    mask = torch.zeros(shape.batch, shape.heads, shape.length, shape.kv_length) > 0
    for rows, columns, seen in found:
        mask[:, :, rows, columns] = True if seen is None else seen
    return mask


SHAPE = Shape(2, 2, 1, 10, 13)
MASKS = {
    "none": None,
    "causal": masks.causal,
    "window": masks.sliding_window(3),
    "prefix": masks.prefix(torch.tensor([2, 7])),
    "scattered": masks.scattered(0.1),
    "lengths": masks.lengths(torch.tensor([3, 0])),
}


@pytest.mark.parametrize("block", [(1, 1), (3, 4), (32, 32)], ids=str)
@pytest.mark.parametrize("mask_mod", MASKS.values(), ids=MASKS)
def test_the_tiles_together_are_the_mask(mask_mod, block):
    found = tiles(SHAPE, mask_mod, *block)
    b, h = torch.arange(2).view(-1, 1, 1, 1), torch.arange(2).view(-1, 1, 1)
    at_q, at_kv = torch.arange(3, 13).view(-1, 1), torch.arange(13)
    wanted = (mask_mod or masks.full)(b, h, at_q, at_kv)
    assert torch.equal(dense(SHAPE, found), wanted.expand(2, 2, 10, 13))
    for _, _, seen in found:
        assert seen is None or (seen.any() and not seen.all())


@pytest.mark.parametrize("mask_mod", [None, masks.causal])
def test_empty_slots_are_hidden_wherever_they_are(mask_mod):
    q_pos = torch.tensor([[5, -1, 3, 9], [0, 1, 2, -1]])
    kv_pos = torch.tensor([9, -1, 4, 0, 2])
    shape = Shape(2, 1, 1, 4, 5)
    found = tiles(shape, mask_mod, 2, 2, q_pos=q_pos, kv_pos=kv_pos)
    at_q, at_kv = q_pos[:, None, :, None], kv_pos
    wanted = (at_q >= 0) & (at_kv >= 0)
    if mask_mod is not None:
        wanted = wanted & (at_kv <= at_q)
    assert torch.equal(dense(shape, found), wanted)


def test_a_tile_of_nothing_but_empty_slots_is_hidden():
    nobody = torch.tensor([-1, -1])
    shape = Shape(1, 1, 1, 2, 2)
    assert tiles(shape, masks.causal, 2, 2, q_pos=nobody, kv_pos=nobody) == []


def test_a_causal_mask_skips_what_lies_ahead_and_masks_the_diagonal_alone():
    found = tiles(Shape(1, 1, 1, 16, 16), masks.causal)
    assert len(found) == 10
    assert sum(seen is not None for _, _, seen in found) == 4


def test_the_causal_shortcut_is_never_taken_where_the_mask_would_differ():
    def plain(b, h, q_idx, kv_idx):  # the same, but not known by its ends
        return masks.causal(b, h, q_idx, kv_idx)

    shape = Shape(1, 1, 1, 7, 3)  # the first four queries stand before all keys
    for block in (1, 2, 3):
        short, long = (
            tiles(shape, mask, block, block) for mask in (masks.causal, plain)
        )
        assert [t[:2] for t in short] == [t[:2] for t in long]
        assert torch.equal(dense(shape, short), dense(shape, long))
