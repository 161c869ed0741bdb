"""Documents packed into one sequence come out as they do alone, with every scheme."""

from functools import partial

import pytest
import torch

from minitransformer.attention import masks
from minitransformer.attention.core import attention
from minitransformer.positions import (
    additive,
    bias,
    contextual,
    fourier,
    harmonic,
    rotary,
    token_phase,
)
from minitransformer.testing import Shape, example

EXACT = {"rtol": 0, "atol": 1e-12}
HEADS, SIZE = 4, 8
LENGTHS = (3, 5, 1, 4)
PLACE = torch.cat([torch.arange(n) for n in LENGTHS])  # in its document
DOCUMENT = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))
TOGETHER = masks.and_masks(masks.causal, masks.documents(DOCUMENT.expand(2, -1)))
FREQS = rotary.frequencies(SIZE)


def weights(module):
    """The module, double, with random weights."""
    with torch.no_grad():
        for weight in module.parameters():
            weight.uniform_(0.2, 1.2, generator=torch.Generator().manual_seed(0))
    return module.double()


def added(code, query, key, value, place, mask):
    query, key = query + code(place), key + code(place)
    return attention(query, key, value, mask_mod=mask)


def turned(turn, query, key, value, place, mask):
    return attention(turn(query, place), turn(key, place), value, mask_mod=mask)


def faded(query, key, value, place, mask):
    query, key = rotary.xpos(query, key, place, place, FREQS)
    return attention(query, key, value, mask_mod=mask)


def bent(mod, query, key, value, place, mask):
    return attention(query, key, value, mask_mod=mask, score_mod=mod)


def bent_in_place(mod, query, key, value, place, mask):
    """For a mod that looks at more than the distance: it gets places in documents."""

    def score_mod(score, b, h, q_idx, kv_idx):
        return mod(score, b, h, place[q_idx], place[kv_idx])

    return attention(query, key, value, mask_mod=mask, score_mod=score_mod)


def wrapped(attend, query, key, value, place, mask):
    return attend(query, key, value, mask_mod=mask)


COPE = weights(contextual.ContextualPosition(attention, SIZE, 6))
SERIES = fourier.series(
    HEADS // 2, SIZE, train_len=64, generator=torch.Generator().manual_seed(0)
)
ANCHORED = {
    "sinusoidal": partial(
        added, partial(additive.sinusoidal, dim=SIZE, dtype=torch.float64)
    ),
    "learned": partial(added, weights(additive.LearnedPositions(16, SIZE))),
    "FoPE": partial(turned, partial(fourier.rotate, mixed=SERIES)),
    "FIRE": partial(bent_in_place, weights(bias.Fire(HEADS, hidden=4, threshold=2.0))),
}
RELATIVE = {
    "RoPE": partial(turned, partial(rotary.rotate, freqs=FREQS)),
    "p-RoPE": partial(
        turned, partial(rotary.rotate, freqs=rotary.keep_fastest(FREQS, 0.5))
    ),
    "YaRN": partial(
        turned, partial(rotary.rotate, freqs=rotary.yarn(SIZE, 4.0, train_len=8))
    ),
    "2-D RoPE": partial(
        turned,
        lambda x, place: rotary.rotate_2d(
            x, torch.stack([place, 2 * place]), rotary.frequencies(SIZE // 2)
        ),
    ),
    "xPos": faded,
    "ALiBi": partial(bent, bias.alibi(bias.alibi_slopes(HEADS))),
    "T5": partial(bent, weights(bias.T5Bias(HEADS, num_buckets=4, max_distance=4))),
    "KERPLE": partial(bent, weights(bias.Kerple(HEADS))),
    "KERPLE power": partial(bent, weights(bias.Kerple(HEADS, kind="power"))),
    "harmonic factor": partial(bent, harmonic.harmonic_factor),
    "harmonic sum": partial(
        bent, harmonic.harmonic_sum(harmonic.harmonic_slopes(HEADS))
    ),
    "harmonic": partial(
        wrapped,
        harmonic.rotary_with_bias(attention, FREQS, harmonic.harmonic_slopes(HEADS)),
    ),
    "TAPA": partial(wrapped, token_phase.with_token_phase(attention)),
    "CoPE": partial(wrapped, COPE),
}
INPUTS = example(Shape(2, HEADS, HEADS // 2, sum(LENGTHS), sum(LENGTHS)))


def alone(scheme):
    """Each document on its own."""
    return torch.cat(
        [
            scheme(*part, torch.arange(part[0].shape[2]), masks.causal)
            for part in zip(*(x.split(LENGTHS, dim=2) for x in INPUTS), strict=True)
        ],
        dim=2,
    )


@pytest.mark.parametrize("name", [*ANCHORED, *RELATIVE])
def test_places_start_again_in_each_packed_document(name):
    scheme = (ANCHORED | RELATIVE)[name]
    together = scheme(*INPUTS, PLACE, TOGETHER)
    torch.testing.assert_close(together, alone(scheme), **EXACT)


@pytest.mark.parametrize("name", [*ANCHORED, *RELATIVE])
def test_what_knows_the_distance_alone_needs_no_new_start(name):
    scheme = (ANCHORED | RELATIVE)[name]
    together = scheme(*INPUTS, torch.arange(len(PLACE)), TOGETHER)
    same = torch.allclose(together, alone(scheme), **EXACT)
    assert same == (name in RELATIVE)


@pytest.mark.parametrize("name", [*ANCHORED, *RELATIVE])
def test_without_the_mask_a_document_sees_those_before_it(name):
    scheme = (ANCHORED | RELATIVE)[name]
    together = scheme(*INPUTS, PLACE, masks.causal)
    assert not torch.allclose(together, alone(scheme), rtol=0, atol=1e-3)


def test_what_a_mask_hides_is_not_counted_by_cope():
    query, key, value = example(Shape(1, HEADS, HEADS, 1, 6))
    seen = torch.tensor([0, 2, 5])  # positions, with a gap

    def every(b, h, q_idx, kv_idx):
        return (kv_idx == 0) | (kv_idx == 2) | (kv_idx == 5)

    out = COPE(query, key, value, mask_mod=every)
    wanted = COPE(query, key[:, :, seen], value[:, :, seen])
    torch.testing.assert_close(out, wanted, **EXACT)


def test_positions_may_come_as_data_in_any_order_of_the_keys():
    query, key, value = INPUTS
    order = torch.randperm(len(PLACE), generator=torch.Generator().manual_seed(0))
    pos = torch.arange(len(PLACE))
    moved = query, key[:, :, order], value[:, :, order]
    for name in ("harmonic", "TAPA", "CoPE"):
        attend = RELATIVE[name].args[0]
        out = attend(*moved, q_pos=pos, kv_pos=pos[order], mask_mod=TOGETHER)
        torch.testing.assert_close(out, alone(RELATIVE[name]), **EXACT)
