"""The lightning kernel is the recurrence, cut into any parts, forward and back."""

import pytest
import torch

pytest.importorskip("triton")

from minitransformer.attention.linear import lightning_attention as twin
from minitransformer.kernels import launch, tiles
from minitransformer.kernels import lightning_attention as module
from minitransformer.kernels.lightning_attention import lightning_attention

DEVICE = "cpu" if launch.INTERPRETED else "cuda"


def example(length, *, heads=2, head_dim=16, value_dim=32, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    sizes = (head_dim, head_dim, value_dim)
    inputs = [
        torch.randn(2, heads, length, size, generator=generator).to(DEVICE, dtype)
        for size in sizes
    ]
    state = torch.randn(2, heads, head_dim, value_dim, generator=generator)
    decay = torch.linspace(0.8, 1.0, heads)
    return [*inputs, state.to(DEVICE)], decay.to(DEVICE)


def both(inputs, decay):
    """Outputs, states and gradients, ours and in float64; the loss is linear."""
    generator = torch.Generator().manual_seed(1)
    results = []
    for function, dtype in (
        (lightning_attention, None),
        (twin.lightning_attention, torch.float64),
    ):
        given = [x.to(dtype or x.dtype).requires_grad_() for x in inputs]
        out, end = function(
            *given[:3], decay=decay.to(dtype or decay.dtype), state=given[3]
        )
        generator.manual_seed(1)
        weights = [torch.randn(x.shape, generator=generator).to(x) for x in (out, end)]
        number = (out * weights[0]).sum() + (end * weights[1]).sum()
        results.append([out, end, *torch.autograd.grad(number, given)])
    return zip(*results, strict=True)


@pytest.mark.parametrize("length", [1, 31, 64, 130])
@pytest.mark.parametrize("part", [32, 96, 1024])
def test_it_is_the_recurrence_in_any_parts(length, part, monkeypatch):
    tile = tiles.LightningTile(32, part, 16, 4, 1)
    monkeypatch.setattr(module, "lightning_tile", lambda *sizes: tile)
    for got, wanted in both(*example(length)):
        error = (got - wanted).abs().max()
        assert error <= 2e-5 * wanted.abs().max()  # powers of two of long logarithms


def test_without_a_state_it_starts_from_nothing():
    (query, key, value, state), decay = example(40)
    without = lightning_attention(query, key, value, decay=decay)
    zeros = torch.zeros_like(state)
    with_zeros = lightning_attention(query, key, value, decay=decay, state=zeros)
    assert all(map(torch.equal, without, with_zeros))


def test_the_state_that_came_is_not_written_into():
    (query, key, value, state), decay = example(40)
    before = state.clone()
    _, end = lightning_attention(query, key, value, decay=decay, state=state)
    assert torch.equal(state, before) and not torch.equal(end, before)


def test_in_two_calls_it_gives_the_same():
    (query, key, value, state), decay = example(70)
    whole, end = lightning_attention(query, key, value, decay=decay, state=state)
    parts = []
    for at in (slice(0, 33), slice(33, 70)):
        pieces = (x[:, :, at] for x in (query, key, value))
        out, state = lightning_attention(*pieces, decay=decay, state=state)
        parts.append(out)
    assert torch.allclose(torch.cat(parts, dim=2), whole, atol=2e-5 * whole.abs().max())
    assert torch.allclose(state, end, atol=2e-5 * end.abs().max())


def test_nothing_hands_back_the_state():
    (query, key, value, state), decay = example(0)
    out, end = lightning_attention(query, key, value, decay=decay, state=state)
    assert out.shape == value.shape and torch.equal(end, state)


@pytest.mark.gpu
@pytest.mark.skipif(launch.INTERPRETED, reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("length", [1, 100, 1000, 5000])
def test_on_a_gpu_the_error_is_that_of_the_type(length, dtype):
    """The state is rounded once a block, and every output once: a few roundings."""
    inputs, decay = example(length, heads=4, head_dim=128, value_dim=128, dtype=dtype)
    for got, wanted in both([x * 0.3 for x in inputs], decay):
        assert (got - wanted).norm() <= 3 * torch.finfo(dtype).eps * wanted.norm()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": (2, 2, 40, 32)}, "key has head_dim 32, query has 16"),
        ({"value": (2, 2, 40, 24)}, "value has dim 24, needs one of"),
        ({"value": (2, 2, 39, 32)}, r"value has \(batch, heads, length\)"),
        ({"query": (2, 40, 16)}, "query has 3 axes"),
        ({"decay": (3,)}, r"decay has shape \(3,\), needs \(2,\)"),
        ({"state": (2, 2, 16, 16)}, r"state has shape \(2, 2, 16, 16\), needs"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    (query, key, value, state), decay = example(40)
    inputs = {"query": query, "key": key, "value": value, "state": state}
    inputs["decay"] = decay
    inputs |= {name: torch.ones(size, device=DEVICE) for name, size in change.items()}
    with pytest.raises(ValueError, match=message):
        lightning_attention(**inputs)


def test_a_decay_that_wants_a_gradient_is_refused():
    (query, key, value, _), decay = example(5)
    with pytest.raises(ValueError, match="decay needs a gradient"):
        lightning_attention(query, key, value, decay=decay.requires_grad_())
