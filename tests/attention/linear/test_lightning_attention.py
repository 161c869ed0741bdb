"""Lightning attention is its recurrence, in blocks of any size."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.attention.linear.lightning_attention import (
    lightning_attention,
    naive_lightning_attention,
)
from minitransformer.positions.bias import alibi_slopes
from minitransformer.testing import check_recur


def example(batch=2, heads=2, length=11, head_dim=4, value_dim=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = (head_dim, head_dim, value_dim)
    inputs = [
        torch.randn(
            batch, heads, length, size, generator=generator, dtype=torch.float64
        )
        for size in sizes
    ]
    decay = torch.exp(-alibi_slopes(heads))
    return *inputs, decay


def test_two_steps_by_hand():
    query = torch.tensor([[[[1.0], [2.0]]]])
    key = torch.tensor([[[[3.0], [5.0]]]])
    value = torch.tensor([[[[7.0], [11.0]]]])
    decay = torch.tensor([0.5])
    out, state = lightning_attention(query, key, value, decay=decay)
    assert out.flatten().tolist() == [21.0, 2 * (0.5 * 21.0 + 55.0)]
    assert state.item() == 0.5 * 21.0 + 55.0


@given(length=st.integers(0, 20), block=st.integers(1, 25), seed=st.integers(0, 10))
def test_any_block_gives_the_recurrence(length, block, seed):
    query, key, value, decay = example(length=length, seed=seed)
    start = torch.randn(2, 2, 4, 3, dtype=torch.float64)
    got = lightning_attention(query, key, value, decay=decay, state=start, block=block)
    arrays = (x.numpy() for x in (query, key, value))
    wanted = naive_lightning_attention(
        *arrays, decay=decay.numpy(), state=start.numpy()
    )
    for ours, exact in zip(got, wanted, strict=True):
        size = np.abs(exact).max(initial=1.0)
        assert np.abs(ours.numpy() - exact).max(initial=0.0) <= 1e-13 * size


def test_it_is_the_masked_quadratic_form():
    query, key, value, decay = example()
    gap = torch.arange(11).view(-1, 1) - torch.arange(11)
    weight = torch.where(gap >= 0, decay.view(-1, 1, 1) ** gap.clamp_min(0), 0.0)
    wanted = (query @ key.mT * weight) @ value
    out, _ = lightning_attention(query, key, value, decay=decay, block=4)
    assert torch.allclose(out, wanted, rtol=1e-12)


def test_without_decay_it_is_causal_linear_attention():
    query, key, value, _ = example()
    out, state = lightning_attention(query, key, value, decay=torch.ones(2))
    sums = (key.unsqueeze(-1) * value.unsqueeze(-2)).cumsum(dim=2)
    assert torch.allclose(out, (query.unsqueeze(-2) @ sums).squeeze(-2), rtol=1e-12)
    assert torch.allclose(state, sums[:, :, -1], rtol=1e-12)


def test_gradients_are_those_of_finite_differences():
    query, key, value, decay = example(batch=1, length=5, head_dim=2, value_dim=2)
    start = torch.randn(1, 2, 2, 2, dtype=torch.float64)
    inputs = [x.requires_grad_() for x in (query, key, value, start)]

    def run(query, key, value, state):
        return lightning_attention(query, key, value, decay=decay, state=state, block=2)

    assert torch.autograd.gradcheck(run, inputs)


def test_it_keeps_the_promises_of_a_recurrence():
    def run(query, key, value, *, state=None):
        decay = torch.full(query.shape[1:2], 0.9)
        return lightning_attention(query, key, value, decay=decay, state=state, block=3)

    check_recur(run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": (2, 2, 11, 5)}, "key has head_dim 5, query has 4"),
        ({"value": (2, 2, 10, 3)}, r"value has \(batch, heads, length\) \(2, 2, 10\)"),
        ({"query": (2, 11, 4)}, "query has 3 axes"),
        ({"decay": (3,)}, r"decay has shape \(3,\), needs \(2,\)"),
        (
            {"state": (2, 2, 4, 4)},
            r"state has shape \(2, 2, 4, 4\), needs \(2, 2, 4, 3",
        ),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    inputs = dict(zip(("query", "key", "value", "decay"), example(), strict=True))
    inputs |= {name: torch.ones(shape) for name, shape in change.items()}
    with pytest.raises(ValueError, match=message):
        lightning_attention(**inputs)


def test_a_block_below_one_is_refused():
    query, key, value, decay = example()
    with pytest.raises(ValueError, match="block is 0, needs at least 1"):
        lightning_attention(query, key, value, decay=decay, block=0)
