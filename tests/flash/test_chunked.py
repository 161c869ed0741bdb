import math
from functools import partial

import pytest
import torch

from minitransformer.attention import masks
from minitransformer.attention.core import attention, naive_attention
from minitransformer.flash.chunked import chunked_attention, naive_chunked_attention
from minitransformer.flash.memory import peak_bytes
from minitransformer.testing import SHAPES, Shape, check_attend, example

EXACT = 1e-12
CHUNKS = [{}, {"q_chunk": 2, "k_chunk": 3}, {"q_chunk": 1, "k_chunk": 1}]


@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
@pytest.mark.parametrize("mask_mod", [None, masks.causal])
def test_it_keeps_the_promises_of_an_attend(chunks, mask_mod):
    check_attend(
        partial(chunked_attention, mask_mod=mask_mod, **chunks),
        like=partial(attention, mask_mod=mask_mod),
        tolerance=EXACT,
    )


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_definition_is_attention(shape, batched):
    query, key, value = (x.numpy() for x in example(shape))
    q_pos = torch.arange(shape.length).numpy() - 1
    kv_pos = torch.arange(shape.kv_length).numpy()[::-1] - 1
    if batched:
        q_pos, kv_pos = (x[None].repeat(shape.batch, 0) for x in (q_pos, kv_pos))
    for given in ({}, {"q_pos": q_pos, "kv_pos": kv_pos}):
        options = {"mask_mod": masks.causal, "return_lse": True, **given}
        got = naive_chunked_attention(query, key, value, **options)
        wanted = naive_attention(query, key, value, **options)
        for a, b in zip(got, wanted, strict=True):
            torch.testing.assert_close(
                torch.as_tensor(a), torch.as_tensor(b), rtol=0, atol=EXACT
            )


def test_derivatives_pass_gradcheck():
    shape = Shape(1, 2, 1, 3, 4)
    inputs = [x.requires_grad_() for x in example(shape, head_dim=3, value_dim=2)]
    options = {"mask_mod": masks.causal, "return_lse": True}
    run = partial(chunked_attention, q_chunk=2, k_chunk=3, **options)
    assert torch.autograd.gradcheck(run, inputs)


def test_logits_of_ten_thousand_do_not_overflow():
    query, key, value = example(SHAPES[1], dtype=torch.float32)
    inputs = 1e4 * query, key, value
    out = chunked_attention(*inputs, k_chunk=2)
    assert out.isfinite().all()
    wanted = attention(*(x.double() for x in inputs))
    # a score of 10,000 is rounded to about 2^-10, and a weight with it
    torch.testing.assert_close(out.double(), wanted, rtol=0, atol=4e-3)


def test_half_precision_is_summed_in_single():
    inputs = example(Shape(1, 2, 2, 8, 64), dtype=torch.float32)
    half = [x.to(torch.bfloat16) for x in inputs]
    out, lse = chunked_attention(*half, k_chunk=8, return_lse=True)
    assert (out.dtype, lse.dtype) == (torch.bfloat16, torch.float32)
    wanted = attention(*(x.float() for x in half))
    error = (out.float() - wanted).abs().max() / wanted.abs().max()
    assert error < 2**-8  # one rounding of the result


def test_temporaries_do_not_grow_with_the_keys():
    def peak(kv_length):
        inputs = example(Shape(1, 1, 1, 64, kv_length), dtype=torch.float32)
        return peak_bytes(partial(chunked_attention, *inputs, q_chunk=32, k_chunk=64))

    # where each key stands is a number of 8 bytes; and there are no scores for it
    assert peak(8192) - peak(1024) < 2 * 8 * (8192 - 1024)


def test_what_is_kept_for_derivatives_is_the_square_root():
    """For each query the sums of each chunk, and not each key."""

    def peak(attend, kv_length):
        inputs = example(Shape(1, 1, 1, 64, kv_length), dtype=torch.float32)
        inputs = [x.requires_grad_() for x in inputs]
        return peak_bytes(lambda: torch.autograd.grad(attend(*inputs).sum(), inputs))

    root = math.isqrt(4096)
    chunked = partial(chunked_attention, q_chunk=64, k_chunk=root)
    assert peak(attention, 4096) > 2 * 64 * 4096 * 4  # scores and weights
    assert peak(chunked, 4096) < peak(attention, 4096) / 3


def test_hidden_chunks_are_skipped():
    looked = []

    def mask_mod(b, h, q_idx, kv_idx):
        looked.append(int(kv_idx.min()))
        return masks.causal(b, h, q_idx, kv_idx)

    query, key, value = example(Shape(1, 1, 1, 4, 8))
    value[:, :, 6:] = torch.nan  # whoever computes with it will show it
    out = chunked_attention(
        query[:, :, :2], key, value, mask_mod=mask_mod, q_chunk=2, k_chunk=2,
        q_pos=torch.arange(4, 6), kv_pos=torch.arange(8),
    )  # fmt: skip
    assert out.isfinite().all()
    assert looked == [0, 2, 4, 6]


def test_chunks_below_one_and_shapes_that_do_not_fit_are_refused():
    inputs = example(SHAPES[1])
    with pytest.raises(ValueError, match="q_chunk is 0, needs at least 1"):
        chunked_attention(*inputs, q_chunk=0)
    with pytest.raises(ValueError, match="k_chunk is -1, needs at least 1"):
        chunked_attention(*inputs, k_chunk=-1)
    with pytest.raises(ValueError, match="key has head_dim 7, query has 8"):
        chunked_attention(inputs[0], inputs[1][..., 1:], inputs[2])
    with pytest.raises(ValueError, match="q_pos is given without kv_pos"):
        chunked_attention(*inputs, q_pos=torch.arange(5))


def test_no_query_and_no_key_are_no_trouble():
    query, key, value = example(SHAPES[1])
    assert chunked_attention(query[:, :, :0], key, value).shape == (2, 2, 0, 6)
    out, lse = chunked_attention(query, key[:, :, :0], value[:, :, :0], return_lse=True)
    assert not out.any()
    assert torch.isneginf(lse).all()
