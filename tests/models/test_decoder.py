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


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: tiny()(torch.tensor([[0, 11]])), "ids go from 0 to 11, needs 0 to 10"),
        (lambda: tiny()(torch.tensor([[-1, 2]])), "ids go from -1 to 2, needs 0 to 10"),
        (lambda: tiny()(ids(), caches=[Growing()]), "caches has 1, needs 2"),
        (
            lambda: Decoder(0, 8, 1, mixer=nn.Identity, mlp=nn.Identity),
            "vocab_size is 0, needs at least 1",
        ),
    ],
)
def test_what_does_not_fit_is_refused(run, message):
    with pytest.raises(ValueError, match=message):
        run()
