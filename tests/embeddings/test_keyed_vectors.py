import gensim
import numpy as np
import pytest
from gensim.test.utils import datapath
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from minitransformer import data
from minitransformer.embeddings.keyed_vectors import KeyedVectors, ranks, spearman

WORDS = ["king", "queen", "man", "woman", "Ωμέγα", "tree"]


@pytest.fixture
def square():
    """Four words at the corners of a square, and one far from them."""
    corners = [[3, 1], [3, -1], [1, 1], [1, -1], [-1, 0.2]]
    return KeyedVectors(["king", "queen", "man", "woman", "tree"], corners)


@pytest.fixture
def random_vectors():
    rng = np.random.default_rng(0)
    return KeyedVectors(WORDS, rng.normal(size=(6, 5)).astype(np.float32))


def test_a_vector_is_found_by_its_word(square):
    assert square["king"].tolist() == [3, 1]
    assert square[["man", "king"]].tolist() == [[1, 1], [3, 1]]
    assert "king" in square
    assert "King" not in square
    assert (len(square), square.vector_size) == (5, 2)
    assert square.key_to_index["woman"] == 3


def test_cosines_worked_by_hand(square):
    assert square.similarity("king", "queen") == pytest.approx(8 / 10)
    assert square.similarity("man", "woman") == pytest.approx(0, abs=1e-7)
    assert square.similarity("tree", "tree") == pytest.approx(1)


def test_the_analogy_of_the_square(square):
    assert square.most_similar(["king", "woman"], ["man"], topn=1)[0][0] == "queen"
    (score,) = square.evaluate_word_analogies(
        {"royal": [("man", "king", "woman", "QUEEN"), ("man", "x", "woman", "y")]}
    ).values()
    assert score == (1, 1)


def test_given_words_are_left_out_and_topn_is_kept(square):
    found = square.most_similar("king", topn=99)
    assert [word for word, _ in found] == ["man", "queen", "woman", "tree"]
    assert [score for _, score in found] == sorted((s for _, s in found), reverse=True)
    assert len(square.most_similar("king", topn=2)) == 2


def test_a_vector_may_be_asked_for_too(square):
    by_vector = square.most_similar(2 * square["king"], topn=5)
    assert by_vector[0] == ("king", pytest.approx(1))
    assert square.most_similar([square["king"]], topn=5) == by_vector


def test_the_odd_one_out(square):
    assert square.doesnt_match(["king", "queen", "man", "tree"]) == "tree"


def test_an_unknown_word_is_named(square):
    for ask in (
        lambda: square["King"],
        lambda: square.similarity("king", "King"),
        lambda: square.most_similar("King"),
        lambda: square.most_similar("king", ["King"]),
        lambda: square.doesnt_match(["king", "King"]),
    ):
        message = "'King' is not in the vocabulary of 5 words; 'king' is"
        with pytest.raises(KeyError, match=message):
            ask()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda wv: wv.most_similar(), "positive and negative are empty"),
        (lambda wv: wv.most_similar(np.ones(3)), r"has shape \(3,\), needs \(2,\)"),
        (lambda wv: wv.doesnt_match([]), "words is empty"),
        (lambda wv: wv.evaluate_word_pairs([]), "pairs has 0 in the vocabulary"),
        (lambda wv: KeyedVectors(["a"], [[1], [2]]), r"has shape \(2, 1\), needs \(1 "),
        (lambda wv: KeyedVectors(["a", "a"], [[1], [2]]), "holds a word twice"),
    ],
)
def test_what_cannot_be_asked_is_named(square, ask, message):
    with pytest.raises(ValueError, match=message):
        ask(square)


def test_zero_vectors_have_no_direction():
    wv = KeyedVectors("ab", [[0, 0], [1, 0]])
    assert wv.similarity("a", "b") == 0
    assert wv.unit_vectors().tolist() == [[0, 0], [1, 0]]


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30))
def test_ranks_are_those_of_scipy(values):
    assert ranks(values).tolist() == stats.rankdata(values).tolist()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3))
def test_spearman_is_that_of_scipy(pairs):
    a, b = zip(*pairs, strict=True)
    if len(set(a)) > 1 and len(set(b)) > 1:
        assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b)[0], abs=1e-12)


def test_scores_of_word_pairs_are_those_of_gensim(tmp_path):
    pairs = data.wordsim353()
    words = sorted({word.lower() for *pair, _ in pairs for word in pair})[::2]
    rng = np.random.default_rng(1)
    ours = KeyedVectors(words, rng.normal(size=(len(words), 8)))
    theirs = gensim.models.KeyedVectors(8)
    theirs.add_vectors(words, ours.vectors)
    file = datapath("wordsim353.tsv")
    pearson, rank, missing = theirs.evaluate_word_pairs(file)
    mine = ours.evaluate_word_pairs(pairs)
    assert mine.pearson == pytest.approx(pearson[0], abs=1e-6)
    assert mine.spearman == pytest.approx(rank[0], abs=1e-6)
    assert mine.oov_ratio == pytest.approx(missing)


@pytest.mark.parametrize("binary", [False, True])
def test_files_go_to_gensim_and_back(random_vectors, tmp_path, binary):
    path = tmp_path / "vectors"
    random_vectors.save_word2vec_format(path, binary=binary)
    theirs = gensim.models.KeyedVectors.load_word2vec_format(str(path), binary=binary)
    assert theirs.index_to_key == WORDS
    assert (theirs.vectors == random_vectors.vectors).all()
    theirs.save_word2vec_format(str(path), binary=binary)
    again = KeyedVectors.load_word2vec_format(path, binary=binary)
    assert again.index_to_key == WORDS
    assert (again.vectors == random_vectors.vectors).all()
    for asked in (("king",), (["king", "woman"], ["man"]), (["Ωμέγα"], ["tree"])):
        ours = again.most_similar(*asked, topn=4)
        wanted = theirs.most_similar(*asked, topn=4)
        assert [word for word, _ in ours] == [word for word, _ in wanted]
        scores = [score for _, score in wanted]
        assert [score for _, score in ours] == pytest.approx(scores, abs=1e-6)
    assert again.doesnt_match(WORDS) == theirs.doesnt_match(WORDS)


def test_the_binary_files_of_the_first_program_end_each_word_with_a_line(tmp_path):
    numbers = np.array([[1, 2], [3, 4]], dtype="<f4")
    content = b"2 2\na " + numbers[0].tobytes() + b"\nb " + numbers[1].tobytes()
    path = tmp_path / "google.bin"
    path.write_bytes(content + b"\n")
    wv = KeyedVectors.load_word2vec_format(path, binary=True)
    assert wv.index_to_key == ["a", "b"]
    assert wv.vectors.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("content", "binary", "message"),
    [
        (b"", False, "begins with b'', needs 'words size'"),
        (b"king 0.1\n", False, "begins with b'king 0.1'"),
        (b"2 2\na 1 2\n", False, "word 2 of 2, '', has 0 numbers, needs 2"),
        (b"1 3\nking 1 2\n", False, "word 1 of 1, 'king', has 2 numbers, needs 3"),
        (b"2 1\na \0\0\0\0b \0\0", True, "word 2 of 2 is cut off"),
        (b"1 1\na", True, "word 1 of 1 is cut off"),
    ],
)
def test_a_broken_file_is_refused(tmp_path, content, binary, message):
    path = tmp_path / "broken"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        KeyedVectors.load_word2vec_format(path, binary=binary)


@pytest.mark.parametrize("word", ["two words", "", "line\nend"])
def test_words_with_spaces_cannot_be_stored(tmp_path, word):
    with pytest.raises(ValueError, match="the format cannot store spaces"):
        KeyedVectors([word], [[1.0]]).save_word2vec_format(tmp_path / "file")
