import math

import numpy as np
import pytest
import torch

from minitransformer.positions import fourier, rotary
from minitransformer.testing import Shape, example

EXACT = {"rtol": 0, "atol": 1e-12}
POS = torch.tensor([0, 1, 5, 30])
QUERY, KEY, _ = example(Shape(2, 4, 2, 4, 4))


def mixture(gain=0.3, **options):
    options = {"train_len": 64, "generator": torch.Generator().manual_seed(0)} | options
    return fourier.series(2, 8, gain=gain, **options)


def test_without_noise_and_without_a_cut_it_is_rope():
    mixed = mixture(gain=0.0, train_len=10**6, width=4)
    wanted = rotary.rotate(QUERY, POS, rotary.frequencies(8))
    torch.testing.assert_close(fourier.rotate(QUERY, POS, mixed), wanted, **EXACT)


def test_without_noise_it_is_rope_with_the_slow_pairs_stopped():
    mixed = mixture(gain=0.0, width=2, still=(0.0, 1.0))
    freqs = rotary.frequencies(8)
    kept = freqs * (freqs >= 2 * math.pi / 64)
    assert (kept > 0).tolist() == [True, True, False, False]
    wanted = rotary.rotate(QUERY, POS, kept)
    torch.testing.assert_close(fourier.rotate(QUERY, POS, mixed), wanted, **EXACT)


def test_tables_are_fourier_series_written_out():
    mixed = mixture()
    sin, cos = fourier.tables(POS, mixed)
    for head, at, m in np.ndindex(2, 4, mixed.sine.shape[2]):
        t = int(POS[at])
        s = sum(
            math.sin(w * t) * mixed.sine[head, f, m].item()
            for f, w in enumerate(mixed.freqs.tolist())
        )
        c = sum(
            math.cos(w * t) * mixed.cosine[head, f, m].item()
            for f, w in enumerate(mixed.freqs.tolist())
        )
        assert sin[head, at, m].item() == pytest.approx(s, abs=1e-12)
        assert cos[head, at, m].item() == pytest.approx(c, abs=1e-12)
    assert (sin[..., mixed.sine.shape[2] :] == 1).all()
    assert (cos[..., mixed.sine.shape[2] :] == 1).all()


def test_what_stands_still_adds_to_scores_whatever_the_distance():
    mixed = mixture()
    moving = mixed.sine.shape[2]
    still = torch.zeros(8, dtype=torch.bool)
    still[moving:4] = still[4 + moving :] = True
    query, key = QUERY * still, KEY.repeat_interleave(2, 1) * still
    scores = [
        fourier.rotate(query, POS, mixed) @ fourier.rotate(key, POS + shift, mixed).mT
        for shift in (0, 17)
    ]
    torch.testing.assert_close(*scores, **EXACT)
    # Sine and cosine 1: the code doubles this part of the score.
    torch.testing.assert_close(scores[0], 2 * query @ key.mT, **EXACT)


def test_with_noise_scores_are_no_function_of_the_distance():
    mixed = mixture()
    scores = [
        fourier.rotate(QUERY, POS + shift, mixed)
        @ fourier.rotate(KEY.repeat_interleave(2, 1), POS + shift, mixed).mT
        for shift in (0, 17)
    ]
    assert (scores[0] - scores[1]).abs().max() > 0.1


def test_a_position_has_the_same_table_in_any_company():
    mixed = mixture()
    sin, _ = fourier.tables(POS, mixed)
    other, _ = fourier.tables(torch.tensor([[30, 2], [7, 5]]), mixed)
    torch.testing.assert_close(other[0, :, 0], sin[:, 3], **EXACT)
    torch.testing.assert_close(other[1, :, 1], sin[:, 2], **EXACT)


def test_query_heads_share_the_series_of_their_key():
    mixed = mixture()
    got = fourier.rotate(QUERY, POS, mixed)
    wanted = fourier.rotate(QUERY[:, 1::2], POS, mixed)
    torch.testing.assert_close(got[:, 1::2], wanted, **EXACT)


def test_noise_has_the_spread_of_xaviers_rule():
    mixed = fourier.series(
        64, 64, train_len=4096, gain=0.5, generator=torch.Generator().manual_seed(1)
    )
    heads, freqs, width = mixed.sine.shape
    assert width == 16
    noise = torch.cat([mixed.sine.flatten(), mixed.cosine.flatten()])
    noise = noise[noise.abs() < 0.5]  # without the ones
    wanted = 0.5 * math.sqrt(2 / ((freqs + heads) * width))
    # About 30,000 numbers: their spread is known to half a percent.
    assert noise.std().item() == pytest.approx(wanted, rel=0.03)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: fourier.series(2, 7, train_len=64), "head_dim is 7, needs an even"),
        (lambda: mixture(train_len=4), "train_len is 4: no pair makes a full turn"),
        (lambda: mixture(width=5), "width is 5, needs 1 to 4"),
        (
            lambda: fourier.rotate(QUERY[..., :6], POS, mixture()),
            "x has head_dim 6, the series 8",
        ),
        (
            lambda: fourier.rotate(QUERY[:, :3], POS, mixture()),
            "x has 3 heads, needs a multiple of 2",
        ),
        (
            lambda: fourier.rotate(QUERY, POS[:2], mixture()),
            r"pos has shape \(2,\), x has length 4",
        ),
    ],
)
def test_what_does_not_fit_is_refused(run, message):
    with pytest.raises(ValueError, match=message):
        run()
