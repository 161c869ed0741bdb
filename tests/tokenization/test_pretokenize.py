import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from minitransformer import data
from minitransformer.tokenization import pretokenize

from .strategies import any_text, assigned_text

STYLES = sorted(pretokenize.STYLES)


def peer(style):
    if style == "gpt2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    return pre_tokenizers.Split(Regex(pretokenize.STYLES[style]), "isolated")


@pytest.mark.parametrize(
    ("style", "chunks"),
    [
        ("gpt2", ["I", "'ll", " pay", " 1234", "€", ",", " ", " ok", ".", "\n"]),
        ("gpt4", ["I", "'ll", " pay", " ", "123", "4", "€,", " ", " ok", ".\n"]),
        ("whitespace", ["I'll", " pay", " 1234€,", " ", " ok.", "\n"]),
        ("none", ["I'll pay 1234€,  ok.\n"]),
    ],
)
def test_each_style_cuts_as_written_by_hand(style, chunks):
    text = "I'll pay 1234€,  ok.\n"
    if style == "gpt2":
        chunks[4:6] = ["€,"]
    assert pretokenize.split(text, style) == chunks


@given(any_text, st.sampled_from(STYLES))
def test_chunks_joined_are_the_text(text, style):
    assert "".join(pretokenize.split(text, style)) == text


@given(assigned_text, st.sampled_from(["gpt2", "gpt4", "whitespace"]))
def test_chunks_are_those_of_the_tokenizers_package(text, style):
    expected = [text[a:b] for _, (a, b) in peer(style).pre_tokenize_str(text)]
    assert pretokenize.split(text, style) == expected


@pytest.mark.parametrize("style", ["gpt2", "gpt4", "whitespace"])
def test_real_text_is_cut_as_by_the_tokenizers_package(style):
    text = "\n".join(article.text for article in data.wikipedia_articles()[:8])
    expected = [text[a:b] for _, (a, b) in peer(style).pre_tokenize_str(text)]
    assert pretokenize.split(text, style) == expected


@given(any_text, st.sampled_from(["gpt2", "gpt4", "whitespace"]))
def test_a_safe_cut_changes_no_chunk(text, style):
    cut = pretokenize.safe_cut(text)
    parts = pretokenize.split(text[:cut], style) + pretokenize.split(text[cut:], style)
    assert parts == pretokenize.split(text, style)


@pytest.mark.parametrize(
    ("text", "cut"), [("", 0), (" a", 0), ("a b c", 3), ("a b  ", 3), ("a\n b", 0)]
)
def test_the_safe_cut_is_before_the_last_space_after_a_sign(text, cut):
    assert pretokenize.safe_cut(text) == cut


def test_an_unknown_style_is_named():
    with pytest.raises(ValueError, match="pretokenizer is 'gpt5', needs one of"):
        pretokenize.split("text", "gpt5")


@pytest.mark.parametrize("style", ["gpt2", "gpt4", "whitespace"])
@pytest.mark.parametrize("around", ["a{}a", "'{} "])
def test_assigned_characters_are_classified_as_by_the_tokenizers_package(style, around):
    text = "\n".join(
        around.format(char)
        for char in map(chr, range(0x110000))
        if unicodedata.category(char) not in ("Cn", "Co", "Cs", "Lo")
        or (unicodedata.category(char) == "Lo" and ord(char) % 32 == 0)
    )
    expected = [text[a:b] for _, (a, b) in peer(style).pre_tokenize_str(text)]
    assert pretokenize.split(text, style) == expected


@pytest.mark.parametrize("style", ["gpt2", "gpt4"])
def test_contractions_of_both_cases(style):
    text = "we've WE'VE they're THEY'RE I'm I'M it's don't he'd she'll 'rest I'LLama"
    expected = [text[a:b] for _, (a, b) in peer(style).pre_tokenize_str(text)]
    assert pretokenize.split(text, style) == expected


def test_only_gpt4_knows_contractions_in_capitals():
    assert pretokenize.split("I'LLama", "gpt4") == ["I", "'LL", "ama"]
    assert pretokenize.split("I'LLama", "gpt2") == ["I", "'", "LLama"]


def test_a_space_at_the_very_start_is_no_cut():
    assert pretokenize.safe_cut(" a") == 0
    assert pretokenize.safe_cut("a b a") == 3
