from functools import partial

import numpy as np
import pytest
import torch

from minitransformer.attention import masks
from minitransformer.attention.core import attention
from minitransformer.positions.contextual import (
    ContextualPosition,
    count_back,
    naive_positions,
)
from minitransformer.testing import Shape, check_attend, example

EXACT = {"rtol": 0, "atol": 1e-12}
CAUSAL = partial(attention, mask_mod=masks.causal)


def counting(rows=4, seed=0, scale=1.0):
    cope = ContextualPosition(attention, 8, rows).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        cope.weight.normal_(generator=generator).mul_(scale)
    return cope


def test_positions_by_hand():
    gates = np.array([[1, 9, 9], [0.5, 1, 9], [1, 0, 0.25]])
    wanted = [[1, 0, 0], [1.5, 1, 0], [1.25, 0.25, 0.25]]
    np.testing.assert_allclose(naive_positions(gates), wanted)


def test_counting_back_is_the_definition_in_any_order_of_the_keys():
    generator = torch.Generator().manual_seed(0)
    gates = torch.rand(2, 3, 6, 6, generator=generator, dtype=torch.float64).tril()
    wanted = np.stack([[naive_positions(g) for g in gs] for gs in gates.numpy()])
    got = count_back(gates, torch.arange(6))
    torch.testing.assert_close(got.tril(), torch.from_numpy(wanted), **EXACT)
    order = torch.randperm(6, generator=generator)
    shuffled = count_back(gates[..., order], order)
    torch.testing.assert_close(shuffled, got[..., order], **EXACT)


def test_open_gates_count_the_distance_and_closed_ones_nothing():
    gates = torch.ones(5, 5).tril()
    distance = torch.arange(5)[:, None] - torch.arange(5) + 1
    assert torch.equal(
        count_back(gates, torch.arange(5)).tril(), distance.tril().float()
    )
    assert not count_back(gates * 0, torch.arange(5)).any()


def test_between_whole_positions_logits_are_mixed_and_end_at_the_last_row():
    cope, (query, _, _) = counting(rows=3), example(Shape(1, 1, 1, 1, 1))
    each = (query @ cope.weight.T)[0, 0, 0]
    at = torch.tensor([[[[0.0, 0.25, 1.0, 1.5, 2.0, 7.3]]]], dtype=torch.float64)
    got = cope.logits(query, at)[0, 0, 0]
    zero, one, two = each
    wanted = [zero, 0.75 * zero + 0.25 * one, one, (one + two) / 2, two, two]
    torch.testing.assert_close(got, torch.stack(wanted), **EXACT)


def test_a_table_of_zeros_is_attention_without_positions():
    inputs = example(Shape(2, 4, 2, 5, 5))
    cope = ContextualPosition(attention, 8, 4).double()
    torch.testing.assert_close(cope(*inputs), CAUSAL(*inputs), **EXACT)


def test_it_is_the_definition():
    query, key, _ = example(Shape(1, 2, 1, 5, 5))
    eye = torch.eye(5, dtype=torch.float64).expand(1, 1, 5, 5)  # values: the weights
    cope = counting()
    got = cope(query, key, eye).detach()
    table = cope.weight.detach().numpy()
    for h in range(2):
        q, k = query[0, h].numpy(), key[0, 0].numpy()
        scores = q @ k.T / np.sqrt(8)
        at = np.minimum(naive_positions(1 / (1 + np.exp(-scores))), 3)
        low = np.floor(at).astype(int)
        high, share = np.minimum(low + 1, 3), at - low
        rows = (1 - share)[..., None] * table[low] + share[..., None] * table[high]
        scores = scores + np.einsum("ie,ije->ij", q, rows) / np.sqrt(8)
        wanted = torch.from_numpy(scores).masked_fill(
            ~torch.ones(5, 5, dtype=torch.bool).tril(), -torch.inf
        )
        torch.testing.assert_close(got[0, h], wanted.softmax(-1), **EXACT)


def test_it_keeps_the_promises_of_an_attend():
    check_attend(counting())


def test_its_derivatives_are_right():
    inputs = [x.requires_grad_() for x in example(Shape(1, 2, 1, 4, 4))]
    cope = counting()
    assert torch.autograd.gradcheck(cope, inputs)
    weight = cope.weight.detach().clone().requires_grad_()

    def by_table(table):
        return torch.func.functional_call(cope, {"weight": table}, tuple(inputs))

    assert torch.autograd.gradcheck(by_table, [weight])


def test_token_by_token_it_gives_the_same():
    query, key, value = example(Shape(1, 2, 2, 6, 6))
    cope = counting()
    whole, pos = cope(query, key, value), torch.arange(6)
    for t in range(6):
        until = slice(0, t + 1)
        step = cope(
            query[:, :, t : t + 1],
            key[:, :, until],
            value[:, :, until],
            q_pos=pos[t : t + 1],
            kv_pos=pos[until],
        )
        torch.testing.assert_close(step, whole[:, :, t : t + 1], **EXACT)


def test_a_table_without_rows_is_refused():
    with pytest.raises(ValueError, match="num_positions is 0, needs at least 1"):
        ContextualPosition(attention, 8, 0)
