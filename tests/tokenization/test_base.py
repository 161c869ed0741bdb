import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.tokenization.base import check_special_tokens
from minitransformer.tokenization.bpe import BPE

from .strategies import any_text

SPECIAL = ["<s>", "<pad two>", "<s>a"]
CORPUS = ["to be or not to be, that is the question: don't ask me 1234 times  twice"]


@pytest.fixture(scope="module")
def tokenizer():
    return BPE.train_from_iterator(CORPUS, vocab_size=300, special_tokens=SPECIAL)


def test_special_tokens_take_the_first_ids_and_are_found_in_text(tokenizer):
    assert [tokenizer.token_to_id(token) for token in SPECIAL] == [0, 1, 2]
    assert tokenizer.encode("<s>to<pad two>").ids[::2] == [0, 1]


def test_the_longest_special_token_wins(tokenizer):
    assert tokenizer.encode("<s>a").ids == [2]


def test_special_tokens_are_left_out_of_decoded_text_unless_wanted(tokenizer):
    ids = tokenizer.encode("<s>to be").ids
    assert tokenizer.decode(ids) == "to be"
    assert tokenizer.decode(ids, skip_special_tokens=False) == "<s>to be"


def test_an_encoding_knows_its_length_tokens_and_offsets(tokenizer):
    encoding = tokenizer.encode("<s> be")
    assert len(encoding) == 2
    assert encoding.tokens == ["<s>", "Ġbe"]
    assert encoding.offsets == [(0, 3), (3, 6)]
    assert repr(encoding) == "Encoding(num_tokens=2)"


def test_an_empty_text_has_no_tokens(tokenizer):
    encoding = tokenizer.encode("")
    assert (encoding.ids, encoding.tokens, encoding.offsets) == ([], [], [])
    assert tokenizer.decode([]) == ""


def test_a_batch_is_each_text_by_itself(tokenizer):
    texts = ["to be", "", "not"]
    batch = tokenizer.encode_batch(texts)
    assert [e.ids for e in batch] == [tokenizer.encode(text).ids for text in texts]
    assert tokenizer.decode_batch(e.ids for e in batch) == texts


def test_the_vocabulary_is_a_copy(tokenizer):
    tokenizer.get_vocab().clear()
    assert len(tokenizer.get_vocab()) == tokenizer.get_vocab_size() == 300
    assert tokenizer.id_to_token(tokenizer.token_to_id("Ġbe")) == "Ġbe"
    assert tokenizer.token_to_id("nowhere") is None


@given(st.lists(any_text, max_size=6))
def test_a_stream_gives_the_ids_of_the_joined_text(pieces):
    for style in ("gpt2", "gpt4", "whitespace", "none"):
        tokenizer = BPE.train_from_iterator(
            CORPUS, vocab_size=280, special_tokens=SPECIAL, pretokenizer=style
        )
        whole = tokenizer.encode("".join(pieces)).ids
        assert list(tokenizer.encode_iterable(pieces)) == whole


def test_a_stream_may_cut_a_special_token_with_a_space_inside(tokenizer):
    pieces = ["to be <pad", " tw", "o> or"]
    assert 1 in list(tokenizer.encode_iterable(pieces))


def test_memory_does_not_grow_with_the_stream(tokenizer):
    line = "to be or not to be, that is the question\n"
    tokenizer.encode(line)
    tracemalloc.start()
    num_tokens = sum(1 for _ in tokenizer.encode_iterable(line for _ in range(4000)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert num_tokens > 4000
    assert peak < len(line) * 4000 / 4  # bytes: a quarter of the text alone


def test_the_cache_forgets_rather_than_grows(tokenizer, monkeypatch):
    monkeypatch.setattr("minitransformer.tokenization.base._CACHED_CHUNKS", 10)
    fresh = BPE.from_dict(tokenizer.to_dict())
    for number in range(100):
        assert fresh.decode(fresh.encode(f"x{number}").ids) == f"x{number}"
    assert len(fresh._cache) <= 10


def test_long_chunks_are_not_remembered(tokenizer):
    fresh = BPE.from_dict(tokenizer.to_dict())
    fresh.encode("q" * 1000)
    assert len(fresh._cache) == 0


@pytest.mark.parametrize("text", [None, 7, b"bytes", ["list"]])
def test_a_text_that_is_no_string_is_refused(tokenizer, text):
    with pytest.raises(TypeError, match="needs str"):
        tokenizer.encode(text)
    with pytest.raises(TypeError, match="a piece is"):
        list(tokenizer.encode_iterable([text]))


def test_one_string_is_no_batch(tokenizer):
    with pytest.raises(TypeError, match="texts is one str"):
        tokenizer.encode_batch("to be")


@pytest.mark.parametrize("bad", [-1, 300])
def test_an_id_out_of_range_is_refused(tokenizer, bad):
    with pytest.raises(ValueError, match=f"id {bad} is not in the vocabulary of 300"):
        tokenizer.decode([bad])
    with pytest.raises(ValueError, match=f"id {bad} is not in the vocabulary of 300"):
        tokenizer.id_to_token(bad)


@pytest.mark.parametrize(
    ("tokens", "error", "message"),
    [
        (["<s>", ""], ValueError, "special_tokens holds an empty token"),
        (["<s>", "<s>"], ValueError, "special_tokens holds a token twice"),
        (["\ud800"], ValueError, "a lone surrogate"),
        (["<s>", 7], TypeError, "a special token is int, needs str"),
        ("<s>", TypeError, "special_tokens is one str"),
    ],
)
def test_bad_special_tokens_are_refused(tokens, error, message):
    with pytest.raises(error, match=message):
        check_special_tokens(tokens)


def test_a_failed_save_leaves_the_old_file_whole(tokenizer, tmp_path, monkeypatch):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    before = path.read_bytes()

    def no_space(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.replace", no_space)
    with pytest.raises(OSError, match="No space left"):
        tokenizer.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\x00", '{"model": '])
def test_a_file_that_is_no_tokenizer_is_named(tmp_path, content):
    path = tmp_path / "broken.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"broken\.json is no tokenizer file"):
        BPE.from_file(path)


def test_words_around_a_kept_special_token_are_decoded_once(tokenizer):
    text = "to<s>be<pad two>or"
    ids = tokenizer.encode(text).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


@pytest.mark.parametrize("as_array", [list, np.array, torch.tensor])
def test_ids_may_come_in_an_array_or_a_tensor(tokenizer, as_array):
    ids = as_array(tokenizer.encode("<s>to be").ids)
    assert tokenizer.decode(ids) == "to be"


@pytest.mark.parametrize("ids", [[1.0], ["7"], "ab", None])
def test_ids_that_are_no_whole_numbers_are_refused(tokenizer, ids):
    with pytest.raises(TypeError):
        tokenizer.decode(ids)


def test_a_saved_file_is_readable_and_shows_other_alphabets(tmp_path):
    tokenizer = BPE.train_from_iterator(["a"], vocab_size=300, special_tokens=["中"])
    tokenizer.save(tmp_path / "tokenizer.json")
    assert "中" in (tmp_path / "tokenizer.json").read_text(encoding="utf-8")


def test_a_stream_full_of_places_where_a_special_token_may_begin():
    tokenizer = BPE.train_from_iterator(["a"], vocab_size=260, special_tokens=["a a"])
    pieces = ["a "] * 5001
    whole = tokenizer.encode("".join(pieces)).ids
    assert list(tokenizer.encode_iterable(pieces)) == whole


def test_a_stream_is_not_cut_at_the_space_inside_a_special_token():
    tokenizer = BPE.train_from_iterator(["a"], vocab_size=257, special_tokens=["a yy"])
    assert list(tokenizer.encode_iterable(["xa yyzzzzzzzz"]))[1] == 0


def test_a_stream_without_a_safe_cut_is_not_tried_again_for_every_piece(monkeypatch):
    tokenizer = BPE.train_from_iterator(["a"], vocab_size=256)
    tries = []
    monkeypatch.setattr(tokenizer, "_safe_cut", lambda text: tries.append(text) or 0)
    assert len(list(tokenizer.encode_iterable([" "] * 1000))) == 1000
    assert sum(map(len, tries)) < 4 * 1000


def test_a_deeply_nested_file_is_no_tokenizer(tmp_path):
    path = tmp_path / "deep.json"
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"deep\.json is no tokenizer file"):
        BPE.from_file(path)
