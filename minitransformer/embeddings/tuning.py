r"""word2vec's hyper-parameters, tuned by the cross-entropy method.

What is minimized is a loss on text that was not trained on, which must be comparable
between settings. Each question is a word :math:`w` of that text, a true neighbor of it
and :math:`k` words drawn from a fixed noise :math:`q(c) \propto n_c^{3/4}`: which one
is the neighbor? The answer is a softmax over the candidates :math:`c` with the logits

.. math:: a \, u_c \cdot v_w + b \ln n_c,

where :math:`a` and :math:`b`, one pair for all questions, are those of least loss. They
absorb what the noise exponent, the subsampling and the length of training do to the
scale of the dot product and to frequent words; what is left is what the dot product
knows. The loss is the mean cross-entropy, in nats, :math:`\ln(k + 1)` at the worst.
:func:`similarity` is the other measure: Spearman's correlation with what people say.

``tests/benchmarks/bench_tuning.py`` is the full run, whose history lies beside lesson
2.2. Paper: Fulu Li, arXiv:2410.18441 (from its abstract and a review of it), which
tunes categorical values; the objective is ours.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minitransformer.embeddings.cross_entropy import Settings, State, minimize
from minitransformer.embeddings.keyed_vectors import spearman
from minitransformer.embeddings.search_space import Integer, Parameter, Point, Real
from minitransformer.embeddings.word2vec import Word2Vec

Sentences = Sequence[Sequence[str]]

DEFAULTS: Point = {
    "vector_size": 100,
    "window": 5,
    "negative": 5,
    "ns_exponent": 0.75,
    "sample": 1e-3,
    "alpha": 0.025,
    "epochs": 5,
    "min_count": 5,
}
"""gensim's values of what is tuned here."""

SPACE: dict[str, Parameter] = {
    "vector_size": Integer(8, 100, log=True),
    "window": Integer(1, 8),
    "negative": Integer(1, 12, log=True),
    "ns_exponent": Real(-0.5, 1.0),
    "sample": Real(1e-5, 1e-2, log=True),
    "alpha": Real(0.005, 0.2, log=True),
    "epochs": Integer(2, 12, log=True),
    "min_count": Integer(1, 10),
}
"""Where the eight hyper-parameters are searched."""

RANDOM = Settings(smoothing=0.0)
"""Settings of random search, whose law stays uniform."""


@dataclass(frozen=True)
class Vectors:
    """What training leaves: words, ``[words, dim]`` twice, and counts ``[words]``."""

    words: tuple[str, ...]
    inputs: NDArray[np.float32]
    outputs: NDArray[np.float32]
    counts: NDArray[np.int64]


Train = Callable[[Sentences, Point, int], Vectors]


def train_word2vec(sentences: Sentences, config: Point, seed: int) -> Vectors:
    """Train our skip-gram with negative sampling, as :func:`train_gensim` does its."""
    model = Word2Vec(sentences, sg=1, hs=0, seed=seed, **config)
    assert model.noise_outputs is not None
    words = tuple(model.wv.index_to_key)
    return Vectors(words, model.wv.vectors, model.noise_outputs, model.counts)


def train_gensim(sentences: Sentences, config: Point, seed: int) -> Vectors:
    """Train gensim's skip-gram with negative sampling, on one thread.

    Args:
        sentences: lists of words.
        config: names of gensim -> values.
        seed: of the initial vectors and all draws.

    Raises:
        ImportError: gensim is not installed.
    """
    try:
        from gensim.models import Word2Vec as Gensim
    except ImportError as error:
        raise ImportError(
            "train_gensim needs gensim: pip install 'minitransformer[course]'"
        ) from error
    model = Gensim(sentences, sg=1, hs=0, workers=1, seed=seed, **config)
    words = tuple(model.wv.index_to_key)
    counts = np.array([model.wv.get_vecattr(word, "count") for word in words])
    return Vectors(words, model.wv.vectors, model.syn1neg, counts)


@dataclass(frozen=True)
class Questions:
    """Words of unseen text: which of the candidates was a neighbor?

    Attributes:
        words: ``[words]``, the vocabulary of the questions.
        counts: ``[words]``, how often they occur in the training text.
        centers: ``[questions]``, indices.
        candidates: ``[questions, 1 + noise]``, indices, the true neighbor first.
    """

    words: tuple[str, ...]
    counts: NDArray[np.int64]
    centers: NDArray[np.int64]
    candidates: NDArray[np.int64]


def ask_about(
    sentences: Sentences,
    trained_on: Sentences,
    *,
    rng: np.random.Generator,
    min_count: int = 10,
    window: int = 5,
    questions: int = 4000,
    noise: int = 20,
) -> Questions:
    """Make questions from unseen text.

    Args:
        sentences: the unseen text.
        trained_on: the text of which words are counted.
        rng: draws the questions and the noise.
        min_count: words that occur less often in training are left out beforehand; no
            setting that is compared may have a greater one.
        window: neighbors stand at most so far away.
        questions: how many.
        noise: wrong candidates each.

    Raises:
        ValueError: no two neighbors of the text are in the vocabulary.
    """
    seen = Counter(word for sentence in trained_on for word in sentence)
    words = sorted(
        (w for w, n in seen.items() if n >= min_count), key=lambda w: -seen[w]
    )
    number = {word: i for i, word in enumerate(words)}
    pairs = []
    for sentence in sentences:
        ids = [number[word] for word in sentence if word in number]
        for i, center in enumerate(ids):
            near = ids[max(0, i - window) : i] + ids[i + 1 : i + 1 + window]
            pairs += [(center, other) for other in near]
    if not pairs:
        raise ValueError(
            f"sentences has no two neighbors that occur {min_count} times in trained_on"
        )
    counts = np.array([seen[word] for word in words])
    chosen = np.array(pairs)[rng.integers(len(pairs), size=questions)]
    q = counts**0.75 / (counts**0.75).sum()
    wrong = rng.choice(len(words), size=(questions, noise), p=q)
    candidates = np.concatenate([chosen[:, 1:], wrong], axis=1)
    return Questions(tuple(words), counts, chosen[:, 0], candidates)


def held_out_loss(vectors: Vectors, questions: Questions) -> float:
    """Return the mean loss of the questions, in nats; ln(1 + noise) is that of chance.

    Args:
        vectors: what training left.
        questions: see :func:`ask_about`.

    Raises:
        ValueError: a word of the questions has no vector.
    """
    number = {word: i for i, word in enumerate(vectors.words)}
    missing = [word for word in questions.words if word not in number]
    if missing:
        raise ValueError(f"vectors has no {missing[0]!r}, a word of the questions")
    order = np.array([number[word] for word in questions.words])
    inputs = vectors.inputs[order].astype(float)[questions.centers]
    outputs = vectors.outputs[order].astype(float)[questions.candidates]
    dots = np.einsum("qd,qcd->qc", inputs, outputs)
    return calibrate(np.stack([dots, np.log(questions.counts)[questions.candidates]]))[
        0
    ]


def calibrate(features: ArrayLike) -> tuple[float, NDArray[np.float64]]:
    """Return the least loss of a softmax over candidates, and its weights.

    Newton's method on a convex loss; the first candidate is the true one.

    Args:
        features: ``[weights, questions, candidates]``; logits are their weighted sum.
    """
    x = np.asarray(features, dtype=float)
    x = x - x[:, :, :1]  # the true candidate has the logit 0
    scale = np.maximum(x.std(axis=(1, 2)), 1e-12)
    x /= scale[:, None, None]

    def judge(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = np.tensordot(weights, x, 1)
        top = logits.max(axis=1, keepdims=True)
        shares = np.exp(logits - top)
        total = shares.sum(axis=1, keepdims=True)
        return float((np.log(total) + top).mean()), shares / total

    weights = np.zeros(len(x))
    loss, shares = judge(weights)
    for _ in range(50):
        means = np.einsum("qc,wqc->wq", shares, x)
        slope = means.mean(axis=1)
        curve = np.einsum("qc,wqc,vqc->wv", shares, x, x) / x.shape[1]
        curve -= means @ means.T / x.shape[1]
        step = np.linalg.solve(curve + 1e-9 * np.eye(len(x)), slope)
        while (new := judge(weights - step))[0] > loss:
            step = step / 2
            if abs(step).max() < 1e-9:
                return loss, weights / scale
        weights, gained = weights - step, loss - new[0]
        loss, shares = new
        if gained < 1e-12:
            break
    return loss, weights / scale


def similarity(vectors: Vectors, pairs: Iterable[tuple[str, str, float]]) -> float:
    """Return Spearman's correlation of cosines with human scores, from -1 to 1.

    A pair with a word that has no vector has the cosine 0: else a vocabulary that drops
    the hard words would score better.

    Raises:
        ValueError: there are fewer than two pairs, or no differences to correlate.
    """
    pairs = list(pairs)
    if len(pairs) < 2:
        raise ValueError(f"pairs has {len(pairs)} entries, needs at least 2")
    number = {word: i for i, word in enumerate(vectors.words)}
    norms = np.linalg.norm(vectors.inputs, axis=1, keepdims=True)
    unit = vectors.inputs / np.where(norms > 0, norms, 1)
    cosines = [
        float(unit[number[a]] @ unit[number[b]]) if a in number and b in number else 0.0
        for a, b, _ in pairs
    ]
    scores = [score for *_, score in pairs]
    if len(set(cosines)) == 1 or len(set(scores)) == 1:
        raise ValueError("pairs has no differences to correlate: all are equal")
    return spearman(cosines, scores)


@dataclass(frozen=True)
class HeldOutLoss:
    """The objective: train with a setting, and return the loss on unseen text.

    What diverges has the value infinity. Call it with a point of :data:`SPACE`, or of a
    part of it; what is missing has its default.
    """

    sentences: Sentences
    questions: Questions
    train: Train = train_gensim
    seed: int = 1

    def __call__(self, config: Point) -> float:
        """Return the loss, in nats."""
        full = DEFAULTS | config
        vectors = self.train(self.sentences, full, self.seed)
        if not (
            np.isfinite(vectors.inputs).all() and np.isfinite(vectors.outputs).all()
        ):
            return math.inf
        return held_out_loss(vectors, self.questions)


_OBJECTIVES: list[Callable[[Point], float]] = []


def _remember(objective: Callable[[Point], float]) -> None:
    _OBJECTIVES[:] = [objective]


def _evaluate(config: Point) -> float:
    return _OBJECTIVES[0](config)


def tune(
    objective: Callable[[Point], float],
    space: dict[str, Parameter] = SPACE,
    *,
    evaluations: int,
    seconds: float = math.inf,
    settings: Settings | None = None,
    seed: int = 0,
    path: str | Path | None = None,
    workers: int = 1,
) -> State:
    """Minimize an objective of hyper-parameters, in parallel processes if wanted.

    Args:
        objective: such as :class:`HeldOutLoss`; what it holds is sent to each process
            once. It must be one that ``pickle`` can send.
        space: name -> parameter.
        evaluations: as in :func:`~minitransformer.embeddings.cross_entropy.minimize`,
            as are ``seconds``, ``seed`` and ``path``.
        seconds: after which no evaluation begins.
        settings: how to search; :data:`RANDOM` is random search.
        seed: of the search.
        path: a file to go on from.
        workers: processes; 1 is this one.

    Raises:
        ValueError: as :func:`~minitransformer.embeddings.cross_entropy.minimize`, or
            ``workers`` is below 1.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}, needs at least 1")
    options: dict[str, Any] = {
        "evaluations": evaluations,
        "seconds": seconds,
        "settings": settings,
        "seed": seed,
        "path": path,
    }
    if workers == 1:
        return minimize(objective, space, **options)
    with ProcessPoolExecutor(workers, None, _remember, (objective,)) as pool:
        return minimize(_evaluate, space, executor=pool, **options)
