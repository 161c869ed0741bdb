from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from minitransformer.attention import masks
from minitransformer.attention.core import (
    attention,
    naive_attention,
    naive_attention_backward,
)
from minitransformer.attention.merge import merge
from minitransformer.flash.memory import peak_bytes
from minitransformer.flash.tiled import (
    naive_tiled_attention,
    naive_tiled_backward,
    tiled_attention,
)
from minitransformer.layers.attention import Attention
from minitransformer.layers.mlp import SwiGLU
from minitransformer.models.decoder import Decoder
from minitransformer.testing import SHAPES, Shape, check_attend, example

EXACT = 1e-12
BLOCKS = [{}, {"block_q": 2, "block_k": 3}, {"block_q": 1, "block_k": 1}]
MASKS = {
    "none": None,
    "causal": masks.causal,
    "window": masks.sliding_window(2),
    "by head": lambda b, h, q_idx, kv_idx: (kv_idx + h + b) % 3 > 0,
}


def close(got, wanted, tolerance=EXACT):
    for a, b in zip(got, wanted, strict=True):
        a, b = torch.as_tensor(a).double(), torch.as_tensor(b).double()
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


@pytest.mark.parametrize("blocks", BLOCKS, ids=str)
@pytest.mark.parametrize("name", ["none", "causal", "window"])
def test_it_keeps_the_promises_of_an_attend(name, blocks):
    mask_mod = MASKS[name]
    check_attend(
        partial(tiled_attention, mask_mod=mask_mod, **blocks),
        like=partial(attention, mask_mod=mask_mod),
        tolerance=EXACT,
    )


@pytest.mark.parametrize("blocks", BLOCKS, ids=str)
@pytest.mark.parametrize("mask_mod", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_output_lse_and_derivatives_are_those_of_attention(shape, mask_mod, blocks):
    inputs = [x.requires_grad_() for x in example(shape)]
    options = {"mask_mod": mask_mod, "scale": 0.7, "return_lse": True}
    got = tiled_attention(*inputs, **options, **blocks)
    wanted = attention(*inputs, **options)
    close(got, wanted)
    generator = torch.Generator().manual_seed(1)
    grads = [torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in wanted]
    finite = torch.isfinite(wanted[1])
    grads[1] = grads[1] * finite  # PyTorch makes nan of the slope of no key
    got, wanted = (torch.autograd.grad(x, inputs, grads) for x in (got, wanted))
    close(got, wanted)


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("mask_mod", MASKS.values(), ids=MASKS)
def test_positions_mean_the_same(mask_mod, batched):
    inputs = [x.requires_grad_() for x in example(Shape(2, 4, 2, 4, 6))]
    q_pos, kv_pos = torch.tensor([7, -1, 2, 0]), torch.tensor([2, -1, 7, 0, 9, 1])
    if batched:
        q_pos, kv_pos = torch.stack([q_pos, q_pos + 2]), torch.stack([kv_pos, -kv_pos])
    options = {"q_pos": q_pos, "kv_pos": kv_pos, "mask_mod": mask_mod}
    got = tiled_attention(*inputs, **options, block_q=3, block_k=2)
    wanted = attention(*inputs, **options)
    close([got], [wanted])
    got, wanted = (torch.autograd.grad(x.sin().sum(), inputs) for x in (got, wanted))
    close(got, wanted)


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("mask_mod", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_loops_are_the_definition(shape, mask_mod, batched):
    inputs = [x.numpy() for x in example(shape)]
    grad_out = np.random.default_rng(0).normal(size=(*inputs[0].shape[:3], 6))
    q_pos, kv_pos = np.arange(shape.length) - 1, np.arange(shape.kv_length)[::-1] - 1
    if batched:
        q_pos, kv_pos = (x[None].repeat(shape.batch, 0) for x in (q_pos, kv_pos))
    for given in ({}, {"q_pos": q_pos, "kv_pos": kv_pos}):
        options = {"mask_mod": mask_mod, "scale": 0.4, **given}
        tiles = {"block_q": 2, "block_k": 3, **options}
        got = naive_tiled_attention(*inputs, return_lse=True, **tiles)
        close(got, naive_attention(*inputs, return_lse=True, **options))
        close([naive_tiled_attention(*inputs, **tiles)], got[:1])
        got = naive_tiled_backward(*inputs, grad_out, **tiles)
        close(got, naive_attention_backward(*inputs, grad_out, **options))


@pytest.mark.parametrize("mask_mod", [None, masks.causal, masks.strictly_causal])
def test_derivatives_pass_gradcheck(mask_mod):
    shape = Shape(2, 2, 1, 3, 5)
    inputs = [x.requires_grad_() for x in example(shape, head_dim=3, value_dim=2)]
    options = {"block_q": 2, "block_k": 3, "mask_mod": mask_mod, "return_lse": True}
    assert torch.autograd.gradcheck(partial(tiled_attention, **options), inputs)


def test_it_agrees_with_pytorch_in_single_precision():
    inputs = example(Shape(2, 4, 4, 300, 300), head_dim=32, dtype=torch.float32)
    inputs = [x.requires_grad_() for x in (*inputs[:2], inputs[1] + 1)]
    got = tiled_attention(*inputs, mask_mod=masks.causal, block_q=128, block_k=64)
    wanted = F.scaled_dot_product_attention(*inputs, is_causal=True)
    close([got], [wanted], 1e-5)  # sums of 300 numbers of float32, 6e-8 each
    got, wanted = (torch.autograd.grad(x.sin().sum(), inputs) for x in (got, wanted))
    close(got, wanted, 1e-4)  # a key gathers from 300 queries


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_single(kind):
    full = example(Shape(1, 2, 2, 64, 256), dtype=torch.float32)
    half = [x.to(kind).requires_grad_() for x in full]
    out, lse = tiled_attention(*half, block_k=16, return_lse=True)
    assert (out.dtype, lse.dtype) == (kind, torch.float32)
    exact = [x.detach().double().requires_grad_() for x in half]
    wanted = attention(*exact)
    error = (out.double() - wanted).abs().max() / wanted.abs().max()
    assert error < torch.finfo(kind).eps  # one rounding, of the result
    got, wanted = (
        torch.autograd.grad(x.sum(), i) for x, i in ((out, half), (wanted, exact))
    )
    for a, b in zip(got, wanted, strict=True):
        assert a.dtype == kind
        assert (a.double() - b).abs().max() < 4 * torch.finfo(kind).eps * b.abs().max()


def test_scores_of_ten_thousand_do_not_overflow():
    query, key, value = (x.requires_grad_() for x in example(SHAPES[1]))
    out, lse = tiled_attention(1e4 * query, key, value, block_k=2, return_lse=True)
    close((out, lse), attention(1e4 * query, key, value, return_lse=True), 1e-9)
    grads = torch.autograd.grad(out.sum() + lse.sum(), (query, key, value))
    assert all(grad.isfinite().all() for grad in grads)


def test_parts_can_be_merged_and_derived():
    inputs = [x.requires_grad_() for x in example(Shape(1, 2, 2, 4, 8))]
    query, key, value = inputs
    parts = [
        tiled_attention(query, key[:, :, cut], value[:, :, cut], return_lse=True)
        for cut in (slice(0, 5), slice(5, 8))
    ]
    merged, _ = merge(*parts[0], *parts[1])
    wanted = attention(*inputs)
    close([merged], [wanted])
    got, wanted = (torch.autograd.grad(x.sin().sum(), inputs) for x in (merged, wanted))
    close(got, wanted)


def test_a_slope_that_is_no_number_ends_at_a_query_without_keys():
    inputs = [x.requires_grad_() for x in example(Shape(1, 1, 1, 3, 3))]
    options = {"mask_mod": masks.strictly_causal, "return_lse": True}
    _, lse = tiled_attention(*inputs, **options)
    outside = torch.ones_like(lse)
    outside[:, :, 0] = torch.nan  # what other functions make of an lse of -inf
    grads = torch.autograd.grad(lse, inputs, outside, retain_graph=True)
    assert all(grad.isfinite().all() for grad in grads)
    outside[:, :, 0] = 0.0
    close(grads, torch.autograd.grad(lse, inputs, outside))


def test_only_what_is_asked_for_needs_a_gradient():
    query, key, value = example(SHAPES[1])
    value.requires_grad_()
    out = tiled_attention(query, key, value)
    (grad,) = torch.autograd.grad(out.sum(), value)
    (wanted,) = torch.autograd.grad(attention(query, key, value).sum(), value)
    close([grad], [wanted])


def test_memory_that_is_not_contiguous_is_no_trouble():
    shape = Shape(2, 4, 2, 5, 7)
    inputs = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in example(shape)]
    inputs = [x.requires_grad_() for x in inputs]
    got, wanted = (f(*inputs) for f in (partial(tiled_attention, block_q=2), attention))
    outside = torch.ones_like(got).expand(got.shape)
    got, wanted = (torch.autograd.grad(x, inputs, outside) for x in (got, wanted))
    close(got, wanted)


def test_the_matrix_of_scores_never_exists():
    inputs = example(Shape(1, 1, 1, 2048, 2048), dtype=torch.float32)
    inputs = [x.requires_grad_() for x in inputs]
    run = partial(
        tiled_attention, *inputs, mask_mod=masks.causal, block_q=64, block_k=64
    )
    matrix = 4 * 2048**2
    assert peak_bytes(run) < matrix / 40
    both = peak_bytes(lambda: torch.autograd.grad(run().sum(), inputs))
    assert both < matrix / 20


def test_hidden_tiles_are_never_touched():
    query, key, value = example(Shape(1, 1, 1, 2, 8))
    value[:, :, 4:] = torch.nan
    given = {"q_pos": torch.tensor([2, 3]), "kv_pos": torch.arange(8)}
    out = tiled_attention(query, key, value, mask_mod=masks.causal, block_k=4, **given)
    assert out.isfinite().all()


class Growing:
    """The least cache there is: all keys so far."""

    def __init__(self):
        self.kept = None

    def update(self, key, value, pos):
        new = key, value, pos
        if self.kept is not None:
            pairs = zip(self.kept, new, (2, 2, -1), strict=True)
            new = tuple(torch.cat([old, x], dim) for old, x, dim in pairs)
        self.kept = new
        return new


def decoder(attend):
    torch.manual_seed(0)
    causal = partial(attend, mask_mod=masks.causal)
    model = Decoder(
        11, 8, 2,
        mixer=lambda i: Attention(8, 2, num_kv_heads=1, attend=causal),
        mlp=lambda i: SwiGLU(8, 16),
    )  # fmt: skip
    return model.double()


def test_a_decoder_with_it_gives_equal_logits_and_gradients():
    ids = torch.randint(0, 11, (2, 9), generator=torch.Generator().manual_seed(1))
    models = [decoder(f) for f in (attention, partial(tiled_attention, block_k=4))]
    logits = [model(ids) for model in models]
    close(logits[1:], logits[:1])
    for scores in logits:
        F.cross_entropy(scores[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    gradients = [[p.grad for p in model.parameters()] for model in models]
    close(*gradients)


def test_a_decoder_with_it_continues_from_a_cache():
    ids = torch.randint(0, 11, (2, 9), generator=torch.Generator().manual_seed(1))
    model = decoder(partial(tiled_attention, block_q=2, block_k=4))
    caches, pos = [Growing(), Growing()], torch.arange(9)
    parts = [
        model(ids[:, i : i + 3], pos=pos[i : i + 3], caches=caches) for i in (0, 3, 6)
    ]
    close([torch.cat(parts, dim=1)], [model(ids)])


def test_no_query_and_no_key_are_no_trouble():
    query, key, value = example(SHAPES[1])
    assert tiled_attention(query[:, :, :0], key, value).shape == (2, 2, 0, 6)
    out, lse = tiled_attention(query, key[:, :, :0], value[:, :, :0], return_lse=True)
    assert not out.any()
    assert torch.isneginf(lse).all()


def test_blocks_below_one_and_shapes_that_do_not_fit_are_refused():
    inputs = example(SHAPES[1])
    with pytest.raises(ValueError, match="block_q is 0, needs at least 1"):
        tiled_attention(*inputs, block_q=0)
    with pytest.raises(ValueError, match="block_k is -2, needs at least 1"):
        tiled_attention(*inputs, block_k=-2)
    with pytest.raises(ValueError, match="key has head_dim 7, query has 8"):
        tiled_attention(inputs[0], inputs[1][..., 1:], inputs[2])
    with pytest.raises(ValueError, match="q_pos is given without kv_pos"):
        tiled_attention(*inputs, q_pos=torch.arange(5))
    arrays = [x.numpy() for x in inputs]
    with pytest.raises(ValueError, match=r"grad_out has shape \(1, 1\), out has"):
        naive_tiled_backward(*arrays, np.ones((1, 1)))
