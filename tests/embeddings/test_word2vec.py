from typing import NamedTuple

import gensim
import numpy as np
import pytest

from minitransformer import data
from minitransformer.embeddings import word2vec
from minitransformer.embeddings.vocabulary import keep_probability
from minitransformer.embeddings.word2vec import Word2Vec

MODES = {
    "skip-gram, noise": {"sg": 1, "hs": 0, "negative": 5},
    "skip-gram, tree": {"sg": 1, "hs": 1, "negative": 0},
    "CBOW, noise": {"sg": 0, "hs": 0, "negative": 5},
    "CBOW, tree": {"sg": 0, "hs": 1, "negative": 0},
    "skip-gram, both": {"sg": 1, "hs": 1, "negative": 5},
}
each_mode = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


def two_topics(num_sentences=1000, seed=0):
    """Sentences about one of two topics, three words each."""
    rng = np.random.default_rng(seed)
    topics = rng.integers(0, 2, num_sentences)
    return [[f"{'ab'[t]}{i}" for i in rng.integers(0, 3, 8)] for t in topics]


@pytest.mark.parametrize(
    ("arguments", "length"),
    [((0.025, 0.3, 64), 64), ((0.025, 6, 64), 6), ((0.5, 30, 256), 4), ((0, 1, 9), 9)],
)
def test_blocks_are_short_where_words_are_frequent(arguments, length):
    assert word2vec.block_length(*arguments) == length


@each_mode
@pytest.mark.parametrize("alpha", [0.025, 0.5])
def test_words_of_one_topic_come_together_at_any_rate(monkeypatch, mode, alpha):
    monkeypatch.setattr(word2vec, "CONSTANT", 100)  # so that the rate falls to the end
    settings = {"vector_size": 10, "sample": 0, "alpha": alpha, **mode}
    model = Word2Vec(two_topics(300), **settings)
    same = model.wv.similarity("a0", "a1")
    other = model.wv.similarity("a0", "b0")
    assert same > 0.9
    assert other < 0.4
    assert np.abs(model.wv.vectors).max() < 10


@each_mode
def test_the_same_seed_gives_the_same_vectors_and_another_others(mode):
    def vectors(seed):
        model = Word2Vec(two_topics(99), vector_size=4, epochs=1, seed=seed, **mode)
        return model.wv.vectors

    assert vectors(1).dtype == np.float32
    assert (vectors(1) == vectors(1)).all()
    assert (vectors(1) != vectors(2)).any()


def shares(words):
    """How often each of the three words was seen, as shares of all."""
    return np.bincount(np.concatenate(words), minlength=3) / sum(map(len, words))


class Asked(NamedTuple):
    """What is asked about a block of words."""

    words: np.ndarray
    noise: np.ndarray
    negative: int
    predictions: float


@pytest.fixture
def asked_in_training(monkeypatch):
    """What is asked of noise words in each block of a training still to come."""
    calls, ask, learn = [], word2vec.ask_noise, word2vec.learn_noise

    def skip_gram(predicts, *rest):
        calls.append(Asked(*rest, predicts.sum()))
        return ask(predicts, *rest)

    def cbow(inputs, outputs, words, noise, negative, alpha):
        calls.append(Asked(words, noise.ravel(), negative, len(words)))
        return learn(inputs, outputs, words, noise, negative, alpha)

    monkeypatch.setattr(word2vec, "ask_noise", skip_gram)
    monkeypatch.setattr(word2vec, "learn_noise", cbow)
    return calls


COUNTS = np.array([8000, 1000, 200])
SKEWED = [["a"] * 40 + ["b"] * 5 + ["c"]] * 200


@pytest.mark.parametrize("sample", [0, 0.01])
def test_training_reads_what_subsampling_keeps(asked_in_training, sample):
    Word2Vec(SKEWED, vector_size=2, epochs=3, sample=sample)
    kept = 3 * COUNTS * keep_probability(COUNTS, sample)
    found = np.bincount(np.concatenate([asked.words for asked in asked_in_training]))
    assert (np.abs(found - kept) <= 5 * np.sqrt(kept) * (sample > 0)).all()


@pytest.mark.parametrize("settings", [{}, {"ns_exponent": 0}, {"ns_exponent": 1}])
def test_noise_is_drawn_by_count_to_the_exponent(asked_in_training, settings):
    Word2Vec(SKEWED, vector_size=2, epochs=2, sample=0, negative=3, **settings)
    wanted = COUNTS ** settings.get("ns_exponent", 0.75)
    drawn = [asked.noise for asked in asked_in_training]
    deviation = 0.5 / np.sqrt(sum(map(len, drawn)))  # at most, of a share
    assert shares(drawn) == pytest.approx(wanted / wanted.sum(), abs=5 * deviation)
    assert {asked.negative for asked in asked_in_training} == {3}


def test_a_window_reaches_one_to_window_words_alike_often(monkeypatch):
    reaches, find = [], word2vec.neighbors

    def watch(start, stop, reach, sentence):
        reaches.append(reach[start:stop] - 1)
        return find(start, stop, reach, sentence)

    monkeypatch.setattr(word2vec, "neighbors", watch)
    Word2Vec(SKEWED, vector_size=2, window=3, epochs=1, sample=0, sg=1)
    assert shares(reaches) == pytest.approx(1 / 3, abs=0.03)  # 9,200 draws, 5 sd


@pytest.mark.parametrize("sg", [0, 1])
def test_skip_gram_asks_for_each_neighbor_and_cbow_once(asked_in_training, sg):
    text = [["a", "b", "c"]] * 5
    Word2Vec(text, vector_size=2, window=1, epochs=1, sample=0, sg=sg)
    pairs = sum(asked.predictions for asked in asked_in_training)
    assert pairs == (5 * 4 if sg else 5 * 3)


def test_which_tables_there_are():
    both = Word2Vec(two_topics(99), vector_size=4, epochs=1, hs=1, negative=2)
    assert both.noise_outputs.shape == both.wv.vectors.shape == (6, 4)
    assert both.node_outputs.shape == (5, 4)
    assert Word2Vec(two_topics(9), epochs=1).node_outputs is None
    assert Word2Vec(two_topics(9), epochs=1, hs=1, negative=0).noise_outputs is None


@pytest.mark.parametrize(
    ("words", "wanted"), [(10_000, [0.4, 0.3, 0.2, 0.1]), (8, [0.3, 0.2, 0.1, 0])]
)
def test_the_rate_falls_every_so_many_words_and_each_epoch_is_reported(
    monkeypatch, words, wanted
):
    rates = []
    monkeypatch.setattr(word2vec, "CONSTANT", words)
    Word2Vec(
        two_topics(500),
        vector_size=2,
        alpha=0.4,
        min_alpha=0,
        epochs=4,
        on_epoch=lambda model: rates.append(model.alpha),
    )
    assert rates == pytest.approx(wanted, abs=0.004)


def test_a_bar_is_shown_where_asked_for(capsys):
    Word2Vec(two_topics(9), vector_size=2, epochs=2, progress=True)
    assert "word2vec: 100%" in capsys.readouterr().out
    Word2Vec(two_topics(9), vector_size=2, epochs=2)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vector_size": 0}, "vector_size is 0, needs at least 1"),
        ({"window": 0}, "window is 0"),
        ({"min_count": 0}, "min_count is 0"),
        ({"negative": -1}, "negative is -1, needs at least 0"),
        ({"sample": -1.0}, "sample is -1.0"),
        ({"alpha": 0.01, "min_alpha": 0.02}, "alpha is 0.01, needs at least 0.02"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"epochs": 0}, "epochs is 0"),
        ({"sg": 2}, "sg is 2, needs 0 or 1"),
        ({"hs": -1}, "hs is -1, needs 0 or 1"),
        ({"negative": 0}, "hs and negative are 0"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Word2Vec(two_topics(9), **settings)


@pytest.mark.parametrize(
    ("sentences", "message"),
    [
        ([], "has 0 of 0 words"),
        ([["one"] * 9], "has 1 of 1 words at least 5 times"),
        (["a text is no list of words"], "needs lists of words"),
    ],
)
def test_wrong_sentences_are_named(sentences, message):
    with pytest.raises(ValueError, match=message):
        Word2Vec(sentences)


def test_sentences_of_one_word_teach_nothing_and_break_nothing():
    sentences = [["a"], [], ["b"]] * 5
    model = Word2Vec(sentences, vector_size=3, sg=1)
    start = Word2Vec(sentences, vector_size=3, sg=1, alpha=1e-12, min_alpha=0).wv
    assert model.wv.vectors == pytest.approx(start.vectors)


def test_planted_analogies_are_found_as_often_as_by_gensim():
    text = data.planted_analogies(2000)
    settings = {"vector_size": 20, "sample": 0, "epochs": 10, "sg": 1}
    ours = Word2Vec(text.sentences, **settings).wv
    theirs = gensim.models.Word2Vec(text.sentences, workers=1, seed=1, **settings).wv
    theirs = type(ours)(theirs.index_to_key, theirs.vectors)
    (right, asked), (wanted, _) = (
        wv.evaluate_word_analogies({"": text.questions})[""] for wv in (ours, theirs)
    )
    assert asked == len(text.questions)
    assert right / asked > 0.9
    assert wanted / asked > 0.9
