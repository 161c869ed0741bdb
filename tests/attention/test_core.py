import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from minitransformer.attention import masks, normalizers, scores, similarities
from minitransformer.attention.core import (
    attention,
    naive_attention,
    naive_attention_backward,
    naive_weights,
)
from minitransformer.testing import SHAPES, Shape, check_attend, example

# float64 rounds at 1e-16; sums of a few dozen products stay far below this.
EXACT = 1e-12


def close(got, wanted, tolerance=EXACT):
    wanted = torch.as_tensor(wanted, dtype=got.dtype)
    torch.testing.assert_close(got, wanted, rtol=0, atol=tolerance)


def in_numpy(*tensors):
    return [tensor.detach().numpy() for tensor in tensors]


# Two keys, one query, by hand: scores 0 and log 3 give the weights 1/4 and 3/4.
HAND = (
    torch.tensor([[[[1.0]]]], dtype=torch.float64),
    torch.tensor([[[[0.0], [math.log(3)]]]], dtype=torch.float64),
    torch.tensor([[[[4.0, 0.0], [0.0, 8.0]]]], dtype=torch.float64),
)


@pytest.mark.parametrize("function", [attention, naive_attention])
def test_two_keys_computed_by_hand(function):
    inputs = HAND if function is attention else in_numpy(*HAND)
    out, lse = function(*inputs, return_lse=True)
    close(torch.as_tensor(out), [[[[1.0, 6.0]]]])
    close(torch.as_tensor(lse), [[[math.log(4)]]])


def test_the_weights_can_be_looked_at():
    close(torch.as_tensor(naive_weights(*in_numpy(*HAND[:2]))), [[[[0.25, 0.75]]]])


MODS = {
    "plain": {},
    "causal": {"mask_mod": masks.causal},
    "window": {"mask_mod": masks.sliding_window(2)},
    "capped": {"score_mod": scores.soft_cap(0.5)},
    "both": {"mask_mod": masks.causal, "score_mod": scores.soft_cap(2.0)},
    "scaled": {"scale": 2.0},
}


@pytest.mark.parametrize("mods", MODS.values(), ids=MODS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_fast_way_is_the_definition(shape, mods):
    inputs = example(shape)
    out, lse = attention(*inputs, return_lse=True, **mods)
    wanted, wanted_lse = naive_attention(*in_numpy(*inputs), return_lse=True, **mods)
    close(out, wanted)
    close(lse, wanted_lse)


@pytest.mark.parametrize("batched", [False, True])
def test_positions_mean_the_same_in_the_definition(batched):
    query, key, value = example(Shape(2, 2, 1, 3, 5))
    q_pos, kv_pos = torch.tensor([7, -1, 2]), torch.tensor([2, -1, 7, 0, 9])
    if batched:
        q_pos, kv_pos = torch.stack([q_pos, q_pos + 2]), torch.stack([kv_pos] * 2)
    given = {"mask_mod": masks.causal, "return_lse": True}
    out, lse = attention(query, key, value, q_pos=q_pos, kv_pos=kv_pos, **given)
    wanted, wanted_lse = naive_attention(
        *in_numpy(query, key, value),
        q_pos=q_pos.numpy(),
        kv_pos=kv_pos.numpy(),
        **given,
    )
    close(out, wanted)
    close(lse, wanted_lse)


NORMALIZERS = (
    *("softmax_one", "sigmoid", "relu", "squared_relu", "softplus"),
    *("identity", "l1", "sparsemax", "entmax15", "hard"),
)
ATTENDS = {
    "softmax": (attention, True),
    "causal": (partial(attention, mask_mod=masks.causal), True),
    "cosine": (partial(attention, similarity=similarities.cosine, scale=4.0), True),
    "gaussian": (partial(attention, similarity=similarities.gaussian), True),
    **{
        name: (partial(attention, normalize=getattr(normalizers, name)), False)
        for name in NORMALIZERS
    },
    "top_k": (partial(attention, normalize=partial(normalizers.top_k, k=2)), False),
}


@pytest.mark.parametrize(("attend", "lse"), ATTENDS.values(), ids=ATTENDS)
def test_it_keeps_the_promises_of_an_attend(attend, lse):
    check_attend(attend, lse=lse, tolerance=EXACT)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_agrees_with_pytorch(shape):
    query, key, value = example(shape)
    wanted = F.scaled_dot_product_attention(query, key, value, enable_gqa=True)
    close(attention(query, key, value), wanted)


def test_causal_agrees_with_pytorch_where_both_align_alike():
    inputs = example(Shape(2, 4, 2, 6, 6))
    wanted = F.scaled_dot_product_attention(*inputs, is_causal=True, enable_gqa=True)
    close(attention(*inputs, mask_mod=masks.causal), wanted)


def test_with_fewer_queries_than_keys_the_last_stands_on_the_last():
    query, key, value = example(Shape(1, 1, 1, 2, 5))
    rows = [key[:, :, :4], key[:, :, :5]], [value[:, :, :4], value[:, :, :5]]
    wanted = [attention(query[:, :, i : i + 1], rows[0][i], rows[1][i]) for i in (0, 1)]
    out = attention(query, key, value, mask_mod=masks.causal)
    close(out, torch.cat(wanted, dim=2))


FLEX = {
    "plain": (None, None),
    "causal": (None, masks.causal),
    "window": (scores.soft_cap(1.0), masks.sliding_window(3)),
    "sinks": (None, masks.sinks(1, 2)),
    "scattered": (None, masks.or_masks(masks.scattered(0.3, seed=3), masks.causal)),
    "relative": (scores.relative_bias(torch.randn(4, 5)), masks.prefix(2)),
}


@pytest.mark.skipif(
    torch.__version__.startswith("2.6"), reason="there flex takes only powers of 2"
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(("score_mod", "mask_mod"), FLEX.values(), ids=FLEX)
def test_it_agrees_with_flex_attention_under_the_same_mods(score_mod, mask_mod):
    query, key, value = example(Shape(2, 4, 2, 8, 8), dtype=torch.float32)
    block_mask = mask_mod and create_block_mask(mask_mod, 2, 4, 8, 8, device="cpu")
    wanted = flex_attention(
        query, key, value, score_mod, block_mask=block_mask, enable_gqa=True
    )
    out = attention(query, key, value, score_mod=score_mod, mask_mod=mask_mod)
    # Both round in float32: a few dozen roundings of 6e-8 on numbers of order 1.
    close(out, wanted, tolerance=5e-6)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_grouped_heads_are_repeated_keys(groups):
    query, key, value = example(Shape(2, 4, 4 // groups, 3, 5))
    repeated = [x.repeat_interleave(groups, dim=1) for x in (key, value)]
    close(attention(query, key, value), attention(query, *repeated))


@pytest.mark.parametrize("name", ["plain", "causal", "capped", "window"])
def test_the_derivative_is_right(name):
    inputs = [x.requires_grad_() for x in example(Shape(1, 2, 1, 3, 4), head_dim=3)]
    attend = partial(attention, return_lse=True, **MODS[name])
    assert torch.autograd.gradcheck(attend, inputs)


@pytest.mark.parametrize("mask_mod", [None, masks.causal, masks.strictly_causal])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_derivative_by_hand_is_that_of_autograd(shape, mask_mod):
    inputs = [x.requires_grad_() for x in example(shape)]
    out = attention(*inputs, mask_mod=mask_mod, scale=0.7)
    grad_out = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    wanted = torch.autograd.grad(out, inputs, grad_out)
    by_hand = naive_attention_backward(
        *in_numpy(*inputs, grad_out), mask_mod=mask_mod, scale=0.7
    )
    for mine, theirs in zip(by_hand, wanted, strict=True):
        close(torch.as_tensor(mine), theirs)


def test_the_derivative_by_hand_refuses_another_shape():
    inputs = in_numpy(*example(SHAPES[0]))
    with pytest.raises(ValueError, match=r"grad_out has shape \(1, 1, 1, 8\), out has"):
        naive_attention_backward(*inputs, inputs[0])


@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 6))
def test_the_order_of_the_keys_does_not_matter(seed, length, kv_length):
    query, key, value = example(Shape(1, 2, 2, length, kv_length), seed=seed)
    order = torch.randperm(kv_length, generator=torch.Generator().manual_seed(seed))
    shuffled = attention(query, key[:, :, order], value[:, :, order])
    close(shuffled, attention(query, key, value))


@given(st.integers(0, 2**31), st.floats(-50, 50))
def test_a_number_added_to_all_scores_changes_nothing_but_the_lse(seed, shift):
    inputs = example(SHAPES[1], seed=seed)
    out, lse = attention(*inputs, return_lse=True)
    shifted = attention(*inputs, return_lse=True, score_mod=lambda s, *_: s + shift)
    close(shifted[0], out, tolerance=1e-11)  # a shift of 50 costs two digits
    close(shifted[1], lse + shift, tolerance=1e-11)


@given(st.integers(0, 2**31))
def test_the_output_lies_within_the_values(seed):
    query, key, value = example(SHAPES[3], seed=seed)
    out = attention(query, key, value, scale=5.0)
    assert (out <= value.amax(dim=2, keepdim=True) + EXACT).all()
    assert (out >= value.amin(dim=2, keepdim=True) - EXACT).all()


def test_no_keys_at_all_give_zeros():
    query, key, value = example(Shape(2, 2, 1, 3, 0))
    out, lse = attention(query, key, value, return_lse=True)
    assert out.shape == (2, 2, 3, 6)
    assert not out.any()
    assert torch.isneginf(lse).all()
    assert not naive_attention(*in_numpy(query, key, value)).any()


def test_no_queries_give_an_empty_output():
    assert attention(*example(Shape(2, 2, 1, 0, 3))).shape == (2, 2, 0, 6)


def test_a_masked_query_gives_zeros_and_finite_gradients():
    inputs = [x.requires_grad_() for x in example(Shape(1, 2, 2, 4, 4))]
    out, lse = attention(*inputs, mask_mod=masks.strictly_causal, return_lse=True)
    assert not out[:, :, 0].any()
    assert torch.isneginf(lse[:, :, 0]).all()
    (out.sum() + lse[:, :, 1:].sum()).backward()
    assert all(x.grad.isfinite().all() for x in inputs)


def test_huge_scores_do_not_overflow():
    query, key, value = example(SHAPES[1])
    out, lse = attention(query * 1e4, key * 1e4, value, return_lse=True)
    best = (query @ key.transpose(-1, -2)).argmax(-1, keepdim=True)
    wanted = value.gather(2, best.expand(-1, -1, -1, value.shape[3]))
    close(out, wanted)
    assert lse.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_comes_back_in_kind_and_adds_up_in_float32(dtype):
    inputs = example(Shape(1, 2, 1, 5, 300), dtype=dtype)
    out, lse = attention(*inputs, return_lse=True)
    assert out.dtype == dtype
    assert lse.dtype == torch.float32
    wanted = attention(*(x.double() for x in inputs))
    # Scores, weights and output are each rounded to the half type: three roundings,
    # the first of scores below 4.
    close(out.double(), wanted, tolerance=8 * torch.finfo(dtype).eps)


def test_any_similarity_is_scaled():
    query, key, value = example(SHAPES[1])
    out = attention(query, key, value, similarity=similarities.l2, scale=3.0)
    weights = torch.softmax(-3.0 * torch.cdist(query, key), dim=-1)
    close(out, weights @ value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": (8, 8)}, r"query has shape \(8, 8\), needs 4 axes"),
        ({"key": (2, 2, 5, 6)}, "key has head_dim 6, query has 8"),
        ({"key": (1, 2, 5, 8)}, "key has batch 1, query has 2"),
        ({"value": (1, 2, 5, 6)}, "value has batch 1, query has 2"),
        ({"value": (2, 2, 4, 6)}, r"value has \(heads, length\) \(2, 4\), key has"),
        ({"value": (2, 1, 5, 6)}, r"value has \(heads, length\) \(1, 5\), key has"),
        (
            {"key": (2, 3, 5, 8), "value": (2, 3, 5, 6)},
            "key has 3 heads, which do not divide 4",
        ),
    ],
)
@pytest.mark.parametrize("function", [attention, naive_attention])
def test_shapes_that_do_not_fit_are_refused(function, change, message):
    sizes = {"query": (2, 4, 3, 8), "key": (2, 2, 5, 8), "value": (2, 2, 5, 6)} | change
    make = torch.zeros if function is attention else np.zeros
    with pytest.raises(ValueError, match=message):
        function(*(make(size) for size in sizes.values()))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"q_pos": torch.arange(5)}, "q_pos is given without kv_pos"),
        ({"kv_pos": torch.arange(5)}, "kv_pos is given without q_pos"),
        (
            {"q_pos": torch.arange(4), "kv_pos": torch.arange(5)},
            r"q_pos has shape \(4,\), needs \(5,\) or \(2, 5\)",
        ),
        (
            {"q_pos": torch.arange(5), "kv_pos": torch.zeros(3, 5)},
            r"kv_pos has shape \(3, 5\), needs \(5,\) or \(2, 5\)",
        ),
    ],
)
def test_positions_that_do_not_fit_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        attention(*example(SHAPES[1]), **given)


def test_an_lse_is_only_had_from_softmax():
    with pytest.raises(
        ValueError, match="return_lse needs normalize=softmax, got relu"
    ):
        attention(*example(SHAPES[1]), return_lse=True, normalize=normalizers.relu)
