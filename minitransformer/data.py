"""Text and word pairs that installed packages carry, so that nothing is downloaded.

gensim ships test data: the Lee background corpus (300 news items), part of an
English Wikipedia dump, and the word-pair sets on which word vectors are judged. This
module reads them, cleans them and splits them, the same way on every machine.
"""

import bz2
import hashlib
import random
import re
from collections.abc import Callable, Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

_WIKIPEDIA = "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"


class Article(NamedTuple):
    """One encyclopedia article: its title and its plain text."""

    title: str
    text: str


class Split(NamedTuple, Generic[T]):
    """Three disjoint parts of one data set."""

    train: list[T]
    validation: list[T]
    test: list[T]


def _gensim_file(name: str) -> Path:
    spec = find_spec("gensim")
    if spec is None or spec.origin is None:
        raise ImportError(
            "minitransformer.data reads files that the package gensim carries: "
            "pip install 'minitransformer[course]'"
        )
    path = Path(spec.origin).parent / "test" / "test_data" / name
    if not path.is_file():
        raise FileNotFoundError(f"gensim carries no {name} here: needs gensim 4.4")
    return path


@cache
def lee_corpus() -> tuple[str, ...]:
    """Return the Lee background corpus: 300 news items, about 60,000 words.

    Source: Lee, Pincombe & Welsh (2005), Australian Broadcasting Corporation news.
    """
    text = _gensim_file("lee_background.cor").read_text(encoding="utf-8")
    return tuple(text.splitlines())


def _plain(wikitext: str) -> str:
    """Drop the markup that gensim's filter leaves: quotes, headings, list marks."""
    lines = re.sub(r"'{2,}", "", wikitext).splitlines()
    lines = [" ".join(line.strip(" \t=*#:;|!").split()) for line in lines]
    return "\n".join(line for line in lines if line)


@cache
def wikipedia_articles() -> tuple[Article, ...]:
    """Return the English Wikipedia articles of gensim's test dump, as plain text.

    The dump holds 206 pages: 106 articles, and pages that are empty or only redirect
    to another, which are left out. Markup is removed by
    ``gensim.corpora.wikicorpus.filter_wiki``, then the marks it leaves: one paragraph
    a line, 3 MB in all. The first call takes a few seconds, later ones none.
    """
    path = _gensim_file(_WIKIPEDIA)
    from gensim.corpora.wikicorpus import extract_pages, filter_wiki

    with bz2.open(path) as file:
        pages = list(extract_pages(file, filter_namespaces=("0",)))
    articles = (
        Article(title, _plain(filter_wiki(wikitext)))
        for title, wikitext, _ in pages
        if not wikitext.lstrip().lower().startswith("#redirect")
    )
    return tuple(article for article in articles if article.text)


def split(
    items: Iterable[T],
    *,
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    key: Callable[[T], str] = str,
) -> Split[T]:
    """Split ``items`` into train, validation and test parts, reproducibly.

    Items are ordered by a hash of ``(seed, key(item))`` and cut, so the same items
    give the same parts on every machine, whatever order they come in. Within each
    part they keep the order they came in.

    Args:
        items: anything that ``key`` can tell apart.
        validation: the share of the validation part, in [0, 1).
        test: the share of the test part, in [0, 1).
        seed: another seed is another split.
        key: the text that stands for an item; two items with the same key fall into
            the same part only by chance.

    Raises:
        ValueError: a share is negative, or the two leave nothing to train on.
    """
    for name, share in (("validation", validation), ("test", test)):
        if not 0 <= share < 1:
            raise ValueError(f"{name} is {share}, needs a share in [0, 1)")
    if validation + test >= 1:
        raise ValueError(
            f"validation + test is {validation + test}, needs to be below 1"
        )
    items = list(items)

    def rank(index: int) -> bytes:
        text = f"{seed}\0{key(items[index])}"
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass")).digest()

    order = sorted(range(len(items)), key=rank)
    n_validation, n_test = round(len(items) * validation), round(len(items) * test)
    cuts = (
        order[n_validation + n_test :],
        order[:n_validation],
        order[n_validation : n_validation + n_test],
    )
    return Split(*([items[i] for i in sorted(cut)] for cut in cuts))


@cache
def analogies() -> dict[str, tuple[tuple[str, str, str, str], ...]]:
    """Return Mikolov's analogy questions by section: (a, b, c, d), a is to b as c to d.

    Source: ``questions-words.txt`` of word2vec (Mikolov et al., arXiv:1301.3781);
    19,544 questions in 14 sections.
    """
    sections: dict[str, list[tuple[str, str, str, str]]] = {}
    text = _gensim_file("questions-words.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith(":"):
            section = sections.setdefault(line[1:].strip(), [])
        else:
            a, b, c, d = line.split()
            section.append((a, b, c, d))
    return {name: tuple(questions) for name, questions in sections.items()}


def _word_pairs(name: str) -> tuple[tuple[str, str, float], ...]:
    lines = _gensim_file(name).read_text(encoding="utf-8").splitlines()
    rows = (line.split("\t") for line in lines if line and not line.startswith("#"))
    return tuple((first, second, float(score)) for first, second, score in rows)


@cache
def wordsim353() -> tuple[tuple[str, str, float], ...]:
    """Return WordSim-353: (word, word, mean human relatedness from 0 to 10).

    Source: Finkelstein et al. (2002). 353 pairs.
    """
    return _word_pairs("wordsim353.tsv")


@cache
def simlex999() -> tuple[tuple[str, str, float], ...]:
    """Return SimLex-999: (word, word, mean human similarity from 0 to 10).

    Source: Hill, Reichart & Korhonen (2015), arXiv:1408.3456. 999 pairs.
    """
    return _word_pairs("simlex999.txt")


class PlantedAnalogies(NamedTuple):
    """A made-up text whose analogies are known.

    Attributes:
        sentences: lists of words.
        questions: (a, b, c, d), a is to b as c is to d.
    """

    sentences: list[list[str]]
    questions: list[tuple[str, str, str, str]]


def planted_analogies(
    num_sentences: int = 3000, *, kinds: int = 12, forms: int = 4, seed: int = 0
) -> PlantedAnalogies:
    """Make a text in which each word is one kind in one form, as *queens* or *king*.

    A sentence is about one such word, ``k3f1`` say. It holds that word, two of ten
    words that go with the kind, two of ten that go with the form, and four of fifty
    that go with anything, in any order. So ``k3f1`` is to ``k3f2`` as ``k5f1`` to
    ``k5f2``.

    Args:
        num_sentences: length of the text; each sentence has nine words.
        kinds: how many kinds there are, at least two.
        forms: how many forms there are, at least two.
        seed: another seed is another text.

    Raises:
        ValueError: fewer than two kinds or forms.
    """
    for name, value in (("kinds", kinds), ("forms", forms)):
        if value < 2:
            raise ValueError(f"{name} is {value}, needs at least 2")
    rng = random.Random(seed)
    sentences = []
    for _ in range(num_sentences):
        kind, form = rng.randrange(kinds), rng.randrange(forms)
        sentence = [f"k{kind}f{form}"]
        sentence += [f"k{kind}_{rng.randrange(10)}" for _ in range(2)]
        sentence += [f"f{form}_{rng.randrange(10)}" for _ in range(2)]
        sentence += [f"x_{rng.randrange(50)}" for _ in range(4)]
        rng.shuffle(sentence)
        sentences.append(sentence)
    pairs = [(first, second) for first in range(forms) for second in range(forms)]
    questions = [
        (f"k{one}f{first}", f"k{one}f{second}", f"k{two}f{first}", f"k{two}f{second}")
        for one in range(kinds)
        for two in range(kinds)
        for first, second in pairs
        if one != two and first != second
    ]
    return PlantedAnalogies(sentences, questions)
