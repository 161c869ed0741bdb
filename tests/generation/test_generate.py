from functools import partial

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from minitransformer.generation.generate import (
    generate,
    greedy,
    layers_of,
    left_pad,
    start,
    step,
    stream_text,
)
from minitransformer.generation.sample import repetition_penalty, sampler, temperature
from minitransformer.models.positioned import NUM_LAYERS, SCHEMES, decoder_with
from minitransformer.tokenization.bpe import BPE

from .toys import markov, small_decoder

write = partial(generate, num_layers=NUM_LAYERS)
TOKENIZER = BPE.train_from_iterator(
    ["naïve 日本語 👩‍👩‍👧 the cat sat on the mat"] * 3,
    vocab_size=270,
    special_tokens=["<end>"],
)


def prompt(length=5, rows=2):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 11, (rows, length), generator=generator)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_with_caches_every_scheme_writes_what_it_writes_without(scheme):
    model, text = small_decoder(scheme), prompt()
    for new in list(write(model, text, max_new_tokens=8)):
        with torch.no_grad():
            assert torch.equal(new, greedy(model(text)[:, -1]))
        text = torch.cat([text, new.unsqueeze(1)], dim=1)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_padded_batch_is_written_as_each_prompt_alone(scheme):
    model, prompts = small_decoder(scheme), [[3, 1, 4, 1, 5, 9, 2], [6], [5, 3, 5]]
    ids, pos = left_pad(prompts)
    together = torch.stack(list(write(model, ids, pos=pos, max_new_tokens=6)), dim=1)
    for row, each in zip(together, prompts, strict=True):
        alone = write(model, torch.tensor([each]), max_new_tokens=6)
        assert row.tolist() == [int(new) for new in alone]


def test_scores_of_a_padded_batch_are_those_of_each_prompt_alone():
    model, prompts = small_decoder(), [[3, 1, 4, 1, 5], [6, 2]]
    ids, pos = left_pad(prompts)
    assert ids.tolist() == [[3, 1, 4, 1, 5], [0, 0, 0, 6, 2]]
    assert pos.tolist() == [[0, 1, 2, 3, 4], [-1, -1, -1, 0, 1]]
    both = step(
        model,
        start(model, ids, num_layers=NUM_LAYERS, pos=pos),
        torch.tensor([7, 8]),
    )
    assert both.pos.tolist() == [[5], [2]]
    for b, text in enumerate([[*prompts[0], 7], [*prompts[1], 8]]):
        with torch.no_grad():
            wanted = model(torch.tensor([text]))[0, -1]
        # float64 sums of a few hundred terms of size 10 differ by far less than 1e-10
        assert torch.allclose(both.logits[b], wanted, rtol=0, atol=1e-10)


def test_what_chooses_sees_the_last_scores_only():
    seen = []

    def second_best(logits):
        seen.append(logits.shape)
        return logits.topk(2, dim=-1).indices[:, 1]

    model = small_decoder()
    (new,) = write(model, prompt(), max_new_tokens=1, choose=second_best)
    assert seen == [(2, 11)]
    with torch.no_grad():
        assert not torch.equal(new, greedy(model(prompt())[:, -1]))


def test_the_last_token_is_not_read():
    reads = []

    def model(ids, *, pos, caches):
        reads.append(ids.shape[1])
        return torch.zeros(*ids.shape, 3)

    assert len(list(generate(model, prompt(4), max_new_tokens=3, num_layers=0))) == 3
    assert reads == [4, 1, 1]


def test_a_seed_says_what_is_written():
    model = small_decoder()

    def written(seed):
        choose = sampler(
            partial(temperature, degree=0.7),
            generator=torch.Generator().manual_seed(seed),
        )
        return torch.stack(
            list(write(model, prompt(), max_new_tokens=9, choose=choose))
        )

    assert torch.equal(written(1), written(1))
    assert not torch.equal(written(1), written(2))


def test_a_sequence_ends_with_its_stop_id_and_the_batch_with_the_last():
    count = markov(torch.eye(6, dtype=torch.float64).roll(1, dims=1))  # i -> i + 1
    new = list(
        generate(
            count,
            torch.tensor([[0], [2], [3]]),
            max_new_tokens=9,
            num_layers=0,
            stop_ids=[4],
        )
    )
    assert torch.stack(new, dim=1).tolist() == [
        [1, 2, 3, 4],
        [3, 4, -1, -1],
        [4, -1, -1, -1],
    ]


def test_what_adjusts_sees_the_whole_text():
    stay = markov(0.9 * torch.eye(3, dtype=torch.float64) + 1 / 30)
    seen = []

    def adjust(logits, ids):
        seen.append(ids.tolist())
        return repetition_penalty(logits, ids, 50.0)

    ids, pos = left_pad([[0, 0], [1]])
    new = list(
        generate(stay, ids, pos=pos, max_new_tokens=2, num_layers=0, adjust=adjust)
    )
    assert seen == [[[0, 0], [-1, 1]], [[0, 0, 1], [-1, 1, 0]]]
    assert torch.stack(new, dim=1).tolist() == [[1, 2], [0, 2]]


def test_no_token_is_written_when_none_is_asked():
    assert list(write(small_decoder("none"), prompt(), max_new_tokens=0)) == []


def test_gradients_are_as_before_between_two_tokens():
    for _ in write(small_decoder(), prompt(), max_new_tokens=2):
        assert torch.is_grad_enabled()


def test_a_prompt_longer_than_a_table_is_refused():
    model = decoder_with("learned", vocab_size=11, train_len=20)
    with pytest.raises(ValueError, match="pos goes up to 24, the table to 19"):
        next(write(model, prompt(25), max_new_tokens=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": prompt(0)}, r"ids has shape \(2, 0\), needs \(B, L\)"),
        ({"ids": prompt()[:0]}, r"ids has shape \(0, 5\)"),
        ({"ids": prompt()[0]}, r"ids has shape \(5,\)"),
        ({"ids": prompt().double()}, "ids is torch.float64, needs whole numbers"),
        ({"ids": torch.tensor([[2, 11]])}, "ids go from 2 to 11, needs 0 to 10"),
        ({"ids": prompt() - 20}, "ids go from -"),
        ({"pos": torch.arange(4)}, r"pos has shape \(4,\), ids \(2, 5\)"),
        ({"pos": torch.arange(4, -1, -1) - 1}, "pos ends with an empty slot"),
    ],
)
def test_what_cannot_be_continued_is_refused(changes, message):
    arguments = {"ids": prompt(), "max_new_tokens": 3, **changes}
    with pytest.raises(ValueError, match=message):
        list(write(small_decoder("none"), **arguments))


def test_the_context_may_be_filled_to_the_last_position():
    model = small_decoder("learned")  # a table of 40
    model.max_seq_len = 40
    assert len(list(write(model, prompt(35), max_new_tokens=6))) == 6
    with pytest.raises(ValueError, match="ids has length 35 and needs 41 positions"):
        next(write(model, prompt(35), max_new_tokens=7))
    ids, pos = left_pad([[1] * 30, [2]])
    with pytest.raises(ValueError, match="needs 41 positions"):
        next(write(model, ids, pos=pos, max_new_tokens=12))


@pytest.mark.parametrize("prompts", [[], [[1], []]])
def test_prompts_are_needed_to_pad(prompts):
    with pytest.raises(ValueError, match="prompts needs at least one, and no empty"):
        left_pad(prompts)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, TOKENIZER.get_vocab_size() - 1), max_size=12))
def test_the_streamed_text_is_that_of_all_ids(ids):
    whole = TOKENIZER.decode(ids)
    if not any("\ud800" <= char <= "\udfff" for char in whole):
        assert "".join(stream_text(TOKENIZER, ids)) == whole


@settings(deadline=None, max_examples=50)
@given(st.text(st.sampled_from("aé日👩\u200d \n"), max_size=10))
def test_no_character_is_cut(text):
    ids = TOKENIZER.encode(text).ids
    pieces = list(stream_text(TOKENIZER, [torch.tensor([i]) for i in ids]))
    assert "".join(pieces) == text
    assert all(pieces) and "\ufffd" not in "".join(pieces)


def test_a_character_comes_as_soon_as_it_is_whole():
    ids = [TOKENIZER.token_to_id(c) for c in ("Ã", "©", "t")]  # é in two bytes
    seen = []

    def come():
        for i in ids:
            seen.append("id")
            yield i

    for piece in stream_text(TOKENIZER, come()):
        seen.append(piece)
    assert seen == ["id", "id", "é", "id", "t"]


def test_a_special_token_is_no_part_of_the_text():
    first, end, last = (TOKENIZER.token_to_id(c) for c in ("Ã", "<end>", "©"))
    assert list(stream_text(TOKENIZER, [end, first, end, last, end])) == ["é"]
    assert list(stream_text(TOKENIZER, [first, end, first])) == ["\ufffd", "\ufffd"]
    assert list(stream_text(TOKENIZER, [])) == []


def test_a_model_with_blocks_says_how_many_caches_it_wants():
    model = small_decoder()
    assert layers_of(model, None) == len(model.blocks)
    assert layers_of(model, 7) == 7
    with pytest.raises(ValueError, match="no blocks to count"):
        layers_of(lambda ids, **_: ids, None)
