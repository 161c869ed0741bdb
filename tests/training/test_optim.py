import numpy as np
import pytest
import torch
from torch import nn

from minitransformer.training import optim
from minitransformer.training.optim import (
    AdamW,
    Group,
    adamw_,
    decay_groups,
    naive_adamw,
)

EXACT = 1e-12


def normal(seed, *size):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)).double()


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)).double()


def test_the_first_step_by_hand():
    # g = 3: m = 0.3 and v = 0.45; corrected they are 3 and 9, so the step is 0.1 * 1.
    # The decay takes 0.1 * 0.5 of the weight 2 away before.
    got = naive_adamw(np.array(2.0), [3.0], [0.1], eps=1e-300, decay=0.5)
    assert got == pytest.approx(2.0 - 0.1 - 0.1)


def test_it_is_the_definition():
    grads, rates = normal(0, 7, 2, 3), [0.1, 0.2, 0.05, 0.1, 0.3, 0.2, 0.1]
    weight = normal(1, 2, 3)
    wanted = naive_adamw(weight.numpy(), list(grads.numpy()), rates, decay=0.3)
    mean, square = torch.zeros_like(weight), torch.zeros_like(weight)
    for t, (grad, rate) in enumerate(zip(grads, rates, strict=True), start=1):
        adamw_([weight], [grad], [mean], [square], step=t, rate=rate, decay=0.3)
    np.testing.assert_allclose(weight.numpy(), wanted, atol=EXACT, rtol=0)


def test_fifty_steps_are_those_of_torch_with_groups():
    ours, theirs = small_model(), small_model()
    groups = decay_groups(ours, 0.2)
    optimizer = AdamW(groups, betas=(0.8, 0.9), eps=1e-6)
    split = [[p for p in theirs.parameters() if p.ndim >= 2]]
    split.append([p for p in theirs.parameters() if p.ndim < 2])
    reference = torch.optim.AdamW(
        [
            {"params": split[0], "weight_decay": 0.2},
            {"params": split[1], "weight_decay": 0.0},
        ],
        betas=(0.8, 0.9),
        eps=1e-6,
    )
    for step in range(50):
        rate = 0.01 * (1 + step % 7)
        for group in reference.param_groups:
            group["lr"] = rate
        for model in (ours, theirs):
            model.zero_grad()
            (model(normal(step, 5, 3)) - normal(100 + step, 5, 2)).pow(
                2
            ).sum().backward()
        optimizer.step(rate)
        reference.step()
    for got, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert (got - wanted).abs().max() < EXACT


def test_a_weight_without_a_gradient_stays_as_it_is():
    weights = {"a": normal(0, 2).requires_grad_(), "b": normal(1, 2).requires_grad_()}
    before = {name: w.detach().clone() for name, w in weights.items()}
    optimizer = AdamW([Group(weights, 0.5)])
    weights["a"].sum().backward()
    optimizer.step(0.1)
    assert not torch.equal(weights["a"], before["a"])
    assert torch.equal(weights["b"], before["b"])
    optimizer.clear()
    assert weights["a"].grad is None


def test_matrices_decay_and_gains_do_not():
    matrices, rest = decay_groups(small_model(), 0.2)
    assert set(matrices.weights) == {"0.weight", "2.weight"}
    assert set(rest.weights) == {"0.bias", "1.weight", "1.bias", "2.bias"}
    assert (matrices.decay, rest.decay) == (0.2, 0.0)


def test_a_tied_weight_is_stepped_once():
    model = small_model()
    model[2] = nn.Linear(3, 4).double()
    model[2].weight = model[0].weight
    names = [name for group in decay_groups(model, 0.1) for name in group.weights]
    assert "2.weight" not in names
    assert "0.weight" in names


def test_the_state_is_by_name():
    optimizer = AdamW(decay_groups(small_model(), 0.1))
    state = optimizer.tensors()
    assert len(state) == 12
    assert state["means.0.weight"].shape == (4, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"betas": (1.0, 0.9)}, "first of betas is 1.0"),
        ({"betas": (0.9, -0.1)}, "second of betas is -0.1"),
        ({"eps": 0.0}, "eps is 0.0"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        AdamW([], **options)


def test_a_weight_in_two_groups_is_refused():
    weights = {"a": normal(0, 2)}
    with pytest.raises(ValueError, match="groups hold a twice"):
        AdamW([Group(weights, 0.1), Group(weights, 0.0)])


def test_no_weights_are_no_work():
    adamw_([], [], [], [], step=1, rate=0.1)


def test_pieces_change_no_bit(monkeypatch):
    """Tensors that are no row of numbers in memory go through whole."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(4, 5, 7, generator=generator)
    drawn[3] = drawn[3].square()  # the means of squares
    results = []
    for turned, piece in ((False, 4), (False, 1000), (True, 4)):
        monkeypatch.setattr(optim, "PIECE", piece)
        given = [x.T.contiguous().T if turned else x.clone() for x in drawn]
        adamw_(*([x] for x in given), step=3, rate=0.1, decay=0.5)
        results.append(torch.stack([*given]))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
