import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from minitransformer import data
from minitransformer.tokenization import merges
from minitransformer.tokenization.bpe import BPE

from .strategies import any_text, assigned_text, cover, decode_alike

UNSEEN = [
    "Ночь, улица, фонарь, аптека.",
    "👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301 ﷽",
    "for (int i = 0; i < n; ++i)\t{ x[i] *= 2; }  // twice\r\n\n\n",
    "don't DON'T I'll we've 3.14159 1,000,000 ½ ²",
    "   leading,   inner   and trailing   ",
]


@pytest.fixture(scope="module")
def texts():
    return [article.text for article in data.wikipedia_articles()[:12]]


@pytest.fixture(scope="module")
def tokenizer(texts):
    return BPE.train_from_iterator(texts, vocab_size=2000, special_tokens=["<s>"])


def as_peer(tokenizer):
    return Tokenizer.from_str(json.dumps(tokenizer.to_dict()))


@pytest.fixture(scope="module")
def peer(tokenizer):
    return as_peer(tokenizer)


def encode_by_definition(tokenizer, chunk):
    """Apply all merges, one after the other, in the order learned."""
    ids = [tokenizer._byte_ids[b] for b in chunk.encode("utf-8", "surrogatepass")]
    for left, right in tokenizer.merges:
        pair = (tokenizer.token_to_id(left), tokenizer.token_to_id(right))
        ids = merges.merge(ids, pair, tokenizer.token_to_id(left + right))
    return ids


def test_training_finds_the_merges_of_the_tokenizers_package(texts):
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(texts, trainer)
    ours = BPE.train_from_iterator(
        texts, vocab_size=4096, special_tokens=["<s>", "</s>"]
    )
    theirs = json.loads(trained.to_str())["model"]
    assert ours.merges == [tuple(pair) for pair in theirs["merges"]]
    assert ours.get_vocab() == theirs["vocab"]


def test_a_toy_worked_by_hand():
    tokenizer = BPE.train_from_iterator(["low lower low"], vocab_size=258)
    assert tokenizer.merges == [("l", "o"), ("lo", "w")]
    assert tokenizer.encode("slow").tokens == ["s", "low"]


@given(any_text)
def test_decoding_gives_any_string_back(text):
    tokenizer = BPE.train_from_iterator(["a aa ab 'll é"], vocab_size=262)
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


@given(st.text("ab", max_size=300))
@settings(max_examples=50)
def test_short_and_long_chunks_are_encoded_by_the_definition(text):
    tokenizer = BPE.train_from_iterator(
        ["abaabbaaaabab aabb abab"], vocab_size=266, pretokenizer="none"
    )
    expected = encode_by_definition(tokenizer, text)
    assert tokenizer.encode_chunk(text) == expected
    ids = [tokenizer._byte_ids[b] for b in text.encode()]
    assert tokenizer._merge_long(ids) == expected


def test_real_words_are_encoded_by_the_definition(tokenizer, texts):
    for word in set(texts[0].split()[:300]):
        assert tokenizer.encode_chunk(word) == encode_by_definition(tokenizer, word)


@given(assigned_text)
def test_ids_tokens_and_offsets_are_those_of_the_tokenizers_package(
    tokenizer, peer, text
):
    ours, theirs = tokenizer.encode(text), peer.encode(text)
    assert ours.ids == theirs.ids
    assert ours.tokens == theirs.tokens
    assert ours.offsets == theirs.offsets


@pytest.mark.parametrize("style", ["gpt2", "gpt4", "whitespace", "none"])
def test_a_saved_file_gives_the_same_ids_in_the_tokenizers_package(
    texts, tmp_path, style
):
    path = tmp_path / "tokenizer.json"
    ours = BPE.train_from_iterator(
        [text[:3000] for text in texts],
        vocab_size=600,
        special_tokens=["<s>"],
        pretokenizer=style,
    )
    ours.save(path)
    theirs, again = Tokenizer.from_file(str(path)), BPE.from_file(path)
    for text in [*UNSEEN, "<s>one<s> two"]:
        assert (
            ours.encode(text).ids == theirs.encode(text).ids == again.encode(text).ids
        )
        assert ours.encode(text).offsets == theirs.encode(text).offsets
        assert theirs.decode(ours.encode(text).ids) == ours.decode(
            theirs.encode(text).ids
        )
    assert again.to_dict() == ours.to_dict()


def test_a_file_of_the_tokenizers_package_is_read(texts, tmp_path):
    theirs = Tokenizer(models.BPE())
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.post_processor = None
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["[PAD]"],
        show_progress=False,
    )
    theirs.train_from_iterator(texts, trainer)
    theirs.save(str(tmp_path / "theirs.json"))
    ours = BPE.from_file(tmp_path / "theirs.json")
    for text in UNSEEN:
        assert ours.encode(text).ids == theirs.encode(text).ids


def test_gpt2_files_are_read(tokenizer, tmp_path):
    vocab, lines = tmp_path / "vocab.json", tmp_path / "merges.txt"
    vocab.write_text(json.dumps(tokenizer.get_vocab()), encoding="utf-8")
    rows = ["#version: 0.2", *(" ".join(pair) for pair in tokenizer.merges), ""]
    lines.write_text("\n".join(rows), encoding="utf-8")
    read = BPE.from_gpt2_files(vocab, lines, special_tokens=["<s>"])
    theirs = Tokenizer(models.BPE.from_file(str(vocab), str(lines)))
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    for text in UNSEEN:
        assert read.encode(text).ids == tokenizer.encode(text).ids
        assert read.encode(text).ids == theirs.encode(text).ids
    assert read.special_tokens == ["<s>"]


def test_a_byte_order_mark_or_junk_in_gpt2_files_is_named(tmp_path):
    vocab, lines = tmp_path / "vocab.json", tmp_path / "merges.txt"
    lines.write_text("a b\n")
    vocab.write_text("{")
    with pytest.raises(ValueError, match=r"vocab\.json is no JSON"):
        BPE.from_gpt2_files(vocab, lines)
    vocab.write_text("[]")
    with pytest.raises(ValueError, match=r"vocab\.json holds no JSON object"):
        BPE.from_gpt2_files(vocab, lines)


def test_offsets_of_a_character_cut_into_bytes_span_all_of_it():
    tokenizer = BPE.train_from_iterator([""], vocab_size=256)
    encoding = tokenizer.encode("a€b")
    assert encoding.offsets == [(0, 1), (1, 2), (1, 2), (1, 2), (2, 3)]
    assert encoding.tokens == ["a", "â", "Ĥ", "¬", "b"]


@given(any_text)
def test_offsets_cover_the_text_from_left_to_right(tokenizer, text):
    offsets = tokenizer.encode(text).offsets
    assert all(start < end for start, end in offsets)
    assert cover(offsets, text)


def test_ids_that_cut_a_character_decode_with_a_replacement_sign(tokenizer):
    ids = tokenizer.encode("中").ids
    assert tokenizer.decode(ids[:-1]) == "\ufffd"


def test_a_lone_surrogate_survives():
    tokenizer = BPE.train_from_iterator(["\ud800 \ud800"], vocab_size=258)
    assert tokenizer.decode(tokenizer.encode("x\ud83d\ude00").ids) == "x\ud83d\ude00"


def test_a_megabyte_of_one_letter_is_encoded():
    text = "a" * (1 << 20)
    tokenizer = BPE.train_from_iterator(["a" * 64], vocab_size=260)
    ids = tokenizer.encode(text).ids
    assert tokenizer.decode(ids) == text
    assert len(ids) == len(text) / 16


def test_token_bytes_are_what_a_token_stands_for(tokenizer):
    i = tokenizer.token_to_id("Ġthe")
    assert tokenizer.token_bytes(i) == b" the"
    with pytest.raises(ValueError, match="id 2000 is not in the vocabulary"):
        tokenizer.token_bytes(2000)


def test_a_prefix_of_the_merges_is_the_smaller_tokenizer(texts):
    large = BPE.train_from_iterator(texts[:3], vocab_size=400)
    small = BPE.train_from_iterator(texts[:3], vocab_size=300)
    assert large.merges[:44] == small.merges


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"vocab_size": 255}, ValueError, "vocab_size is 255, needs at least 256"),
        (
            {"vocab_size": 256, "special_tokens": ["<s>"]},
            ValueError,
            r"vocab_size is 256, needs at least 257 \(256 bytes and 1 special tokens\)",
        ),
        ({"special_tokens": [""]}, ValueError, "empty token"),
        ({"special_tokens": ["a", "a"]}, ValueError, "a token twice"),
        ({"special_tokens": ["t"]}, ValueError, "'t', a learned token"),
        ({"pretokenizer": "gpt9"}, ValueError, "pretokenizer is 'gpt9'"),
    ],
)
def test_bad_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        BPE.train_from_iterator(["text"], **options)


def test_training_on_something_other_than_texts_is_refused():
    with pytest.raises(TypeError, match="iterator is one str"):
        BPE.train_from_iterator("text")
    with pytest.raises(TypeError, match="a text is bytes, needs str"):
        BPE.train_from_iterator([b"text"])


def changed(state, path, value):
    state = copy.deepcopy(state)
    *parents, last = path
    part = state
    for key in parents:
        part = part[key]
    part[last] = value
    return state


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["model"], None, "model is not of type BPE"),
        (["model", "type"], "Unigram", "model is not of type BPE"),
        (["model", "dropout"], 0.1, "model.dropout is 0.1: not supported"),
        (["model", "vocab"], [], "model needs a vocab"),
        (["model", "merges"], {}, "model needs a vocab .* and merges"),
        (["model", "vocab", "Ġthe"], "7", "whole numbers as ids"),
        (["model", "vocab", "Ġthe"], 5, "ids 0, 1, 2"),
        (["model", "merges", 0], ["a"], "needs two tokens"),
        (["model", "merges", 0], ["zzzz", "q"], "merges name 'zzzz'"),
        (["model", "merges", 0], 3, "needs two tokens"),
        (["normalizer"], {"type": "Lowercase"}, "normalizer is .*: not supported"),
        (["pre_tokenizer"], {"type": "Whitespace"}, "pre_tokenizer .*: not supported"),
        (["post_processor"], {"type": "Bert"}, "post_processor .*: not supported"),
        (["post_processor"], ["ByteLevel"], "post_processor .*: not supported"),
        (["decoder"], {"type": "WordPiece"}, "decoder .*: not supported"),
        (["truncation"], {"max_length": 4}, "truncation is .*: not supported"),
        (["padding"], {"pad_id": 0}, "padding is .*: not supported"),
        (["model", "unk_token"], "<s>", "model.unk_token is '<s>': not supported"),
        (["model", "continuing_subword_prefix"], "##", "subword_prefix is '##'"),
        (["model", "end_of_word_suffix"], "</w>", "end_of_word_suffix is '</w>'"),
        (["model", "byte_fallback"], True, "model.byte_fallback is True"),
        (["model", "ignore_merges"], True, "model.ignore_merges is True"),
        (["model", "merges", 0], [1, 2], "needs two tokens"),
        (["added_tokens", 0, "id"], "0", "needs text and a number"),
        (["added_tokens", 0, "content"], 3, "needs text and a number"),
        (["added_tokens", 0, "special"], False, "which is not special"),
        (["added_tokens", 0, "single_word"], True, "added_tokens.single_word is True"),
        (["added_tokens", 0, "rstrip"], True, "added_tokens.rstrip is True"),
        (["added_tokens"], 3, "added_tokens is no list"),
        (["added_tokens", 0], {}, "needs an id and a content"),
        (["added_tokens", 0, "lstrip"], True, "added_tokens.lstrip is True"),
    ],
)
def test_a_file_that_asks_for_something_else_is_refused_by_name(
    tokenizer, path, value, message
):
    with pytest.raises(ValueError, match=message):
        BPE.from_dict(changed(tokenizer.to_dict(), path, value))


def test_a_merge_listed_twice_is_refused(tokenizer):
    state = tokenizer.to_dict()
    state["model"]["merges"].append(state["model"]["merges"][0])
    with pytest.raises(ValueError, match="twice"):
        BPE.from_dict(state)


def test_a_vocabulary_without_all_bytes_or_in_another_alphabet_is_refused(tokenizer):
    vocab = tokenizer.get_vocab()
    renamed = {"é中" if t == "Ġthe" else t: i for t, i in vocab.items()}
    with pytest.raises(ValueError, match="'é中' is not in the byte alphabet"):
        BPE(renamed, [])
    renamed = {"zz" if token == "z" else token: i for token, i in vocab.items()}
    with pytest.raises(ValueError, match=r"vocab lacks the byte 122 \(written 'z'\)"):
        BPE(renamed, [])


def test_a_special_token_outside_the_vocabulary_is_refused(tokenizer):
    with pytest.raises(ValueError, match="special token '<x>' is not in"):
        BPE(tokenizer.get_vocab(), [], special_tokens=["<x>"])


def test_an_added_token_listed_twice_is_refused(tokenizer):
    state = copy.deepcopy(tokenizer.to_dict())
    state["added_tokens"] *= 2
    with pytest.raises(ValueError, match="'<s>' twice"):
        BPE.from_dict(state)


def test_a_special_token_outside_the_model_of_a_file_is_read(tokenizer):
    state = copy.deepcopy(tokenizer.to_dict())
    last = {**state["added_tokens"][0], "content": "<end>", "id": 2000}
    state["added_tokens"].append(last)
    assert BPE.from_dict(state).encode("a<end>").ids[-1] == 2000


def test_rare_pairs_are_left_alone_when_training_on_texts():
    tokenizer = BPE.train_from_iterator(["ab ab xy"], vocab_size=999, min_frequency=2)
    assert tokenizer.merges == [("a", "b")]


@given(st.lists(st.integers(0, 1999), max_size=12), st.booleans())
def test_any_ids_decode_as_in_the_tokenizers_package(tokenizer, peer, ids, skip):
    assert decode_alike(tokenizer, peer, ids, skip)


def test_a_merge_whose_result_is_not_in_the_vocabulary_is_refused(tokenizer):
    with pytest.raises(ValueError, match="merges name 'qz'"):
        BPE(tokenizer.get_vocab(), [("q", "z")])


def test_a_merge_of_hash_signs_is_no_version_line(tmp_path):
    trained = BPE.train_from_iterator(["## ## ##"], vocab_size=257)
    vocab, lines = tmp_path / "vocab.json", tmp_path / "merges.txt"
    vocab.write_text(json.dumps(trained.get_vocab()), encoding="utf-8")
    lines.write_text("# #\n\n", encoding="utf-8")
    read = BPE.from_gpt2_files(vocab, lines)
    assert read.merges == [("#", "#")]
