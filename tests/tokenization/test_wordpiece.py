import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from minitransformer import data
from minitransformer.tokenization import wordpiece
from minitransformer.tokenization.wordpiece import ALPHABET, WordPiece

from .strategies import any_text, assigned_text, cover, decode_alike

UNSEEN = [
    "Ночь, улица, фонарь, аптека.",
    "👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301 ﷽",
    "for (int i = 0; i < n; ++i)\t{ x[i] *= 2; }  // twice\r\n\n\n",
    "# ## ### ##a a##b #",
]
corpora = st.dictionaries(
    st.text("ab#", min_size=1, max_size=8).map(str.encode),
    st.integers(1, 20),
    max_size=6,
)


@pytest.fixture(scope="module")
def texts():
    return [article.text for article in data.wikipedia_articles()[:12]]


@pytest.fixture(scope="module")
def tokenizer(texts):
    return WordPiece.train_from_iterator(
        texts, vocab_size=1200, min_frequency=50, special_tokens=["<s>"]
    )


@pytest.fixture(scope="module")
def peer(tokenizer):
    return Tokenizer.from_str(json.dumps(tokenizer.to_dict()))


def test_the_largest_ratio_goes_first_not_the_largest_count():
    # a ##b: 10 / (11 * 10); q ##u: 3 / (3 * 3)
    words = {b"ab": 10, b"a": 1, b"qu": 3}
    assert wordpiece.learn(words, 513)[512:] == [(True, b"qu")]


def test_inside_a_chunk_a_piece_is_another_one():
    tokenizer = WordPiece([*ALPHABET, (False, b"ab")])
    assert tokenizer.encode("ab").tokens == ["a", "##b"]
    assert tokenizer.encode("xab").tokens == ["x", "##ab"]


def test_rare_pairs_are_not_merged():
    words = {b"ab": 10, b"qu": 3}
    assert wordpiece.learn(words, 600, min_frequency=4)[512:] == [(True, b"ab")]


@pytest.mark.parametrize("words", [{}, {b"": 3}, {b"a": 9}])
def test_nothing_to_learn_from(words):
    assert wordpiece.learn(words, 600) == ALPHABET == wordpiece.naive_learn(words, 600)


@given(corpora, st.integers(512, 525), st.integers(1, 6))
def test_the_fast_trainer_learns_what_the_definition_says(words, size, least):
    fast = wordpiece.learn(words, size, least)
    assert fast == wordpiece.naive_learn(words, size, least)


def test_no_piece_can_be_taken_for_another():
    pieces = wordpiece.learn({b"##a": 9, b"x##a": 9}, 530)
    assert (True, b"##a") not in pieces
    assert not wordpiece.can_be_written((True, b"##"))
    assert wordpiece.can_be_written((False, b"##a"))
    assert wordpiece.can_be_written((True, b"#a"))


def test_the_longest_token_that_fits_is_taken():
    extra = [(True, b"ab"), (True, b"abc"), (False, b"cd"), (False, b"d")]
    tokenizer = WordPiece([*ALPHABET, *extra[:3]])
    assert tokenizer.encode("abcd").tokens == ["abc", "##d"]
    assert tokenizer.encode("abd").tokens == ["ab", "##d"]


@given(any_text)
def test_decoding_gives_any_string_back(tokenizer, text):
    ids = tokenizer.encode(text).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


@given(assigned_text)
def test_ids_and_offsets_are_those_of_the_tokenizers_package(tokenizer, peer, text):
    ours, theirs = tokenizer.encode(text), peer.encode(text)
    assert ours.ids == theirs.ids
    assert ours.tokens == theirs.tokens
    assert ours.offsets == theirs.offsets


@given(any_text)
def test_offsets_cover_the_text_from_left_to_right(tokenizer, text):
    assert cover(tokenizer.encode(text).offsets, text)


@given(st.lists(st.integers(0, 1199), max_size=12), st.booleans())
def test_any_ids_decode_as_in_the_tokenizers_package(tokenizer, peer, ids, skip):
    assert decode_alike(tokenizer, peer, ids, skip)


@pytest.mark.parametrize("style", ["gpt2", "gpt4", "whitespace", "none"])
def test_a_saved_file_gives_the_same_ids_in_the_tokenizers_package(
    texts, tmp_path, style
):
    ours = WordPiece.train_from_iterator(
        [text[:3000] for text in texts],
        vocab_size=700,
        special_tokens=["<s>"],
        pretokenizer=style,
    )
    ours.save(tmp_path / "wordpiece.json")
    theirs = Tokenizer.from_file(str(tmp_path / "wordpiece.json"))
    again = WordPiece.from_file(tmp_path / "wordpiece.json")
    for text in UNSEEN:
        ids = ours.encode(text).ids
        assert ids == theirs.encode(text).ids == again.encode(text).ids
        assert theirs.decode(ids) == ours.decode(ids) == text
    assert again.to_dict() == ours.to_dict()


def test_a_megabyte_of_one_letter_is_encoded(tokenizer):
    text = "a" * (1 << 20)
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        (ALPHABET[1:], "lack the byte b'!' at the beginning"),
        (ALPHABET[:-1], "inside of a chunk"),
        ([*ALPHABET, ALPHABET[0]], "pieces hold one twice"),
        ([*ALPHABET, (True, b"##a")], "could be taken for another"),
    ],
)
def test_pieces_that_cannot_be_are_refused(pieces, message):
    with pytest.raises(ValueError, match=message):
        WordPiece(pieces)


def test_the_vocabulary_must_hold_the_bytes_twice():
    with pytest.raises(ValueError, match="vocab_size is 512, needs at least 513"):
        WordPiece.train_from_iterator(["a"], vocab_size=512, special_tokens=["<s>"])


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("model", {"type": "BPE"}, "model is not of type WordPiece"),
        ("model", {"continuing_subword_prefix": "@@"}, "needs to be '##'"),
        ("model", {"vocab": []}, "needs the ids 0, 1, 2"),
        ("model", {"vocab": {"a": "0"}}, "needs the ids 0, 1, 2"),
        ("model", {"vocab": {"a": 0}}, "need to be the first of model.vocab"),
        ("model", {"vocab": {"<s>": 0, "é中": 1}}, "not in the byte alphabet"),
        ("decoder", {"type": "WordPiece"}, "decoder .*: not supported"),
    ],
)
def test_a_file_that_asks_for_something_else_is_refused(
    tokenizer, part, change, message
):
    state = copy.deepcopy(tokenizer.to_dict())
    state[part].update(change)
    with pytest.raises(ValueError, match=message):
        WordPiece.from_dict(state)
