"""FlashAttention's kernels are the attention of this course, with every option."""

import pytest
import torch

pytest.importorskip("triton")

import triton
import triton.language as tl

from minitransformer.attention import core, masks, scores
from minitransformer.kernels import launch
from minitransformer.kernels.flash_attention import attention
from minitransformer.positions.bias import alibi, alibi_slopes

DEVICE = "cpu" if launch.INTERPRETED else "cuda"
SLOPES = alibi_slopes(4).to(DEVICE)
OPTIONS = {
    "full": ({}, {}),
    "causal": ({"causal": True}, {"mask_mod": masks.causal}),
    "window": (
        {"causal": True, "window": 9},
        {"mask_mod": masks.sliding_window(9)},
    ),
    "alibi": (
        {"causal": True, "slopes": SLOPES},
        {"mask_mod": masks.causal, "score_mod": alibi(SLOPES)},
    ),
    "softcap": ({"softcap": 0.7}, {"score_mod": scores.soft_cap(0.7)}),
    "scale": ({"scale": 0.9}, {"scale": 0.9}),
}
SIZES = {  # batch, heads, kv_heads, length, kv_length
    "square": (1, 2, 2, 64, 64),
    "ragged": (2, 4, 2, 37, 53),
    "one key head": (1, 4, 1, 70, 33),
    "one query": (2, 2, 1, 1, 45),
    "more queries than keys": (1, 2, 2, 50, 20),
}


def inputs(batch, heads, kv_heads, length, kv_length, *, head_dim=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = [(heads, length), (kv_heads, kv_length), (kv_heads, kv_length)]
    return [
        torch.randn(batch, h, n, head_dim, generator=generator)
        .to(DEVICE)
        .requires_grad_()
        for h, n in sizes
    ]


def both(tensors, ours, reference):
    """Outputs, lse and gradients of the kernels, and of the definition in float64."""
    results = []
    for function, options, dtype in (
        (attention, ours, torch.float32),
        (core.attention, reference, torch.float64),
    ):
        given = [x.detach().to(dtype).requires_grad_() for x in tensors]
        out, lse = function(*given, return_lse=True, **options)
        number = out.sin().sum() + lse.nan_to_num(neginf=0.0).cos().sum()
        grads = torch.autograd.grad(number, given)
        results.append([out, lse, *grads])
    return zip(*results, strict=True)


def assert_same(pairs):
    """Rounding in float32 grows with the terms of a sum: a hundred or so here."""
    for got, wanted in pairs:
        assert torch.equal(got.isfinite(), wanted.isfinite())
        got, wanted = got.nan_to_num(neginf=0.0), wanted.nan_to_num(neginf=0.0)
        size = max(1.0, wanted.abs().max().item())
        assert (got - wanted).abs().max().item() <= 2e-6 * size


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_is_what_the_definition_does(name):
    ours, reference = OPTIONS[name]
    assert_same(both(inputs(*SIZES["ragged"]), ours, reference))


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("causal", [False, True])
def test_each_size_is_right(name, causal):
    ours, reference = OPTIONS["causal" if causal else "full"]
    assert_same(both(inputs(*SIZES[name]), ours, reference))


def test_a_window_wider_than_a_block_leaves_full_blocks_in_the_middle():
    tensors = inputs(1, 1, 1, 150, 150)
    ours = {"causal": True, "window": 100}
    assert_same(both(tensors, ours, {"mask_mod": masks.sliding_window(100)}))


def test_a_window_with_longer_keys_is_aligned_at_the_end():
    tensors = inputs(1, 2, 1, 40, 90)
    ours = {"causal": True, "window": 33}
    assert_same(both(tensors, ours, {"mask_mod": masks.sliding_window(33)}))


@pytest.mark.parametrize("causal", [False, True])
def test_positions_are_data(causal):
    tensors = inputs(*SIZES["ragged"])
    generator = torch.Generator().manual_seed(1)
    q_pos = torch.randint(-1, 40, (2, 37), generator=generator).to(DEVICE)
    kv_pos = torch.randint(-1, 40, (2, 53), generator=generator).to(DEVICE)
    at = {"q_pos": q_pos, "kv_pos": kv_pos}
    ours, reference = OPTIONS["causal" if causal else "full"]
    assert_same(both(tensors, ours | at, reference | at))


def test_positions_of_one_row_serve_the_whole_batch():
    tensors = inputs(*SIZES["ragged"])
    at = {"q_pos": torch.arange(16, 53), "kv_pos": torch.arange(53)}
    given = attention(*tensors, causal=True, **at)
    assert torch.equal(given, attention(*tensors, causal=True))


def test_a_query_that_sees_nothing_gets_zeros_and_moves_nothing():
    query, key, value = inputs(*SIZES["more queries than keys"])
    out, lse = attention(query, key, value, causal=True, return_lse=True)
    assert not out[:, :, :30].any()
    assert torch.isneginf(lse[:, :, :30]).all()
    grads = torch.autograd.grad(out.sum(), (query, key, value))
    assert all(grad.isfinite().all() for grad in grads)
    assert not grads[0][:, :, :30].any()


def test_memory_need_not_be_contiguous():
    tensors = inputs(*SIZES["ragged"])
    strided = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in tensors]
    odd = [torch.cat([x, x[..., :1]], dim=-1)[..., :16] for x in tensors]  # 68 bytes
    wanted = attention(*tensors)
    assert torch.equal(attention(*strided), wanted)
    assert torch.equal(attention(*odd), wanted)


def test_a_gradient_that_was_expanded_is_read_right():
    tensors = inputs(*SIZES["ragged"])
    spread = torch.autograd.grad(attention(*tensors).sum(), tensors)
    written = torch.autograd.grad(
        attention(*tensors), tensors, grad_outputs=torch.ones_like(tensors[0])
    )
    assert all(map(torch.equal, spread, written))


def test_half_precision_is_as_near_as_half_precision_can_be():
    tensors = [x.detach().half() for x in inputs(*SIZES["ragged"], head_dim=32)]
    exact = core.attention(*(x.double() for x in tensors))
    ours = (attention(*tensors) - exact).abs().max()
    plain = (core.attention(*tensors) - exact).abs().max()
    assert ours <= 2 * plain + 2**-14


GPU_SIZES = [  # batch, heads, kv_heads, length, kv_length, head_dim
    (2, 4, 4, 512, 512, 64),
    (2, 4, 4, 512, 512, 128),
    (1, 4, 2, 1000, 1000, 64),
    (1, 4, 1, 1000, 1000, 128),
    (1, 2, 1, 333, 777, 64),
    (1, 2, 1, 777, 333, 128),
    (3, 2, 2, 1, 1000, 128),
    (1, 2, 2, 128, 128, 256),
    (1, 2, 1, 300, 300, 32),
    (1, 2, 1, 130, 260, 16),
    (1, 8, 2, 2048, 2048, 128),
    (1, 8, 8, 4096, 4096, 64),
]


@pytest.mark.gpu
@pytest.mark.skipif(launch.INTERPRETED, reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("size", GPU_SIZES, ids=str)
def test_on_a_gpu_the_error_is_within_its_budget(size, causal, dtype):
    """Twice the error of torch in the same type, three times for gradients."""
    *sizes, head_dim = size
    tensors = [x.detach().to(dtype) for x in inputs(*sizes, head_dim=head_dim)]
    results = []
    for function, kind in (
        (attention, dtype),
        (core.attention, dtype),
        (core.attention, torch.float64),
    ):
        given = [x.to(kind).requires_grad_() for x in tensors]
        options = {"causal": causal} if function is attention else {}
        if function is not attention and causal:
            options["mask_mod"] = masks.causal
        out, lse = function(*given, return_lse=True, **options)
        number = (out.float() if kind != torch.float64 else out).sin().sum()
        results.append([lse, out, *torch.autograd.grad(number, given)])
    for i, (ours, plain, exact) in enumerate(zip(*results, strict=True)):
        finite = exact.isfinite()
        assert torch.equal(ours.isfinite(), finite)
        error = (ours[finite] - exact[finite]).double().norm()
        budget = (plain[finite] - exact[finite]).double().norm()
        rounding = torch.finfo(dtype).eps * exact[finite].norm()
        assert error <= (3 if i > 1 else 2) * budget + 0.1 * rounding


@triton.jit
def _bend(score, b, h, q_idx, kv_idx):
    return tl.sin(score) + 0.01 * h * (q_idx - kv_idx)


@triton.jit
def _bend_grad(score, b, h, q_idx, kv_idx):
    return tl.cos(score)


def test_a_mod_of_ones_own_goes_in_and_trains_with_its_derivative():
    def plain(score, b, h, q_idx, kv_idx):
        return score.sin() + 0.01 * h * (q_idx - kv_idx)

    ours = {"score_mod": (_bend, _bend_grad)}
    assert_same(both(inputs(*SIZES["ragged"]), ours, {"score_mod": plain}))


def test_a_mod_without_a_derivative_cannot_train():
    tensors = inputs(*SIZES["one query"])
    out = attention(*tensors, score_mod=_bend)
    with pytest.raises(ValueError, match="score_mod has no derivative"):
        out.sum().backward()


@pytest.mark.parametrize("empty", ["queries", "keys", "batch"])
def test_nothing_gives_nothing(empty):
    size = {
        "queries": (1, 2, 1, 0, 5),
        "keys": (1, 2, 1, 5, 0),
        "batch": (0, 2, 1, 5, 5),
    }
    tensors = inputs(*size[empty])
    out, lse = attention(*tensors, return_lse=True)
    assert out.shape == tensors[0].shape and not out.any()
    assert torch.isneginf(lse).all()
    assert all(not g.any() for g in torch.autograd.grad(out.sum(), tensors))


def test_large_scores_do_not_overflow():
    query, key, value = inputs(*SIZES["square"])
    out = attention(query * 1e4, key * 1e2, value)
    wanted = core.attention(*(x.double() for x in (query * 1e4, key * 1e2, value)))
    assert torch.allclose(out.double(), wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": (1, 2, 5, 32)}, "key has head_dim 32, query has 16"),
        ({"key": (2, 2, 5, 16)}, "key has batch 2, query 1"),
        ({"value": (1, 2, 6, 16)}, r"key has \(heads, length\) \(2, 5\), value \(2, 6"),
        ({"query": (1, 3, 5, 16)}, "key has 2 heads, which do not divide 3"),
        ({"query": (1, 2, 5)}, "query has 3 axes"),
        (dict.fromkeys(("query", "key", "value"), (1, 2, 5, 48)), "head_dim is 48"),
        ({"scale": -1.0}, "scale is -1.0, needs to be above 0"),
        ({"window": 3}, "window is 3, needs at least 1, and causal=True"),
        ({"window": 0, "causal": True}, "window is 0"),
        ({"softcap": 0.0}, "softcap is 0.0"),
        ({"slopes": torch.ones(3)}, r"slopes has shape \(3,\), needs \(2,\)"),
        ({"score_mod": lambda *x: x[0]}, "needs a triton.jit function"),
        ({"q_pos": torch.arange(5)}, "q_pos is given without kv_pos"),
        (
            {"q_pos": torch.arange(5), "kv_pos": torch.arange(4)},
            r"kv_pos has shape \(4,\), needs \(5,\) or \(1, 5\)",
        ),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    shapes = {"query": (1, 2, 5, 16), "key": (1, 2, 5, 16), "value": (1, 2, 5, 16)}
    tensors = {
        n: torch.zeros(change.pop(n, s), device=DEVICE) for n, s in shapes.items()
    }
    with pytest.raises(ValueError, match=message):
        attention(**tensors, **change)
