from functools import partial

import pytest
import torch
from torch import nn

from minitransformer.attention import masks
from minitransformer.attention.core import attention
from minitransformer.layers.attention import Attention
from minitransformer.layers.mlp import GELU, SwiGLU
from minitransformer.layers.partial import Partial
from minitransformer.models.decoder import Decoder
from minitransformer.positions import rotary
from minitransformer.positions.additive import LearnedPositions

CAUSAL = partial(attention, mask_mod=masks.causal)
TURN = Partial(rotary.rotate, freqs=rotary.frequencies(4))


def tiny(**options):
    torch.manual_seed(0)
    parts = {
        "mixer": lambda i: Attention(8, 2, num_kv_heads=1, attend=CAUSAL, turn=TURN),
        "mlp": lambda i: SwiGLU(8, 16),
    }
    return Decoder(11, 8, 2, **(parts | options)).double()


def ids(length=6):
    return torch.randint(0, 11, (2, length), generator=torch.Generator().manual_seed(1))


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


def test_a_decoder_by_hand():
    # Queries are zero, so each token takes the mean of the tokens so far; the
    # feed-forward layer doubles what comes in; the norms do nothing.
    model = Decoder(
        *(3, 2, 1),
        mixer=lambda i: Attention(2, 1, attend=CAUSAL),
        mlp=lambda i: nn.Identity(),
        norm=lambda dim: nn.Identity(),
    )
    mixer = model.blocks[0].mixer
    with torch.no_grad():
        model.embed.weight.copy_(torch.tensor([[1.0, 0], [0, 1], [1, 1]]))
        mixer.q_proj.weight.zero_()
        mixer.v_proj.weight.copy_(torch.eye(2))
        mixer.o_proj.weight.copy_(torch.eye(2))
    # embedded (1, 0), (0, 1), (1, 1); with the means (2, 0), (1/2, 3/2), (5/3, 5/3)
    wanted = [[4.0, 0, 4], [1, 3, 4], [10 / 3, 10 / 3, 20 / 3]]
    got = model(torch.tensor([[0, 1, 2]]))[0]
    torch.testing.assert_close(got, torch.tensor(wanted), rtol=1e-6, atol=1e-6)


def test_no_score_has_a_gradient_by_a_later_token():
    model, seen = tiny(), []
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.5, generator=torch.Generator().manual_seed(3))
    model.embed.register_forward_hook(lambda module, inputs, out: seen.append(out))
    logits = model(ids())
    for t in range(6):
        (grad,) = torch.autograd.grad(logits[:, t].sum(), seen[0], retain_graph=True)
        by_token = grad.abs().sum(dim=(0, 2))
        assert (by_token[: t + 1] > 1e-6).all()
        assert not by_token[t + 1 :].any()


class Shift(nn.Module):
    """A mixer of another kind: each token gets the one before it."""

    def forward(self, x, *, pos=None, cache=None, context=None):
        return nn.functional.pad(x, (0, 0, 1, 0))[:, :-1]


def test_layers_may_mix_in_different_ways():
    def mixer(i):
        return Attention(8, 2, attend=CAUSAL, turn=TURN) if i % 2 else Shift()

    model, changed = tiny(mixer=mixer), ids().clone()
    kinds = [type(block.mixer) for block in model.blocks]
    assert kinds == [Shift, Attention]
    changed[:, 3] = (changed[:, 3] + 1) % 11
    same = (model(ids()) - model(changed)).abs().amax(dim=(0, 2)) < 1e-9
    assert same.tolist() == [True] * 3 + [False] * 3


def test_it_scores_every_id_at_every_position():
    assert tiny()(ids()).shape == (2, 6, 11)


def test_it_sees_nothing_of_the_future():
    model, changed = tiny(), ids().clone()
    changed[:, 4:] = (changed[:, 4:] + 1) % 11
    out, other = model(ids()), model(changed)
    torch.testing.assert_close(out[:, :4], other[:, :4], rtol=0, atol=1e-12)
    assert (out[:, 4:] - other[:, 4:]).abs().max() > 1e-6


@pytest.mark.parametrize("code", [None, LearnedPositions(10, 8)])
def test_token_by_token_with_caches_it_gives_the_same(code):
    model = tiny(code=code)
    caches = [Growing(), Growing()]
    steps = [
        model(ids()[:, t : t + 1], pos=torch.tensor([t]), caches=caches)
        for t in range(6)
    ]
    torch.testing.assert_close(
        torch.cat(steps, dim=1), model(ids()), rtol=0, atol=1e-12
    )


def test_left_padding_changes_nothing():
    model = tiny()
    padded = torch.cat([torch.full((2, 3), 7), ids()], dim=1)
    out = model(padded, pos=torch.tensor([-1, -1, -1, 0, 1, 2, 3, 4, 5]))
    torch.testing.assert_close(out[:, 3:], model(ids()), rtol=0, atol=1e-12)


def test_a_tied_head_is_the_embedding():
    tied, untied = tiny(), tiny(tied=False)
    assert tied.head.weight is tied.embed.weight
    assert untied.head.weight is not untied.embed.weight
    count = [sum(p.numel() for p in m.parameters()) for m in (tied, untied)]
    assert count[1] - count[0] == 11 * 8


def test_layers_may_differ():
    model = tiny(mlp=lambda i: GELU(8, 16) if i else SwiGLU(8, 16))
    assert isinstance(model.blocks[0].mlp, SwiGLU)
    assert isinstance(model.blocks[1].mlp, GELU)


def test_it_starts_with_a_loss_near_that_of_a_guess():
    model = Decoder(
        64,
        32,
        2,
        mixer=lambda i: Attention(32, 4, attend=CAUSAL),
        mlp=lambda i: SwiGLU(32, 64),
    )
    text = torch.randint(0, 64, (8, 33), generator=torch.Generator().manual_seed(2))
    logits = model(text[:, :-1]).flatten(0, 1)
    loss = nn.functional.cross_entropy(logits, text[:, 1:].flatten())
    assert abs(loss.item() - torch.tensor(64.0).log().item()) < 0.1


def test_it_learns_a_text_by_heart():
    model, text = tiny().float(), ids(9)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.03)
    for _ in range(120):
        logits = model(text[:, :-1]).flatten(0, 1)
        loss = nn.functional.cross_entropy(logits, text[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_a_text_beyond_the_context_is_refused():
    model = tiny(max_seq_len=6)
    assert model(ids(6)).shape == (2, 6, 11)
    wanted = r"ids reach to position 6, needs at most 5 \(max_seq_len 6\)"
    with pytest.raises(ValueError, match=wanted):
        model(ids(7))
    with pytest.raises(ValueError, match=wanted):
        model(ids(1), pos=torch.tensor([6]), caches=[Growing(), Growing()])
    padded = torch.tensor([-1, -1, 0, 1, 2, 3, 4, 5])
    assert model(ids(8), pos=padded).shape == (2, 8, 11)
    model.max_seq_len = None
    assert model(ids(7)).shape == (2, 7, 11)


def test_a_text_of_no_ids_gives_no_scores():
    assert tiny()(ids(0)).shape == (2, 0, 11)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: tiny()(torch.tensor([[0, 11]])), "ids go from 0 to 11, needs 0 to 10"),
        (lambda: tiny()(torch.tensor([[-1, 2]])), "ids go from -1 to 2, needs 0 to 10"),
        (lambda: tiny()(ids(), caches=[Growing()]), "caches has 1, needs 2"),
        (lambda: tiny()(torch.tensor([0, 1])), r"ids has shape \(2,\), needs \(B, L\)"),
        (lambda: tiny(max_seq_len=0), "max_seq_len is 0, needs at least 1"),
        (
            lambda: Decoder(0, 8, 1, mixer=nn.Identity, mlp=nn.Identity),
            "vocab_size is 0, needs at least 1",
        ),
    ],
)
def test_what_does_not_fit_is_refused(run, message):
    with pytest.raises(ValueError, match=message):
        run()
