"""Weights are read of any attention without a change to the model; habits by hand."""

import pytest
import torch
from torch import nn

from minitransformer.attention.core import naive_weights
from minitransformer.lens import heads
from minitransformer.models import presets
from minitransformer.models.positioned import SCHEMES, decoder_with


def ids_of(length, vocab_size=11, batch=2):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(vocab_size, (batch, length), generator=generator)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_values_so_weighted_are_what_the_layer_gives(scheme):
    torch.manual_seed(0)
    model = decoder_with(scheme, vocab_size=11, train_len=9).double()
    ids, given = ids_of(9), []
    for block in model.blocks:
        keep = lambda mixer, inputs, out: given.append((mixer, inputs[0], out))  # noqa: E731
        block.mixer.register_forward_hook(keep)
    weights = heads.attention_weights(model, ids)
    assert weights.shape == (2, 2, 4, 9, 9)
    assert len(given) == 2
    for seen, (mixer, x, out) in zip(weights, given, strict=True):
        mixed = seen @ mixer.split(mixer.v_proj(x))
        mixed = mixer.o_proj(mixed.transpose(1, 2).flatten(2))
        torch.testing.assert_close(mixed, out, rtol=0, atol=1e-12)


def test_grouped_heads_of_pytorchs_kernel_agree_with_the_definition():
    torch.manual_seed(0)
    sizes = {"dim": 32, "num_layers": 1, "num_heads": 4, "num_kv_heads": 2}
    model = presets.llama(vocab_size=11, hidden=48, **sizes).double()
    ids = ids_of(7)
    mixer = model.blocks[0].mixer
    with torch.no_grad():
        x = model.blocks[0].mixer_norm(model.embed(ids))
        at = torch.arange(7)
        query = mixer.turn(mixer.split(mixer.q_proj(x)), at)
        key = mixer.turn(mixer.split(mixer.k_proj(x)), at)
    mask = lambda b, h, q_idx, kv_idx: kv_idx <= q_idx  # noqa: E731
    wanted = naive_weights(query.numpy(), key.numpy(), mask_mod=mask)
    weights = heads.attention_weights(model, ids)[0]
    torch.testing.assert_close(weights, torch.as_tensor(wanted), rtol=0, atol=1e-12)


def test_the_model_is_left_as_it_was():
    model = decoder_with("RoPE", vocab_size=11, train_len=9)
    ids = ids_of(5)
    before = model(ids)
    heads.attention_weights(model, ids)
    assert torch.equal(model(ids), before)
    with pytest.raises(ValueError, match="ids go from"):
        heads.attention_weights(model, ids + 99)
    assert not any(block.mixer._forward_pre_hooks for block in model.blocks)


def test_a_model_without_such_layers_is_refused():
    with pytest.raises(ValueError, match="needs blocks, each with an Attention"):
        heads.attention_weights(nn.Linear(2, 2), ids_of(2))


def test_habits_of_pure_heads_are_one_and_of_others_zero():
    length = 6
    previous = torch.zeros(length, length)
    previous[torch.arange(1, length), torch.arange(length - 1)] = 1
    previous[0, 0] = 1
    first = torch.zeros(length, length)
    first[:, 0] = 1
    pure = torch.stack([previous, first, torch.eye(length)])
    assert heads.to_itself(pure).tolist() == [0, 0, 1]
    assert heads.to_previous(pure[[0, 2]]).tolist() == [1, 0]
    assert heads.to_first(pure[[1, 2]]).tolist() == [1, 0]
    assert heads.to_first(pure[:1]).tolist() == pytest.approx([1 / 5])


def test_induction_looks_at_what_followed():
    ids = torch.tensor([5, 7, 3, 5, 7])  # 5 was followed by 7, 7 by 3
    pure = torch.eye(5)
    pure[3] = torch.tensor([0, 1, 0, 0, 0])
    pure[4] = torch.tensor([0.25, 0, 0.5, 0, 0.25])
    assert heads.to_what_followed(pure, ids) == pytest.approx(0.75)
    assert heads.to_what_followed(torch.eye(5), ids) == 0


def test_a_token_that_follows_itself_is_looked_at():
    assert heads.to_what_followed(torch.eye(2), torch.tensor([4, 4])) == 1


def test_a_text_without_repetition_has_no_induction():
    with pytest.raises(ValueError, match="no token twice"):
        heads.to_what_followed(torch.eye(3), torch.arange(3))
