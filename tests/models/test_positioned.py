import pytest
import torch

from minitransformer.models.positioned import SCHEMES, decoder_with

IDS = torch.randint(0, 9, (2, 12), generator=torch.Generator().manual_seed(0))
BLIND = {"none"}
ANCHORED = {"sinusoidal", "learned", "FoPE"}  # to see a shift of all positions


def model_of(scheme):
    """A model away from its small start, the same for all schemes where they agree."""
    torch.manual_seed(0)
    model = decoder_with(scheme, vocab_size=9, train_len=64).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.3)
    return model


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_scheme_sees_the_future(scheme):
    model, changed = model_of(scheme), IDS.clone()
    changed[:, 8:] = (changed[:, 8:] + 1) % 9
    torch.testing.assert_close(
        model(IDS)[:, :8], model(changed)[:, :8], rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_comes_before_is_a_bag_for_the_scheme_without_positions_only(scheme):
    # In the first layer only: with two, the causal mask alone tells an order.
    model = model_of(scheme)
    model.blocks = model.blocks[:1]
    order = IDS.clone()
    order[:, [1, 4]] = order[:, [4, 1]]
    same = torch.allclose(model(IDS)[:, -1], model(order)[:, -1], rtol=0, atol=1e-9)
    assert same == (scheme in BLIND)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_only_anchored_schemes_notice_that_all_positions_move(scheme):
    model, pos = model_of(scheme), torch.arange(12)
    here, there = model(IDS, pos=pos), model(IDS, pos=pos + 17)
    same = torch.allclose(here, there, rtol=0, atol=1e-8)
    assert same == (scheme not in ANCHORED)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_left_padding_changes_nothing(scheme):
    model = model_of(scheme)
    padded = torch.cat([torch.full((2, 3), 7), IDS], dim=1)
    pos = torch.cat([torch.full((3,), -1), torch.arange(12)])
    out = model(padded, pos=pos)[:, 3:]
    torch.testing.assert_close(out, model(IDS), rtol=0, atol=1e-9)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_weight_of_every_scheme_learns(scheme):
    model = decoder_with(scheme, vocab_size=9, train_len=64)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.3)
    model(IDS).square().mean().backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.any(), name


def test_schemes_differ_in_positions_only():
    sizes = {
        scheme: sum(
            weight.numel()
            for name, weight in decoder_with(
                scheme, vocab_size=9, train_len=64
            ).named_parameters()
            if "code" not in name and "attend" not in name
        )
        for scheme in SCHEMES
    }
    assert len(set(sizes.values())) == 1, sizes


def test_an_unknown_scheme_is_refused():
    with pytest.raises(ValueError, match="scheme is 'rope', needs one of none, sinus"):
        decoder_with("rope", vocab_size=9, train_len=64)
