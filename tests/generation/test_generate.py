import pytest
import torch

from minitransformer.generation.generate import generate, greedy
from minitransformer.models.positioned import NUM_LAYERS, SCHEMES, decoder_with


def model_of(scheme):
    torch.manual_seed(0)
    return decoder_with(scheme, vocab_size=11, train_len=20).double()


def prompt(length=5):
    return torch.randint(0, 11, (2, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_with_caches_every_scheme_writes_what_it_writes_without(scheme):
    model, text = model_of(scheme), prompt()
    with torch.no_grad():
        for block in model.blocks:  # far from their small start, so that they differ
            for weight in block.parameters():
                weight.normal_(std=0.3)
        cached = list(generate(model, text, max_new_tokens=8, num_layers=NUM_LAYERS))
        for new in cached:
            wanted = greedy(model(text)[:, -1])
            assert torch.equal(new, wanted)
            text = torch.cat([text, new.unsqueeze(1)], dim=1)


def test_what_chooses_sees_the_last_scores_only():
    seen = []

    def second_best(logits):
        seen.append(logits.shape)
        return logits.topk(2, dim=-1).indices[:, 1]

    model = model_of("RoPE")
    (new,) = generate(
        model, prompt(), max_new_tokens=1, num_layers=NUM_LAYERS, choose=second_best
    )
    assert seen == [(2, 11)]
    assert not torch.equal(new, greedy(model(prompt())[:, -1]))


def test_no_token_is_written_when_none_is_asked():
    assert (
        list(generate(model_of("none"), prompt(), max_new_tokens=0, num_layers=2)) == []
    )


def test_a_prompt_longer_than_a_table_is_refused():
    with pytest.raises(ValueError, match="pos goes up to 24, the table to 19"):
        next(
            generate(
                model_of("learned"), prompt(25), max_new_tokens=1, num_layers=NUM_LAYERS
            )
        )


def test_an_empty_prompt_is_refused():
    with pytest.raises(ValueError, match=r"ids has shape \(2, 0\), needs \(B, L\)"):
        next(generate(model_of("none"), prompt(0), max_new_tokens=1, num_layers=2))
