r"""What word2vec knows of words before it trains: counts, and what is made of them.

With the count :math:`c_w` of a word among :math:`N`, and its share
:math:`f_w = c_w / N`:

- *sub-sampling* keeps an occurrence with probability
  :math:`\min(1, \sqrt{t / f_w} + t / f_w)`;
- *noise words* are drawn with probability proportional to :math:`c_w^{3/4}`;
- the *Huffman tree* of the counts gives a frequent word a short path from the root: the
  fewest yes-or-no questions, on average, that tell the words apart.

Source: Mikolov et al., arXiv:1310.4546. The paper's text keeps an occurrence with
probability :math:`\sqrt{t / f_w}`; the term :math:`t / f_w` is in the authors' program,
and in gensim, and so here.

Most words of a text share their count with many others, so it has many Huffman trees,
and on a short text a similarity score depends more on the tree than on the seed. Words
of equal count stand in the order in which they are new, the last first, and nodes of
equal weight are joined in the order of a binary heap: both as in gensim 4, so the tree
of a text is the same.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Corpus(NamedTuple):
    """Sentences as one row of ids.

    Attributes:
        words: the vocabulary, the most frequent word first.
        counts: how often each occurs, ``[words]``.
        ids: the words of all sentences in a row, ``[tokens]``; rare ones are gone.
        sentence: the number of the sentence that each belongs to, ``[tokens]``.
    """

    words: list[str]
    counts: NDArray[np.int64]
    ids: NDArray[np.int64]
    sentence: NDArray[np.int64]


class Paths(NamedTuple):
    """The way from the root of the tree to each word.

    Attributes:
        nodes: the inner nodes on the way, ``[words, longest]``, 0 is the first made.
        turns: which way to turn at each, 0 or 1, ``[words, longest]``.
        lengths: how many of these a word has, ``[words]``.
    """

    nodes: NDArray[np.int64]
    turns: NDArray[np.int64]
    lengths: NDArray[np.int64]


def count_words(sentences: Iterable[Sequence[str]], min_count: int) -> Corpus:
    """Number the words and write the sentences as ids.

    Args:
        sentences: each a sequence of words.
        min_count: rarer words are dropped, and their neighbors move together.

    Returns:
        The corpus; of words of equal count, the one that is new last stands first.

    Raises:
        ValueError: a sentence is a string, not a sequence of words; or fewer than two
            words are left.
    """
    texts: list[list[str]] = []
    for sentence in sentences:
        if isinstance(sentence, str):
            raise ValueError(
                f"sentences holds the text {sentence[:30]!r}, needs lists of words: "
                "split it first"
            )
        texts.append(list(sentence))
    found = Counter(chain.from_iterable(texts))
    kept = {word: count for word, count in found.items() if count >= min_count}
    if len(kept) < 2:
        raise ValueError(
            f"sentences has {len(kept)} of {len(found)} words at least {min_count} "
            "times (min_count), needs two words"
        )
    words = sorted(reversed(kept), key=lambda word: -kept[word])
    row = {word: i for i, word in enumerate(words)}
    each = map(row.get, chain.from_iterable(texts), repeat(-1))
    ids = np.fromiter(each, dtype=np.int64)
    sentence_of = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    counts = np.array([kept[word] for word in words])
    return Corpus(words, counts, ids[ids >= 0], sentence_of[ids >= 0])


def keep_probability(counts: ArrayLike, sample: float) -> NDArray[np.float64]:
    """Return the probability that sub-sampling keeps an occurrence of each word.

    Args:
        counts: ``[words]``.
        sample: the share t of the text from which on words are thinned; 0 keeps all.
    """
    counts = np.asarray(counts, dtype=float)
    if sample == 0:
        return np.ones_like(counts)
    ratio = sample * counts.sum() / counts
    return np.minimum(1, np.sqrt(ratio) + ratio)


def noise_probability(counts: ArrayLike, exponent: float) -> NDArray[np.float64]:
    """Return the probability of each word as a negative sample, ``[words]``.

    Args:
        counts: ``[words]``.
        exponent: 1 draws words as they occur, 0 all alike, 0.75 in between.
    """
    power = np.asarray(counts, dtype=float) ** exponent
    return power / power.sum()


def huffman_paths(counts: Sequence[int] | NDArray[np.int64]) -> Paths:
    """Build the Huffman tree of the counts: always join the two lightest nodes.

    Among nodes of equal weight ``heapq``, which sees weights alone, says which is
    joined first. The one joined first is reached by turn 0.

    Args:
        counts: ``[words]``, at least two.
    """
    num_words = len(counts)
    heap = [_node(int(count), word) for word, count in enumerate(counts)]
    heapq.heapify(heap)
    root = 2 * num_words - 2
    parents, turns = [root] * (root + 1), [0] * (root + 1)
    for node in range(num_words, root + 1):
        light, heavy = heapq.heappop(heap), heapq.heappop(heap)
        parents[light.number] = parents[heavy.number] = node
        turns[heavy.number] = 1
        heapq.heappush(heap, _node(light + heavy, node))
    parent, turn = np.array(parents), np.array(turns)
    climb = [np.arange(num_words)]  # all words at once, a step a row; the root stays
    while (climb[-1] != root).any():
        climb.append(parent[climb[-1]])
    below = np.array(climb[:-1]).T
    lengths = (below != root).sum(axis=1)
    down = lengths[:, None] - 1 - np.arange(len(climb) - 1)
    below = np.take_along_axis(below, np.maximum(down, 0), axis=1)
    nodes, turned = parent[below] - num_words, turn[below]
    return Paths(np.where(down < 0, 0, nodes), np.where(down < 0, 0, turned), lengths)


class _Node(int):
    """The weight of a word or an inner node, by which alone it is compared.

    Attributes:
        number: words first, then inner nodes.
    """

    number: int


def _node(weight: int, number: int) -> _Node:
    node = _Node(weight)
    node.number = number
    return node
