"""word2vec beside gensim: quality over seeds, and words a second.

Run ``python tests/benchmarks/bench_embeddings.py``; expect tens of minutes. With
names (``speed``, ``wikipedia``, ``lee``, ``planted``) it does only those parts, with
``--workers 2`` it compares quality in two processes. Both sides get the same sentences,
settings and seeds, each on one thread. Seconds are those of the processor, so that
other programs on the machine count little, and the two take turns. Nothing is measured
while the tests of ``embeddings`` fail.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when numpy is imported
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import platform
import re
import time
from collections.abc import Callable, Sequence
from itertools import product
from multiprocessing import get_context
from typing import Any, NamedTuple

import gensim
import numpy as np
import torch
from timing import best_of, refuse_while_red

from minitransformer import data
from minitransformer.embeddings.keyed_vectors import KeyedVectors
from minitransformer.embeddings.word2vec import Word2Vec

SEEDS = range(1, 11)
ROUNDS = 3
MODES = {
    "skip-gram, negative sampling": {"sg": 1, "hs": 0, "negative": 5},
    "skip-gram, hierarchical softmax": {"sg": 1, "hs": 1, "negative": 0},
    "CBOW, negative sampling": {"sg": 0, "hs": 0, "negative": 5},
    "CBOW, hierarchical softmax": {"sg": 0, "hs": 1, "negative": 0},
}
WORD_PAIRS = {"wordsim353": data.wordsim353(), "simlex999": data.simlex999()}

Sentences = list[list[str]]


class Corpus(NamedTuple):
    """A text, the settings it is learned with, and who judges the vectors."""

    text: Callable[[], Sentences]
    settings: dict[str, Any]
    judges: dict[str, Callable[[KeyedVectors], float]]


def wikipedia() -> Sentences:
    """Return the paragraphs of the articles as lower-case words."""
    lines = (line for _, text in data.wikipedia_articles() for line in text.split("\n"))
    return [re.findall("[a-z]+", line.lower()) for line in lines]


def lee() -> Sentences:
    """Return the news items as lower-case words."""
    return [re.findall("[a-z]+", text.lower()) for text in data.lee_corpus()]


def ours(sentences: Sentences, **settings: Any) -> KeyedVectors:
    """Train with this package."""
    return Word2Vec(sentences, **settings).wv


def theirs(sentences: Sentences, **settings: Any) -> KeyedVectors:
    """Train with gensim; the vectors come back as ours, so that one judge judges."""
    model = gensim.models.Word2Vec(sentences, workers=1, **settings)
    return KeyedVectors(model.wv.index_to_key, model.wv.vectors)


def spearman(name: str) -> Callable[[KeyedVectors], float]:
    """Return the judge for a set of word pairs."""
    return lambda wv: wv.evaluate_word_pairs(WORD_PAIRS[name]).spearman


def analogies(wv: KeyedVectors) -> float:
    """Return the share of the planted analogies that come out right."""
    questions = data.planted_analogies().questions
    right, asked = wv.evaluate_word_analogies({"": questions})[""]
    return right / asked


PEOPLE = {name: spearman(name) for name in WORD_PAIRS}
CORPORA = {
    "wikipedia": Corpus(wikipedia, {"epochs": 5}, PEOPLE),
    "lee": Corpus(lee, {"epochs": 20}, PEOPLE),
    "planted": Corpus(
        lambda: data.planted_analogies().sentences,
        {"vector_size": 30, "sample": 0, "epochs": 10},
        {"planted analogies": analogies},
    ),
}
SIDES = {"ours": ours, "gensim": theirs}


def judged(job: tuple[str, str, str, int]) -> list[float]:
    """Train and judge once: corpus, mode, side and seed."""
    torch.set_num_threads(1)
    name, mode, side, seed = job
    corpus = CORPORA[name]
    wv = SIDES[side](corpus.text(), seed=seed, **MODES[mode], **corpus.settings)
    return [judge(wv) for judge in corpus.judges.values()]


def compare_quality(corpora: Sequence[str], workers: int = 1) -> None:
    """Print mean and spread over the seeds, ours beside gensim's, in processes."""
    rows = list(product(corpora, MODES, SIDES))
    jobs = [(*row, seed) for row in rows for seed in SEEDS]
    with get_context("spawn").Pool(workers) as pool:
        scores = iter(pool.map(judged, jobs, 1))
    for name, mode, side in rows:
        found = np.array([next(scores) for _ in SEEDS]).T
        said = [
            f"{judge} {x.mean():.3f} (sd {x.std(ddof=1):.3f})"
            for judge, x in zip(CORPORA[name].judges, found, strict=True)
        ]
        print(f"{name}, {mode}, {side}: {', '.join(said)}")


def compare_speed(sentences: Sentences) -> None:
    """Print words a second, those that sub-sampling drops included."""
    words = sum(map(len, sentences))
    print(f"\nspeed: {words} words, one epoch, best of {ROUNDS}")
    for mode, switches in MODES.items():
        our_time, their_time = best_of(
            ROUNDS,
            lambda switches=switches: ours(sentences, epochs=1, **switches),
            lambda switches=switches: theirs(sentences, epochs=1, **switches),
            clock=time.process_time,
        )
        print(
            f"  {mode}: ours {words / our_time:,.0f} words/s, "
            f"gensim {words / their_time:,.0f}: "
            f"{their_time / our_time:.2f} times as fast (wanted: 0.2, aim: 0.5)",
            flush=True,
        )


def main() -> None:
    """Check, then measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["speed", *CORPORA])
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    refuse_while_red("embeddings")
    print(
        f"Python {platform.python_version()}, numpy {np.__version__}, "
        f"torch {torch.__version__}, gensim {gensim.__version__}, "
        f"{platform.machine()}, one thread"
    )
    if "speed" in args.parts:
        compare_speed(wikipedia())
    if corpora := [name for name in CORPORA if name in args.parts]:
        compare_quality(corpora, args.workers)


if __name__ == "__main__":
    main()
