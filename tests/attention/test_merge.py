import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.attention import masks
from minitransformer.attention.core import attention
from minitransformer.attention.merge import merge, naive_merge
from minitransformer.testing import Shape, example

EXACT = 1e-12


def part(inputs, start, stop):
    """Attention over some of the keys."""
    query, key, value = inputs
    some = slice(start, stop)
    return attention(query, key[:, :, some], value[:, :, some], return_lse=True)


def close(got, wanted):
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=EXACT)


@given(st.integers(0, 2**31), st.integers(0, 9))
def test_two_parts_make_the_whole(seed, cut):
    inputs = example(Shape(2, 4, 2, 3, 9), seed=seed)
    merged = merge(*part(inputs, 0, cut), *part(inputs, cut, 9))
    close(merged, attention(*inputs, return_lse=True))


@given(st.integers(0, 2**31))
def test_the_grouping_and_the_order_of_parts_do_not_matter(seed):
    inputs = example(Shape(1, 2, 2, 3, 9), seed=seed)
    a, b, c = (part(inputs, i, i + 3) for i in (0, 3, 6))
    close(merge(*merge(*a, *b), *c), merge(*a, *merge(*b, *c)))
    close(merge(*a, *b), merge(*b, *a))


def test_nothing_is_the_neutral_element():
    inputs = example(Shape(1, 2, 2, 3, 4))
    whole = part(inputs, 0, 4)
    nothing = torch.zeros_like(whole[0]), torch.full_like(whole[1], -torch.inf)
    close(merge(*nothing, *whole), whole)
    close(merge(*whole, *nothing), whole)
    close(merge(*nothing, *nothing), nothing)


def test_it_is_the_definition():
    inputs = example(Shape(2, 2, 1, 3, 6))
    parts = [*part(inputs, 0, 2), *part(inputs, 2, 6)]
    wanted = naive_merge(*(x.numpy() for x in parts))
    close(merge(*parts), [torch.as_tensor(x) for x in wanted])


def test_the_definition_by_hand():
    out, lse = naive_merge(
        np.array([[8.0]]), np.log([1.0]), np.array([[4.0]]), np.log([3.0])
    )
    np.testing.assert_allclose(out, [[5.0]])  # a quarter of 8 and three quarters of 4
    np.testing.assert_allclose(lse, np.log([4.0]))


def test_gradients_flow_through_both_parts_and_stay_finite_with_empty_rows():
    inputs = [x.requires_grad_() for x in example(Shape(1, 1, 1, 4, 4))]
    mask = masks.strictly_causal
    whole = attention(*inputs, mask_mod=mask, return_lse=True)
    near, far = (
        attention(*inputs, return_lse=True, mask_mod=masks.and_masks(mask, other))
        for other in (masks.local(1), masks.not_mask(masks.local(1)))
    )
    merged = merge(*near, *far)
    close(merged, whole)
    wanted = torch.autograd.grad(whole[0].square().sum(), inputs, retain_graph=True)
    got = torch.autograd.grad(merged[0].square().sum(), inputs)
    close(got, wanted)


def test_large_numbers_do_not_overflow():
    out, lse = merge(
        torch.ones(1, 1), torch.tensor([1e4]), torch.zeros(1, 1), torch.tensor([-1e4])
    )
    assert out.item() == 1.0
    assert lse.item() == 1e4


def test_shapes_that_do_not_fit_are_refused():
    out, lse = torch.zeros(2, 3, 4), torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"out_b has shape \(2, 3, 1\), out_a has"):
        merge(out, lse, out[..., :1], lse)
    with pytest.raises(ValueError, match=r"lse_b has shape \(2, 1\), needs \(2, 3\)"):
        merge(out, lse, out, lse[:, :1])
