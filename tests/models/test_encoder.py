import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from minitransformer.layers.attention import Attention
from minitransformer.layers.mlp import GELU
from minitransformer.layers.partial import Partial
from minitransformer.models.encoder import Encoder, mean_pool
from minitransformer.positions import rotary
from minitransformer.positions.additive import LearnedPositions

TURN = Partial(rotary.rotate, freqs=rotary.frequencies(4))
IDS = torch.randint(0, 11, (2, 6), generator=torch.Generator().manual_seed(1))


def encoder(turn=TURN, **options):
    torch.manual_seed(0)
    model = Encoder(
        *(11, 8, 2),
        mixer=lambda i: Attention(8, 2, turn=turn),
        mlp=lambda i: GELU(8, 32),
        norm=nn.LayerNorm,
        **options,
    )
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.5)
    return model.double()


def test_every_token_sees_every_other():
    model, seen = encoder(), []
    model.embed.register_forward_hook(lambda module, inputs, out: seen.append(out))
    out = model(IDS)
    for t in range(6):
        (grad,) = torch.autograd.grad(out[:, t, 0].sum(), seen[0], retain_graph=True)
        assert (grad.abs().sum(dim=-1) > 1e-9).all()


@settings(max_examples=20, deadline=None)
@given(before=st.integers(0, 4), after=st.integers(0, 4), junk=st.integers(0, 10))
@pytest.mark.parametrize("learned", [False, True])
def test_padding_on_either_side_changes_nothing(learned, before, after, junk):
    code = LearnedPositions(6, 8) if learned else None
    model = encoder(turn=None if learned else TURN, code=code)
    pads = torch.full((2, before), junk), torch.full((2, after), junk)
    nowhere = torch.full((before,), -1), torch.full((after,), -1)
    ids = torch.cat([pads[0], IDS, pads[1]], dim=1)
    pos = torch.cat([nowhere[0], torch.arange(6), nowhere[1]])
    plain, padded = model(IDS), model(ids, pos=pos)
    inner = padded[:, before : before + 6]
    torch.testing.assert_close(inner, plain, rtol=0, atol=1e-12)
    pooled = mean_pool(padded, pos)
    torch.testing.assert_close(pooled, mean_pool(plain), rtol=0, atol=1e-12)


def test_texts_of_different_lengths_share_a_batch():
    model = encoder()
    pos = torch.tensor([[0, 1, 2, 3, 4, 5], [0, 1, 2, -1, -1, -1]])
    together = mean_pool(model(IDS, pos=pos), pos)
    alone = mean_pool(model(IDS[1:, :3]))
    torch.testing.assert_close(together[1:], alone, rtol=0, atol=1e-12)


def test_without_positions_it_is_a_bag():
    model = encoder(turn=None)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(
        mean_pool(model(IDS[:, order])), mean_pool(model(IDS)), rtol=0, atol=1e-12
    )
    turned = encoder()
    moved = mean_pool(turned(IDS[:, order])) - mean_pool(turned(IDS))
    assert moved.abs().max() > 1e-3


def test_a_mean_by_hand():
    x = torch.tensor([[[1.0, 2], [3, 6], [torch.nan, torch.inf]]])
    got = mean_pool(x, torch.tensor([[0, 1, -1]]))
    assert got.tolist() == [[2.0, 4.0]]
    assert mean_pool(x, torch.tensor([-1, -1, -1])).tolist() == [[0.0, 0.0]]


def test_positions_that_do_not_fit_are_refused():
    wanted = r"pos has shape \(2,\), x \(1, 3, 2\)"
    with pytest.raises(ValueError, match=wanted):
        mean_pool(torch.zeros(1, 3, 2), torch.arange(2))


def test_it_learns_which_half_of_the_ids_is_more_frequent():
    torch.manual_seed(0)
    model = Encoder(
        *(10, 16, 1),
        mixer=lambda i: Attention(16, 2),
        mlp=lambda i: GELU(16, 32),
    )
    probe = nn.Linear(16, 1)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW([*model.parameters(), *probe.parameters()], lr=0.01)
    for _ in range(60):
        ids = torch.randint(0, 10, (32, 7), generator=generator)
        more = ((ids >= 5).sum(dim=1) > 3).float()
        logits = probe(mean_pool(model(ids))).squeeze(1)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, more)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert ((logits > 0) == more.bool()).float().mean() > 0.9
