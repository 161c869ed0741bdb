import pytest
import torch
import torch.nn.functional as F

from minitransformer.caches.dense import DenseCache
from minitransformer.caches.measure import streamed_losses, total_bytes

from .small import LAYERS, close, decoder, text


def caches():
    return [DenseCache() for _ in range(LAYERS)]


@pytest.mark.parametrize("step", [1, 3, 100])
def test_losses_are_those_of_the_model_on_the_whole_text(step):
    model, ids = decoder(), text(10)
    got = streamed_losses(model, ids, caches(), step=step)
    logits = model(ids)[:, :-1].float().mT
    close(got, F.cross_entropy(logits, ids[:, 1:], reduction="none"), 1e-5)


def test_bytes_are_added_up_over_the_layers():
    kept = caches()
    streamed_losses(decoder(), text(10), kept)
    assert total_bytes(kept) == LAYERS * kept[0].num_bytes() > 0


@pytest.mark.parametrize(
    ("ids", "step", "message"),
    [
        (torch.zeros(2, 1, dtype=torch.long), 1, "L above 1"),
        (torch.zeros(4, dtype=torch.long), 1, "L above 1"),
        (text(4), 0, "step is 0, needs at least 1"),
    ],
)
def test_what_is_no_text_is_refused(ids, step, message):
    with pytest.raises(ValueError, match=message):
        streamed_losses(decoder(), ids, caches(), step=step)
