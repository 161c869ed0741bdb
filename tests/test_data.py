import random
import re
from importlib.util import find_spec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitransformer import data


def test_lee_corpus_has_300_items_of_60_thousand_words():
    corpus = data.lee_corpus()
    assert len(corpus) == 300
    assert sum(len(item.split()) for item in corpus) == 59_890
    assert corpus[0].startswith("Hundreds of people have been forced to vacate")


def test_wikipedia_articles_are_three_megabytes_of_distinct_articles():
    articles = data.wikipedia_articles()
    assert len(articles) == 106
    assert len({title for title, _ in articles}) == 106
    assert 3.0e6 < sum(len(text.encode()) for _, text in articles) < 3.1e6
    assert articles[0].title == "Anarchism"


def test_wikipedia_articles_are_clean_paragraphs():
    for title, text in data.wikipedia_articles():
        assert text and text == text.strip(), title
        assert "'''" not in text and "\n\n" not in text and "{{" not in text, title
        assert not any(line.startswith(("=", "*")) for line in text.splitlines()), title


def test_plain_drops_marks_and_keeps_words_and_paragraphs():
    wikitext = (
        "== History ==\n\n'''A''' is  the ''first'' letter.\n* one\n\n\n** two =\n"
    )
    assert data._plain(wikitext) == "History\nA is the first letter.\none\ntwo"


def test_analogies_are_quadruples_in_14_sections():
    sections = data.analogies()
    assert len(sections) == 14
    assert sum(len(questions) for questions in sections.values()) == 19_544
    first = sections["capital-common-countries"][0]
    assert first == ("Athens", "Greece", "Baghdad", "Iraq")


@pytest.mark.parametrize(
    ("pairs", "size", "first"),
    [
        (data.wordsim353, 353, ("love", "sex", 6.77)),
        (data.simlex999, 999, ("old", "new", 1.58)),
    ],
)
def test_word_pairs_carry_a_human_score_from_0_to_10(pairs, size, first):
    rows = pairs()
    assert len(rows) == size
    assert rows[0] == first
    assert all(0 <= score <= 10 for _, _, score in rows)


def test_split_is_the_same_on_every_machine():
    parts = data.split([f"item {i}" for i in range(10)], validation=0.2, test=0.1)
    assert parts.validation == ["item 0", "item 4"]
    assert parts.test == ["item 8"]
    assert len(parts.train) == 7


def test_another_seed_is_another_split():
    items = [str(i) for i in range(100)]
    assert data.split(items, seed=1).test != data.split(items, seed=2).test


@given(st.lists(st.text(), unique=True), st.integers(0, 5))
def test_split_parts_are_disjoint_and_complete(items, seed):
    parts = data.split(items, seed=seed)
    together = [item for part in parts for item in part]
    assert sorted(together) == sorted(items)
    assert len(parts.test) == round(0.1 * len(items))


@given(st.lists(st.text(), unique=True), st.randoms())
def test_split_does_not_depend_on_the_order_of_the_items(items, rng):
    shuffled = rng.sample(items, len(items))
    for part, other in zip(data.split(items), data.split(shuffled), strict=True):
        assert set(part) == set(other)


def test_split_keeps_the_order_of_the_items():
    items = list(range(50))
    random.Random(0).shuffle(items)
    for part in data.split(items):
        assert part == [item for item in items if item in set(part)]


def test_split_by_title_keeps_articles_whole():
    parts = data.split(data.wikipedia_articles(), key=lambda article: article.title)
    assert [len(part) for part in parts] == [84, 11, 11]


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"validation": -0.1}, "validation is -0.1"),
        ({"test": 1.0}, "test is 1.0"),
        ({"validation": 0.6, "test": 0.4}, "validation \\+ test is 1.0"),
    ],
)
def test_split_refuses_shares_that_leave_nothing(shares, message):
    with pytest.raises(ValueError, match=message):
        data.split([1, 2, 3], **shares)


def test_missing_gensim_is_explained(monkeypatch):
    monkeypatch.setattr(data, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"minitransformer\[course\]"):
        data._gensim_file("lee_background.cor")


def test_missing_file_is_named():
    assert find_spec("gensim") is not None
    with pytest.raises(FileNotFoundError, match=r"no nothing\.txt"):
        data._gensim_file("nothing.txt")


def test_planted_analogies_are_in_the_text():
    text = data.planted_analogies(500, kinds=3, forms=2, seed=1)
    assert len(text.sentences) == 500
    assert {len(sentence) for sentence in text.sentences} == {9}
    words = {word for sentence in text.sentences for word in sentence}
    assert {word for question in text.questions for word in question} <= words
    assert len(text.questions) == len(set(text.questions)) == 3 * 2 * 2 * 1
    assert ("k0f0", "k0f1", "k2f0", "k2f1") in text.questions
    for sentence in text.sentences:
        (about,) = [word for word in sentence if re.fullmatch(r"k\d+f\d+", word)]
        kind, form = about[1:].split("f")
        assert sum(word.startswith(f"k{kind}_") for word in sentence) == 2
        assert sum(word.startswith(f"f{form}_") for word in sentence) == 2


def test_another_seed_is_another_planted_text():
    assert data.planted_analogies(9, seed=1) == data.planted_analogies(9, seed=1)
    assert data.planted_analogies(9, seed=1) != data.planted_analogies(9, seed=2)


@pytest.mark.parametrize("name", ["kinds", "forms"])
def test_an_analogy_needs_two_of_each(name):
    with pytest.raises(ValueError, match=f"{name} is 1, needs at least 2"):
        data.planted_analogies(9, **{name: 1})
