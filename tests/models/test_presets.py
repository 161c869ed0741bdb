import inspect

import pytest
import torch
from torch import nn

from minitransformer.attention import masks
from minitransformer.attention.core import attention
from minitransformer.caches.dense import DenseCache
from minitransformer.layers.mlp import GELU, SwiGLU
from minitransformer.layers.norm import RMSNorm
from minitransformer.models.presets import Turn, gpt2, llama, tiny
from minitransformer.positions import rotary

IDS = torch.randint(0, 19, (2, 7), generator=torch.Generator().manual_seed(1))
SMALL = {"vocab_size": 19, "dim": 16, "num_layers": 2, "num_heads": 4}
MODELS = {
    "gpt2": lambda **more: gpt2(**SMALL, max_seq_len=12, **more),
    "llama": lambda **more: llama(**SMALL, **more),
    "grouped": lambda **more: llama(**SMALL, num_kv_heads=2, tied=False, **more),
    "tiny": lambda **more: tiny(19, **more),
}


def model_of(name, **more):
    """A preset away from its small start, in float64."""
    torch.manual_seed(0)
    model = MODELS[name](**more).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.4)
    return model


def count(model):
    return sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_decoding_with_a_cache_is_the_prefill(name):
    model = model_of(name)
    caches = [DenseCache() for _ in model.blocks]
    first = model(IDS[:, :3], pos=torch.arange(3), caches=caches)
    steps = [
        model(IDS[:, t : t + 1], pos=torch.tensor([t]), caches=caches)
        for t in range(3, 7)
    ]
    got = torch.cat([first, *steps], dim=1)
    torch.testing.assert_close(got, model(IDS), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", MODELS)
def test_no_preset_sees_the_future(name):
    model, seen = model_of(name), []
    model.embed.register_forward_hook(lambda module, inputs, out: seen.append(out))
    logits = model(IDS)
    for t in range(7):
        (grad,) = torch.autograd.grad(logits[:, t].sum(), seen[0], retain_graph=True)
        by_token = grad.abs().sum(dim=(0, 2))
        assert (by_token[: t + 1] > 1e-9).all()
        assert not by_token[t + 1 :].any()


@pytest.mark.parametrize("name", MODELS)
def test_left_padding_changes_nothing(name):
    model = model_of(name)
    padded = torch.cat([torch.full((2, 2), 5), IDS], dim=1)
    pos = torch.tensor([-1, -1, 0, 1, 2, 3, 4, 5, 6])
    torch.testing.assert_close(
        model(padded, pos=pos)[:, 2:], model(IDS), rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("name", ["gpt2", "llama", "tiny"])
def test_weights_are_counted_by_the_formula(name):
    vocab, dim, layers = 19, 16, 2
    formula = {
        # table + positions + layers (4 projections, mlp, biases, norms) + norm
        "gpt2": vocab * dim
        + 12 * dim
        + layers * (4 * dim**2 + 8 * dim**2 + (4 + 5) * dim + 4 * dim)
        + 2 * dim,
        "llama": vocab * dim + layers * (4 * dim**2 + 3 * 48 * dim + 2 * dim) + dim,
        "tiny": vocab * dim + layers * (3 * dim**2 + 3 * 48 * dim + 2 * dim) + dim,
    }
    assert count(MODELS[name]()) == formula[name]


def test_the_default_sizes_are_those_that_are_told():
    with torch.device("meta"):
        assert count(gpt2()) == 124_439_808
        assert count(llama()) == 7_634_688
        large = llama(
            **{"vocab_size": 32000, "dim": 4096, "num_layers": 32, "num_heads": 32},
            **{"hidden": 11008, "tied": False},
        )
        assert count(large) == 6_738_415_616  # Llama 2 with 7B


def test_what_differs_is_norm_mlp_positions_and_biases():
    gpt, lla = MODELS["gpt2"](), MODELS["llama"]()
    kinds = [(type(m.norm), type(m.blocks[0].mlp)) for m in (gpt, lla)]
    assert kinds == [(nn.LayerNorm, GELU), (RMSNorm, SwiGLU)]
    assert gpt.code is not None and lla.code is None
    assert gpt.blocks[0].mixer.turn is None and lla.blocks[0].mixer.turn is not None
    names = [
        {name for name in m.state_dict() if name.endswith("bias")} for m in (gpt, lla)
    ]
    assert len(names[0]) == 2 * 8 + 1 and not names[1]


@pytest.mark.parametrize("name", MODELS)
def test_another_attend_is_used_in_every_layer(name):
    calls = []

    def counted(*inputs, **options):
        calls.append(1)
        return attention(*inputs, mask_mod=masks.causal, **options)

    other = model_of(name, attend=counted)
    torch.testing.assert_close(other(IDS), model_of(name)(IDS), rtol=0, atol=1e-12)
    assert len(calls) == 2


def test_turns_keep_their_precision_when_the_model_is_rounded():
    model = llama(**SMALL).to(torch.bfloat16)
    freqs = model.blocks[0].mixer.turn.freqs[torch.device("cpu")]
    assert torch.equal(freqs, rotary.frequencies(4))
    assert not any("freqs" in name for name in model.state_dict())
    with torch.device("meta"):
        turn = Turn(4, 1e4)
    x = torch.randn(1, 1, 2, 4, generator=torch.Generator().manual_seed(0))
    pos = torch.tensor([3, 900])
    wanted = rotary.rotate(x, pos, rotary.frequencies(4))
    assert torch.equal(turn(x, pos), wanted)


def test_the_base_of_the_turns_matters():
    outs = [model_of("llama", rope_base=base)(IDS) for base in (1e4, 5e5)]
    assert (outs[0] - outs[1]).abs().max() > 1e-3


def test_only_gpt2_ends_where_its_table_ends():
    ids = torch.zeros(1, 13, dtype=torch.long)
    assert MODELS["llama"]()(ids).shape == (1, 13, 19)
    for model in (MODELS["gpt2"](), llama(**SMALL, max_seq_len=12)):
        with pytest.raises(ValueError, match="position 12, needs at most 11"):
            model(ids)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gpt2(dim=10, num_heads=3), "dim is 10, needs a multiple of num_heads"),
        (lambda: llama(num_kv_heads=3), "num_kv_heads is 3, needs a divisor of 8"),
        (lambda: llama(dim=24, num_heads=8), "head_dim is 3, needs an even number"),
        (lambda: tiny(0), "vocab_size is 0, needs at least 1"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(make, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("make", [gpt2, llama, tiny])
def test_a_preset_is_a_function_of_few_lines(make):
    code = inspect.getsource(make).rpartition('"""')[2]
    assert len(code.strip().splitlines()) <= 15


def test_angles_are_kept_for_the_same_positions_only():
    turn, freqs = Turn(8, 1e4), rotary.frequencies(8)
    x = torch.randn(1, 2, 3, 8, generator=torch.Generator().manual_seed(0))
    for pos in (torch.tensor([0, 1, 2]), torch.tensor([5, 6, 7])):
        for _ in range(2):
            assert torch.equal(turn(x, pos), rotary.rotate(x, pos, freqs))
    pos += 1  # in place: the same tensor, but other positions
    assert torch.equal(turn(x, pos), rotary.rotate(x, pos, freqs))
    wide = x.double()
    assert torch.equal(turn(wide, pos), rotary.rotate(wide, pos, freqs))
    with torch.inference_mode():
        pos = torch.tensor([0, 1, 2])
        assert torch.equal(turn(x, pos), rotary.rotate(x, pos, freqs))
    with pytest.raises(ValueError, match="x has length 3"):
        turn(x, torch.tensor([0, 1]))
