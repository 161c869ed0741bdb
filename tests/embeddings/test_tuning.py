import builtins
import math
import sys

import numpy as np
import pytest
from scipy import optimize, stats

from minitransformer.embeddings import tuning
from minitransformer.embeddings.cross_entropy import Settings
from minitransformer.embeddings.search_space import Integer, Real, decode
from minitransformer.embeddings.tuning import Questions, Vectors

TOPICS = [list("abcde"), list("fghij")]
PLAIN = {"vector_size": 8, "min_count": 1, "sample": 0.0, "window": 3, "epochs": 2}


def text(seed, sentences=80):
    """Sentences of six words, each on one of two topics."""
    rng = np.random.default_rng(seed)
    return [
        rng.choice(TOPICS[rng.integers(2)], size=6).tolist() for _ in range(sentences)
    ]


@pytest.fixture(scope="module")
def questions():
    return tuning.ask_about(
        text(1), text(0), rng=np.random.default_rng(0), questions=300, noise=4
    )


def vectors_of(inputs, outputs, words="abc", counts=(1, 1, 1)):
    arrays = (np.array(each, dtype=np.float32) for each in (inputs, outputs))
    return Vectors(tuple(words), *arrays, np.array(counts))


def naive_loss(weights, features):
    """The mean cross-entropy of a softmax, candidate by candidate."""
    total = 0.0
    for q in range(features.shape[1]):
        logits = [float(weights @ features[:, q, c]) for c in range(features.shape[2])]
        total += math.log(sum(map(math.exp, logits))) - logits[0]
    return total / features.shape[1]


@pytest.mark.parametrize("seed", range(4))
def test_calibration_finds_the_least_loss(seed):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(2, 60, 5)) * np.array([3.0, 0.1])[:, None, None]
    features[0, :, 0] += 1
    loss, weights = tuning.calibrate(features)
    assert loss == pytest.approx(naive_loss(weights, features), abs=1e-10)
    theirs = optimize.minimize(naive_loss, np.zeros(2), args=(features,), tol=1e-10)
    assert loss <= theirs.fun + 1e-8
    assert loss == pytest.approx(theirs.fun, abs=1e-6)


def test_the_loss_worked_by_hand():
    # without any dot product and with equal counts: one of three by chance
    questions = Questions(
        tuple("abc"), np.array([5, 5, 5]), np.array([0, 1]), np.array([[1, 2, 0]] * 2)
    )
    nothing = vectors_of(np.zeros((3, 2)), np.zeros((3, 2)))
    assert tuning.held_out_loss(nothing, questions) == pytest.approx(math.log(3))


def test_counts_alone_can_tell_the_neighbor():
    # the true neighbor is always the frequent word
    questions = Questions(
        tuple("abc"), np.array([90, 5, 5]), np.array([1, 2]), np.array([[0, 1, 2]] * 2)
    )
    nothing = vectors_of(np.zeros((3, 2)), np.zeros((3, 2)))
    assert tuning.held_out_loss(nothing, questions) < 0.01


def test_the_loss_does_not_change_with_the_scale_or_the_order(questions):
    rng = np.random.default_rng(0)
    size = len(questions.words)
    inputs, outputs = rng.normal(size=(2, size, 4))
    counts = np.ones(size)
    loss = tuning.held_out_loss(
        vectors_of(inputs, outputs, questions.words, counts), questions
    )
    order = rng.permutation(size)
    words = [questions.words[i] for i in order]
    other = vectors_of(3 * inputs[order], outputs[order], words, counts)
    # the vectors are single precision
    assert tuning.held_out_loss(other, questions) == pytest.approx(loss, abs=1e-5)


def test_what_has_learned_loses_less_than_chance(questions):
    trained = tuning.train_gensim(text(0), PLAIN | {"epochs": 100, "alpha": 0.1}, 1)
    assert tuning.held_out_loss(trained, questions) < math.log(5) - 0.2
    inputs, outputs = np.random.default_rng(0).normal(size=(2, 10, 8))
    random = vectors_of(inputs, outputs, trained.words, trained.counts)
    assert tuning.held_out_loss(random, questions) > math.log(5) - 0.05


def test_questions_are_about_neighbors_of_the_unseen_text():
    questions = tuning.ask_about(
        [["a", "x", "b", "c", "d"]],
        [["a", "b", "c", "d"]] * 3 + [["x"]],
        rng=np.random.default_rng(0),
        min_count=3,
        window=1,
        questions=200,
        noise=2,
    )
    assert questions.words == ("a", "b", "c", "d")
    assert questions.counts.tolist() == [3, 3, 3, 3]
    asked = zip(questions.centers, questions.candidates[:, 0], strict=True)
    # x is rare, so a and b are neighbors
    assert {(a, b) for a, b in asked} == {
        (0, 1),
        (1, 0),
        (1, 2),
        (2, 1),
        (2, 3),
        (3, 2),
    }
    assert questions.candidates.shape == (200, 3)


def test_noise_is_drawn_as_the_counts_to_three_quarters():
    sentences = [["a", "b"]] * 16 + [["a"]] * 240
    questions = tuning.ask_about(
        sentences, sentences, rng=np.random.default_rng(0), questions=5000, noise=4
    )
    # counts 256 and 16: powers 64 and 8
    share = (questions.candidates[:, 1:] == 0).mean()
    assert share == pytest.approx(64 / 72, abs=5 * math.sqrt(0.1 / 20_000))


@pytest.mark.parametrize("sentences", [[], [["a"]], [["new", "words"]]])
def test_text_without_neighbors_is_refused(sentences):
    with pytest.raises(ValueError, match="sentences has no two neighbors that occur 2"):
        tuning.ask_about(
            sentences, [["a", "b"]] * 2, rng=np.random.default_rng(0), min_count=2
        )


def test_a_word_without_a_vector_is_named(questions):
    with pytest.raises(
        ValueError, match=r"vectors has no '\w+', a word of the questions"
    ):
        tuning.held_out_loss(vectors_of(np.eye(3), np.eye(3)), questions)


def test_similarity_is_the_correlation_of_scipy():
    rng = np.random.default_rng(0)
    trained = vectors_of(rng.normal(size=(6, 3)), np.zeros((6, 3)), "abcdef", [1] * 6)
    pairs = [
        (a, b, float(rng.integers(5))) for a in "abcdef" for b in "abcdef" if a < b
    ]
    unit = trained.inputs / np.linalg.norm(trained.inputs, axis=1, keepdims=True)
    place = {word: i for i, word in enumerate("abcdef")}
    cosines = [unit[place[a]] @ unit[place[b]] for a, b, _ in pairs]
    theirs = stats.spearmanr(cosines, [score for *_, score in pairs]).statistic
    assert tuning.similarity(trained, pairs) == pytest.approx(theirs, abs=1e-6)


def test_a_small_vocabulary_does_not_score_better():
    # a and b alike, c opposed; the unknown word has the cosine 0
    trained = vectors_of([[1, 0], [1, 0], [-1, 0]], np.zeros((3, 2)))
    pairs = [("a", "b", 9.0), ("a", "new", 5.0), ("a", "c", 1.0)]
    assert tuning.similarity(trained, pairs) == pytest.approx(1)
    pairs[1] = ("a", "new", 9.5)
    assert tuning.similarity(trained, pairs) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "pairs has 0 entries, needs at least 2"),
        ([("a", "b", 1.0)], "pairs has 1 entries"),
        ([("x", "y", 1.0), ("y", "z", 2.0)], "no differences to correlate"),
        ([("a", "b", 1.0), ("a", "c", 1.0)], "no differences to correlate"),
    ],
)
def test_pairs_that_cannot_be_correlated_are_refused(pairs, message):
    with pytest.raises(ValueError, match=message):
        tuning.similarity(vectors_of(np.eye(3), np.eye(3)), pairs)


def test_training_twice_gives_the_same_vectors():
    first, again, other = (tuning.train_gensim(text(0), PLAIN, s) for s in (1, 1, 2))
    assert (first.inputs == again.inputs).all()
    assert (first.outputs == again.outputs).all()
    assert (first.inputs != other.inputs).any()
    counts = dict(zip(first.words, first.counts.tolist(), strict=True))
    assert counts["a"] == sum(sentence.count("a") for sentence in text(0))


def test_ours_is_tuned_as_gensim_is(questions):
    objectives = [
        tuning.HeldOutLoss(text(0), questions, train)
        for train in (tuning.train_word2vec, tuning.train_gensim)
    ]
    small = SMALL | {"epochs": Integer(10, 40), "min_count": Integer(1, 2)}
    for objective in objectives:
        state = tuning.tune(objective, small, evaluations=12, settings=HOW)
        assert state.best[1] < objective({"epochs": 1})
        assert state.best[1] < math.log(5) - 0.1


def test_without_gensim_the_error_says_what_to_install(monkeypatch):
    theirs = builtins.__import__

    def without(name, *args, **named):
        if name.startswith("gensim"):
            raise ImportError(name)
        return theirs(name, *args, **named)

    for name in [each for each in sys.modules if each.startswith("gensim")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'minitransformer\[course\]'"):
        tuning.train_gensim(text(0), PLAIN, 1)


def test_what_diverges_is_worst(questions):
    def diverged(sentences, config, seed):
        nan = np.full((3, 2), np.nan, dtype=np.float32)
        return Vectors(tuple("abc"), nan, nan, np.ones(3, dtype=int))

    objective = tuning.HeldOutLoss(text(0), questions, diverged)
    assert objective({}) == math.inf


def test_missing_settings_have_their_defaults(questions):
    given = []

    def train(sentences, config, seed):
        given.append((config, seed))
        return tuning.train_gensim(sentences, PLAIN, seed)

    tuning.HeldOutLoss(text(0), questions, train, seed=7)({"window": 2})
    assert given == [(tuning.DEFAULTS | {"window": 2}, 7)]
    assert set(tuning.SPACE) == set(tuning.DEFAULTS)


SMALL = {"alpha": Real(0.01, 0.3, log=True), "epochs": Integer(1, 6)}
HOW = Settings(population=4, elite=0.5)


@pytest.fixture(scope="module")
def objective(questions):
    return tuning.HeldOutLoss(text(0), questions, train_plain)


def train_plain(sentences, config, seed):
    """A trainer that another process can import."""
    return tuning.train_gensim(
        sentences, config | {"vector_size": 4, "min_count": 1}, seed
    )


def test_processes_side_by_side_find_what_one_finds(objective, tmp_path):
    one = tuning.tune(objective, SMALL, evaluations=7, settings=HOW)
    two = tuning.tune(
        objective, SMALL, evaluations=7, settings=HOW, workers=2, path=tmp_path / "s"
    )
    assert two == one
    config, loss = one.best
    assert objective(config) == loss < math.log(5)


def test_random_search_and_ours_begin_with_the_same_round(objective):
    states = [
        tuning.tune(objective, SMALL, evaluations=4, settings=how, seed=3)
        for how in (HOW, Settings(population=4, smoothing=0))
    ]
    first, other = (state.rounds[0] for state in states)
    assert (first.points, first.values) == (other.points, other.values)
    assert states[1].law.uniform and not states[0].law.uniform
    assert tuning.RANDOM.smoothing == 0


def test_no_worker_is_too_few(objective):
    with pytest.raises(ValueError, match="workers is 0, needs at least 1"):
        tuning.tune(objective, SMALL, evaluations=4, workers=0)


@pytest.mark.parametrize("seed", range(2))
def test_at_equal_budget_a_smooth_loss_falls_lower_than_by_scipy_or_chance(seed):
    """On a stand-in for a loss: every knob has its best value, on its own scale."""
    best = {name: knob.decode(0.7) for name, knob in tuning.SPACE.items()}
    calls = []

    def loss(config):
        pairs = ((tuning.SPACE[n], config[n], x) for n, x in best.items())
        return sum((knob.encode(x) - knob.encode(y)) ** 2 for knob, x, y in pairs)

    def of_places(places):
        calls.append(loss(decode(tuning.SPACE, tuple(places), ())))
        return calls[-1]

    how = Settings(population=20, elite=0.2, injected=0.05)
    ours, random = (
        tuning.tune(loss, evaluations=200, settings=each, seed=seed).best[1]
        for each in (how, tuning.RANDOM)
    )
    optimize.differential_evolution(
        of_places, [(0, 1)] * 8, popsize=3, maxiter=8, polish=False, rng=seed
    )
    assert len(calls) >= 200
    assert ours < random
    assert ours < min(calls[:200])
