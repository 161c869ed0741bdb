import math

import gensim
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minitransformer.embeddings import vocabulary

counts = st.lists(st.integers(1, 1000), min_size=2, max_size=40)


def test_a_corpus_is_numbered_by_frequency_then_by_who_is_new_last():
    corpus = vocabulary.count_words([["a", "b", "c"], ["c", "rare", "b", "c", "a"]], 2)
    assert corpus.words == ["c", "b", "a"]
    assert corpus.counts.tolist() == [3, 2, 2]
    assert corpus.ids.tolist() == [2, 1, 0, 0, 1, 0, 2]
    assert corpus.sentence.tolist() == [0, 0, 0, 1, 1, 1, 1]


def test_a_generator_of_sentences_is_enough():
    corpus = vocabulary.count_words((pair for pair in [("a", "b")] * 3), 1)
    assert corpus.counts.tolist() == [3, 3]


@pytest.mark.parametrize(
    ("sentences", "message"),
    [
        ([], "sentences has 0 of 0 words at least 2 times"),
        ([[]], "has 0 of 0 words"),
        ([["a", "a", "b"]], "has 1 of 2 words at least 2 times"),
        (["the cat sat"], "holds the text 'the cat sat', needs lists of words"),
    ],
)
def test_what_cannot_be_learned_from_is_named(sentences, message):
    with pytest.raises(ValueError, match=message):
        vocabulary.count_words(sentences, 2)


def test_subsampling_worked_by_hand():
    # shares 0.9 and 0.1, t = 0.1: sqrt(1/9) + 1/9 = 4/9; sqrt(1) + 1, at most 1
    keep = vocabulary.keep_probability([90, 10], 0.1)
    assert keep == pytest.approx([4 / 9, 1])
    assert vocabulary.keep_probability([90, 10], 0).tolist() == [1, 1]


def test_subsampling_is_that_of_gensim():
    sentences = [["a"] * 500 + ["b"] * 40 + ["c"] * 7]
    model = gensim.models.Word2Vec(min_count=1, sample=1e-2)
    model.build_vocab(sentences)
    theirs = [model.wv.get_vecattr(word, "sample_int") / 2**32 for word in "abc"]
    ours = vocabulary.keep_probability([500, 40, 7], 1e-2)
    assert ours == pytest.approx(theirs, abs=1e-6)


def test_noise_worked_by_hand():
    assert vocabulary.noise_probability([16, 1], 0.75) == pytest.approx([8 / 9, 1 / 9])
    assert vocabulary.noise_probability([16, 4], 1) == pytest.approx([0.8, 0.2])
    assert vocabulary.noise_probability([16, 4], 0) == pytest.approx([0.5, 0.5])


def test_a_tree_worked_by_hand():
    # 1 and 2 join to 3 (node 0), which joins the other 3 to 6 (node 1), which joins 7
    paths = vocabulary.huffman_paths([7, 3, 2, 1])
    ways = [
        list(zip(nodes[:n].tolist(), turns[:n].tolist(), strict=True))
        for nodes, turns, n in zip(*paths, strict=True)
    ]
    assert ways == [
        [(2, 1)],
        [(2, 0), (1, 0)],
        [(2, 0), (1, 1), (0, 1)],
        [(2, 0), (1, 1), (0, 0)],
    ]


@given(st.lists(st.lists(st.integers(0, 60), max_size=9), max_size=40))
@example([[word] for word in range(300)])  # all equal
def test_words_and_tree_are_those_of_gensim_though_many_counts_are_equal(sentences):
    sentences = [["a", "b"], *([f"w{i}" for i in sentence] for sentence in sentences)]
    model = gensim.models.Word2Vec(min_count=1, hs=1, negative=0, vector_size=1)
    model.build_vocab(sentences)
    corpus = vocabulary.count_words(sentences, 1)
    assert corpus.words == model.wv.index_to_key
    nodes, turns, lengths = vocabulary.huffman_paths(corpus.counts)
    for row, length in enumerate(lengths):
        code, point = (model.wv.get_vecattr(row, name) for name in ("code", "point"))
        assert turns[row, :length].tolist() == code.tolist()
        assert nodes[row, :length].tolist() == point.tolist()


@given(counts)
def test_the_tree_tells_all_words_apart_at_nearly_the_entropy(counts):
    nodes, turns, lengths = vocabulary.huffman_paths(counts)
    ways = [tuple(zip(n, t, strict=True)) for n, t in zip(nodes, turns, strict=True)]
    ways = [way[:length] for way, length in zip(ways, lengths, strict=True)]
    assert len(set(ways)) == len(counts)
    assert math.fsum(2.0 ** -len(way) for way in ways) == 1  # a full tree (Kraft)
    shares = np.array(counts) / sum(counts)
    entropy = -np.sum(shares * np.log2(shares))
    assert entropy - 1e-9 <= np.sum(shares * lengths) < entropy + 1


@given(counts)
def test_a_frequent_word_is_never_deeper_than_a_rarer_one(counts):
    counts = sorted(counts, reverse=True)
    lengths = vocabulary.huffman_paths(counts).lengths
    for i, count in enumerate(counts):
        for j in range(i):
            assert lengths[j] <= lengths[i] or counts[j] == count
