import numpy as np
import pytest
import torch
from torch.nn.attention.flex_attention import create_mask

from minitransformer.attention import masks

SIZE = 6
DOCUMENTS = np.array([[0, 0, 1, 1, 1, 2]])


def drawn(rows):
    """Read a mask drawn with x (sees) and . (does not), a query a line."""
    return np.array([[sign == "x" for sign in row] for row in rows.split()])


BY_HAND = {
    "full": (masks.full, "xxxxxx xxxxxx xxxxxx xxxxxx xxxxxx xxxxxx"),
    "causal": (masks.causal, "x..... xx.... xxx... xxxx.. xxxxx. xxxxxx"),
    "strictly_causal": (
        masks.strictly_causal,
        "...... x..... xx.... xxx... xxxx.. xxxxx.",
    ),
    "sliding_window": (
        masks.sliding_window(2),
        "x..... xx.... .xx... ..xx.. ...xx. ....xx",
    ),
    "local": (masks.local(1), "xx.... xxx... .xxx.. ..xxx. ...xxx ....xx"),
    "dilated": (masks.dilated(2, 3), "x..... .x.... ..x... x..x.. .x..x. ..x..x"),
    "strided": (masks.strided(2), "x..... xx.... xxx... .xxx.. x.xxx. .x.xxx"),
    "fixed": (masks.fixed(3), "x..... xx.... xxx... ..xx.. ..xxx. ..xxxx"),
    "block_diagonal": (
        masks.block_diagonal(2),
        "xx.... xx.... ..xx.. ..xx.. ....xx ....xx",
    ),
    "block_causal": (
        masks.block_causal(2),
        "xx.... xx.... xxxx.. xxxx.. xxxxxx xxxxxx",
    ),
    "prefix": (masks.prefix(3), "xxx... xxx... xxx... xxxx.. xxxxx. xxxxxx"),
    "lengths": (
        masks.lengths(np.array([4])),
        "xxxx.. xxxx.. xxxx.. xxxx.. xxxx.. xxxx..",
    ),
    "documents": (
        masks.documents(DOCUMENTS),
        "xx.... xx.... ..xxx. ..xxx. ..xxx. .....x",
    ),
    "global_tokens": (
        masks.global_tokens(1),
        "xxxxxx x..... x..... x..... x..... x.....",
    ),
    "sinks": (masks.sinks(1, 2), "x..... xx.... xxx... x.xx.. x..xx. x...xx"),
    "tree": (
        masks.tree([-1, 0, 0, 1, 1, 2]),
        "x..... xx.... x.x... xx.x.. xx..x. x.x..x",
    ),
    "table": (
        masks.table(np.eye(SIZE, dtype=bool)),
        "x..... .x.... ..x... ...x.. ....x. .....x",
    ),
    "and_masks": (
        masks.and_masks(masks.causal, masks.local(1)),
        "x..... xx.... .xx... ..xx.. ...xx. ....xx",
    ),
    "or_masks": (
        masks.or_masks(masks.strictly_causal, masks.block_diagonal(2)),
        "xx.... xx.... xxxx.. xxxx.. xxxxxx xxxxxx",
    ),
    "not_mask": (
        masks.not_mask(masks.causal),
        ".xxxxx ..xxxx ...xxx ....xx .....x ......",
    ),
    "nothing of no masks": (
        masks.or_masks(),
        "...... ...... ...... ...... ...... ......",
    ),
}


def on_numpy(mask_mod):
    places = np.arange(SIZE)
    seen = mask_mod(0, 0, places[:, None], places)
    return np.broadcast_to(seen, (SIZE, SIZE))


def one_by_one(mask_mod):
    places = range(SIZE)
    return np.array(
        [[mask_mod(0, 0, np.int64(q), np.int64(k)) for k in places] for q in places]
    )


def on_torch(mask_mod):
    places = torch.arange(SIZE)
    b, h = torch.zeros(1, 1, 1, 1, dtype=int), torch.zeros(1, 1, 1, dtype=int)
    return (
        mask_mod(b, h, places[:, None], places).expand(1, 1, SIZE, SIZE)[0, 0].numpy()
    )


def on_flex(mask_mod):
    return create_mask(mask_mod, 1, 1, SIZE, SIZE, device="cpu")[0, 0].numpy()


@pytest.mark.parametrize("run", [on_numpy, one_by_one])
@pytest.mark.parametrize(("mask_mod", "rows"), BY_HAND.values(), ids=BY_HAND)
def test_each_mask_is_as_drawn(mask_mod, rows, run):
    np.testing.assert_array_equal(run(mask_mod), drawn(rows))


TENSORS = BY_HAND | {
    "lengths": (masks.lengths(torch.tensor([4])), BY_HAND["lengths"][1]),
    "documents": (masks.documents(torch.tensor(DOCUMENTS)), BY_HAND["documents"][1]),
}


@pytest.mark.parametrize("run", [on_torch, on_flex])
@pytest.mark.parametrize(("mask_mod", "rows"), TENSORS.values(), ids=TENSORS)
def test_the_same_function_serves_torch_and_flex(mask_mod, rows, run):
    np.testing.assert_array_equal(run(mask_mod), drawn(rows))


def test_a_prefix_may_differ_by_sequence():
    mask_mod = masks.prefix(np.array([1, 2]))
    assert not mask_mod(0, 0, 0, 1)
    assert mask_mod(1, 0, 0, 1)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_scattered_sees_about_its_share_and_the_same_everywhere(share):
    mask_mod, places = masks.scattered(share, seed=4), np.arange(300)
    heads = [mask_mod(0, h, places[:, None], places) for h in (0, 1)]
    for seen in heads:
        # 90,000 trials: five standard deviations are below 0.01.
        assert abs(seen.mean() - share) < 0.01
        assert np.ptp(seen.mean(axis=0)) < 0.35  # no key is left out or favored
    if 0 < share < 1:
        both = (heads[0] & heads[1]).mean()
        assert abs(both - share**2) < 0.02  # heads choose for themselves
    small = torch.arange(300, dtype=torch.int32)  # as in flex attention
    head = torch.zeros((), dtype=torch.int32)
    same = mask_mod(0, head, small[:, None], small)
    np.testing.assert_array_equal(same.numpy(), heads[0])


def test_another_seed_scatters_otherwise():
    places = np.arange(100)
    first, second = (
        masks.scattered(0.5, seed=seed)(0, 0, places[:, None], places)
        for seed in (0, 1)
    )
    assert 0.3 < (first != second).mean() < 0.7


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: masks.sliding_window(0), "size is 0, needs at least 1"),
        (lambda: masks.local(-1), "radius is -1, needs at least 0"),
        (lambda: masks.dilated(2, 0), "step is 0, needs at least 1"),
        (lambda: masks.strided(0), "stride is 0, needs at least 1"),
        (lambda: masks.fixed(2, 0), "summary is 0, needs at least 1"),
        (lambda: masks.block_diagonal(0), "size is 0, needs at least 1"),
        (lambda: masks.block_causal(0), "size is 0, needs at least 1"),
        (lambda: masks.global_tokens(-1), "count is -1, needs at least 0"),
        (lambda: masks.sinks(1, 0), "size is 0, needs at least 1"),
        (lambda: masks.scattered(1.5), "share is 1.5, needs a number from 0 to 1"),
        (lambda: masks.tree([-1, 2, 0]), "node 1 has parent 2, needs one before it"),
    ],
)
def test_what_cannot_be_a_mask_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
