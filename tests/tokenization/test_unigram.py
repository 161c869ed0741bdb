import copy
import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from minitransformer import data
from minitransformer.tokenization import lattice, unigram
from minitransformer.tokenization.bpe import BPE
from minitransformer.tokenization.unigram import Unigram

from .strategies import any_text, assigned_text, cover, decode_alike

UNSEEN = [
    "Ночь, улица, фонарь, аптека.",
    "👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301 ﷽",
    "for (int i = 0; i < n; ++i)\t{ x[i] *= 2; }  // twice\r\n\n\n",
    "<s>XIII viii aaaaaaaaaaa   ",
]
TOY = {b"a": math.log(0.3), b"b": math.log(0.1), b"c": math.log(0.1)} | {
    b"ab": math.log(0.25),
    b"bc": math.log(0.2),
    b"abc": math.log(0.05),
}


@pytest.fixture(scope="module")
def tokenizer():
    """A model with the tokens of byte-pair encoding and their frequencies."""
    texts = [article.text for article in data.wikipedia_articles()[:12]]
    bpe = BPE.train_from_iterator(texts, vocab_size=2000)
    counts = Counter(i for text in texts for i in bpe.encode(text).ids)
    total = sum(counts.values())
    return Unigram(
        {
            bpe.token_bytes(i): math.log(max(counts[i], 0.5) / total)
            for i in range(2000)
        },
        special_tokens=["<s>"],
    )


@pytest.fixture(scope="module")
def peer(tokenizer):
    return Tokenizer.from_str(json.dumps(tokenizer.to_dict()))


def log_prob(cut):
    return sum(TOY[token] for token in cut)


@given(any_text)
def test_decoding_gives_any_string_back(tokenizer, text):
    ids = tokenizer.encode(text).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


@given(assigned_text)
def test_ids_and_offsets_are_those_of_the_tokenizers_package(tokenizer, peer, text):
    ours, theirs = tokenizer.encode(text), peer.encode(text)
    assert ours.ids == theirs.ids
    assert ours.offsets == theirs.offsets


@given(any_text)
def test_offsets_cover_the_text_from_left_to_right(tokenizer, text):
    assert cover(tokenizer.encode(text).offsets, text)


@given(st.lists(st.integers(0, 2000), max_size=12), st.booleans())
def test_any_ids_decode_as_in_the_tokenizers_package(tokenizer, peer, ids, skip):
    assert decode_alike(tokenizer, peer, ids, skip)


def test_real_text_is_cut_as_by_the_tokenizers_package(tokenizer, peer):
    for article in data.wikipedia_articles()[12:20]:
        assert tokenizer.encode(article.text).ids == peer.encode(article.text).ids


@pytest.mark.parametrize("style", ["gpt2", "gpt4", "whitespace", "none"])
def test_a_saved_file_gives_the_same_ids_in_the_tokenizers_package(
    tokenizer, tmp_path, style
):
    ours = Unigram(tokenizer.log_probs, special_tokens=["<s>"], pretokenizer=style)
    ours.save(tmp_path / "unigram.json")
    theirs = Tokenizer.from_file(str(tmp_path / "unigram.json"))
    again = Unigram.from_file(tmp_path / "unigram.json")
    for text in UNSEEN:
        assert (
            ours.encode(text).ids == theirs.encode(text).ids == again.encode(text).ids
        )
        assert theirs.decode(ours.encode(text).ids) == ours.decode(
            ours.encode(text).ids
        )
    assert again.to_dict() == ours.to_dict()


def test_the_probability_of_a_text_is_that_of_its_tokens(tokenizer):
    text = "the tokens of a text"
    tokens = [tokenizer.token_bytes(i) for i in tokenizer.encode(text).ids]
    value = sum(tokenizer.log_probs[token] for token in tokens)
    assert tokenizer.log_prob(text) == pytest.approx(value, abs=1e-9)
    assert tokenizer.log_prob("") == 0.0


def small():
    """A tokenizer whose only likely tokens are those of the toy."""
    rare = {bytes([byte]): -30.0 for byte in range(256)}
    return Unigram(rare | TOY, pretokenizer="none")


@given(st.text("abc", max_size=6))
def test_the_best_cuts_come_in_order_and_none_is_missing(text):
    tokenizer = small()
    cuts = lattice.segmentations(text.encode(), TOY)
    found = tokenizer.nbest(text, len(cuts) + 1)
    values = [value for _, value in found]
    assert values == sorted(values, reverse=True)
    expected = sorted(map(log_prob, cuts), reverse=True)
    assert values == pytest.approx(expected, abs=1e-8)
    assert found[0][0] == tokenizer.encode(text).ids or len(cuts) > 1
    assert all(tokenizer.decode(ids) == text for ids, _ in found)


def test_the_number_of_cuts_must_be_one_or_more(tokenizer):
    with pytest.raises(ValueError, match="n is 0, needs to be at least 1"):
        tokenizer.nbest("text", 0)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_cuts_are_drawn_as_often_as_they_are_probable(temperature):
    tokenizer, rng = small(), np.random.default_rng(0)
    cuts = lattice.segmentations(b"abcab", TOY)
    weights = np.array([math.exp(log_prob(cut) / temperature) for cut in cuts])
    shares = weights / weights.sum()
    drawn = Counter()
    for _ in range(4000):
        ids = tokenizer.sample("abcab", rng, temperature)
        drawn[tuple(tokenizer.token_bytes(i) for i in ids)] += 1
    assert sum(drawn.values()) == sum(drawn[tuple(cut)] for cut in cuts)
    for cut, share in zip(cuts, shares, strict=True):
        deviation = math.sqrt(4000 * share * (1 - share))
        assert abs(drawn[tuple(cut)] - 4000 * share) <= 5 * deviation


def test_close_to_zero_temperature_only_the_best_cut_is_drawn(tokenizer):
    rng = np.random.default_rng(0)
    text = "the best cut of all"
    assert tokenizer.sample(text, rng, 1e-6) == tokenizer.encode(text).ids
    with pytest.raises(ValueError, match="temperature is 0, needs to be above 0"):
        tokenizer.sample(text, rng, 0)


def test_a_megabyte_of_one_letter_is_encoded(tokenizer):
    text = "a" * (1 << 20)
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


@pytest.mark.parametrize("value", [0.1, math.nan, -math.inf])
def test_what_is_no_log_probability_is_refused(value):
    with pytest.raises(ValueError, match="log probability of b'a' is"):
        Unigram({b"a": value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "BPE"}, "model is not of type Unigram"),
        ({"unk_id": 3}, "model.unk_id is 3: not supported"),
        ({"byte_fallback": True}, "model.byte_fallback is True"),
        ({"vocab": {}}, "needs pairs of a token and a number"),
        ({"vocab": [["a"]]}, "needs pairs of a token and a number"),
        ({"vocab": [["a", "b"]]}, "needs pairs of a token and a number"),
        ({"vocab": [["a", -1.0]]}, "need to be the first of model.vocab"),
        ({"vocab": [["<s>", 0.0], ["a", -1.0], ["a", -1.0]]}, "a token twice"),
        ({"vocab": [["<s>", 0.0], ["é中", -1.0]]}, "not in the byte alphabet"),
        ({"vocab": [["<s>", 0.0], ["a", -1.0]]}, "vocab lacks the byte"),
    ],
)
def test_a_file_that_asks_for_something_else_is_refused(tokenizer, change, message):
    state = copy.deepcopy(tokenizer.to_dict())
    state["model"].update(change)
    with pytest.raises(ValueError, match=message):
        Unigram.from_dict(state)


def test_learning_keeps_all_bytes_and_the_size():
    words = {b"abab": 9, b"ab": 5, b"cd": 4, b"x" * 99: 7}
    learned = unigram.learn(words, 258)
    assert len(learned) <= 258
    assert list(learned)[:256] == [bytes([b]) for b in unigram.BYTES_IN_ORDER]
    assert b"ab" in learned or b"abab" in learned
    assert math.fsum(map(math.exp, learned.values())) == pytest.approx(1)


def test_what_a_token_is_worth_worked_by_hand():
    log_probs = {b"a": math.log(0.5), b"b": math.log(0.25), b"ab": math.log(0.25)}
    worth = unigram.losses({b"a": 2, b"b": 1, b"ab": 4}, log_probs)
    assert worth == pytest.approx({b"ab": 4 * (math.log(0.25) - math.log(0.125))})


def test_the_first_tokens_are_those_that_save_most():
    begun = unigram.first_tokens({b"abcd": 3, b"xy": 5, b"z": 1}, 258)
    assert set(begun) - {bytes([b]) for b in range(256)} == {b"abcd", b"xy"}


def test_learning_from_nothing_gives_the_bytes():
    assert len(unigram.learn({}, 300)) == 256


@pytest.mark.parametrize("keep", [0.0, 1.0])
def test_a_share_that_prunes_all_or_nothing_is_refused(keep):
    with pytest.raises(ValueError, match=f"keep is {keep}, needs to be between"):
        unigram.learn({b"ab": 2}, 257, keep=keep)


def test_training_is_as_good_as_that_of_the_tokenizers_package():
    from tokenizers import models, pre_tokenizers, trainers

    texts = [article.text for article in data.wikipedia_articles()[:12]]
    ours = Unigram.train_from_iterator(texts, vocab_size=2000)
    theirs = Tokenizer(models.Unigram())
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.UnigramTrainer(
        vocab_size=2000,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    theirs.train_from_iterator(texts, trainer)

    def bits(tokenizer):
        counts = Counter(i for text in texts for i in tokenizer.encode(text).ids)
        total = sum(counts.values())
        return -sum(n * math.log2(n / total) for n in counts.values())

    assert ours.get_vocab_size() == 2000
    assert bits(ours) <= bits(theirs)
