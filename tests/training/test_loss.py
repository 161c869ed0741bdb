import math

import numpy as np
import pytest
import torch

from minitransformer.training.loss import (
    bits_per_byte,
    cross_entropy,
    judge,
    naive_cross_entropy,
)
from minitransformer.training.tasks import IGNORE


def normal(*size):
    return torch.randn(size, generator=torch.Generator().manual_seed(0)).double()


def test_a_model_that_knows_nothing_loses_the_logarithm_of_its_vocabulary():
    logits, target = torch.zeros(5, 7), torch.arange(5)
    assert float(cross_entropy(logits, target)) == pytest.approx(math.log(7))


def test_by_hand():
    # Odds of 3 to 1: the surprise of the likely one is log(4 / 3), of the other log 4.
    logits = torch.tensor([[math.log(3.0), 0.0], [math.log(3.0), 0.0]])
    got = cross_entropy(logits, torch.tensor([0, 1]), reduction="sum")
    assert float(got) == pytest.approx(math.log(4 / 3) + math.log(4))


def test_it_is_the_definition_and_leaves_out_what_is_not_asked():
    logits, target = normal(2, 6, 5), torch.tensor([[0, 4, IGNORE, 2, 1, 3]] * 2)
    wanted = naive_cross_entropy(logits.flatten(0, 1).numpy(), target.flatten().numpy())
    assert float(cross_entropy(logits, target)) == pytest.approx(wanted, abs=1e-12)


def test_half_types_are_added_up_in_float32():
    logits = normal(3, 9).bfloat16()
    got = cross_entropy(logits, torch.tensor([1, 2, 3]))
    assert got.dtype == torch.float32
    wanted = naive_cross_entropy(logits.float().numpy(), np.array([1, 2, 3]))
    assert float(got) == pytest.approx(wanted, abs=1e-6)


def test_one_row_alone():
    logits, target = normal(4), torch.tensor(2)
    wanted = naive_cross_entropy(logits[None].numpy(), np.array([2]))
    assert float(cross_entropy(logits, target)) == pytest.approx(wanted)


def test_bits_per_byte_by_hand():
    assert bits_per_byte(16 * math.log(2), 8) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="num_bytes is 0"):
        bits_per_byte(1.0, 0)


def test_a_judgement_counts_bytes_of_what_is_asked():
    # Id 0 is a mark of no bytes, the others stand for 1, 2 and 3 bytes.
    sizes = torch.tensor([0, 1, 2, 3])

    def even(ids):
        return torch.zeros(*ids.shape, 4)

    ids, target = torch.tensor([[1, 2, 0, 3]]), torch.tensor([[2, 0, 3, IGNORE]])
    wanted = 2 * 2 / (2 + 3)  # two ids of two bits each
    assert judge(even, [(ids, target)], sizes) == pytest.approx(wanted)
    both = judge(even, [(ids, target), (ids, target)], sizes)
    assert both == pytest.approx(wanted)


def test_a_text_of_no_bytes_cannot_be_judged():
    with pytest.raises(ValueError, match="num_bytes is 0"):
        judge(lambda ids: torch.zeros(*ids.shape, 2), [], torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((4,), {}, r"target has shape \(4,\), logits have \(3,\)"),
        ((3,), {"reduction": "none"}, "reduction is 'none'"),
    ],
)
def test_what_does_not_fit_is_refused(shape, options, message):
    with pytest.raises(ValueError, match=message):
        cross_entropy(normal(3, 5), torch.zeros(shape, dtype=torch.long), **options)
