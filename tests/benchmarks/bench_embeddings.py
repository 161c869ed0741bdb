"""word2vec beside gensim: quality over seeds, and words a second.

Run ``python tests/benchmarks/bench_embeddings.py``; expect tens of minutes. With
names (``speed``, ``wikipedia``, ``lee``, ``planted``) it does only those parts. Both
sides get the same sentences, settings and seeds, on one thread, in this process.
Seconds are those of the processor, so that other programs on the machine count little,
and the two take turns. Nothing is measured while the tests of ``embeddings`` fail.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when numpy is imported
os.environ["OMP_NUM_THREADS"] = "1"

import platform
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import gensim
import numpy as np
import torch
from timing import best_of, refuse_while_red

from minitransformer import data
from minitransformer.embeddings.keyed_vectors import KeyedVectors
from minitransformer.embeddings.word2vec import Word2Vec

SEEDS = range(1, 6)
ROUNDS = 3
MODES = {
    "skip-gram, negative sampling": {"sg": 1, "hs": 0, "negative": 5},
    "skip-gram, hierarchical softmax": {"sg": 1, "hs": 1, "negative": 0},
    "CBOW, negative sampling": {"sg": 0, "hs": 0, "negative": 5},
    "CBOW, hierarchical softmax": {"sg": 0, "hs": 1, "negative": 0},
}
WORD_PAIRS = {"wordsim353": data.wordsim353(), "simlex999": data.simlex999()}

Sentences = list[list[str]]


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


def compare(
    corpus: str,
    sentences: Sentences,
    judges: dict[str, Callable[[KeyedVectors], float]],
    **settings: Any,
) -> None:
    """Print mean and spread over the seeds, ours beside gensim's."""
    chosen = ", ".join(f"{name} {value}" for name, value in settings.items())
    words = sum(map(len, sentences))
    print(f"\n{corpus}: {words} words, {chosen}, else the defaults, {len(SEEDS)} seeds")
    for mode, switches in MODES.items():
        scores = np.zeros((2, len(SEEDS), len(judges)))
        for side, train in enumerate((ours, theirs)):
            for i, seed in enumerate(SEEDS):
                wv = train(sentences, seed=seed, **switches, **settings)
                scores[side, i] = [judge(wv) for judge in judges.values()]
        mean, spread = scores.mean(axis=1), scores.std(axis=1, ddof=1)
        for j, name in enumerate(judges):
            print(
                f"  {mode}, {name}: ours {mean[0, j]:.3f} (sd {spread[0, j]:.3f}), "
                f"gensim {mean[1, j]:.3f} (sd {spread[1, j]:.3f})",
                flush=True,
            )


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
    refuse_while_red("embeddings")
    print(
        f"Python {platform.python_version()}, numpy {np.__version__}, "
        f"torch {torch.__version__}, gensim {gensim.__version__}, "
        f"{platform.machine()}, one thread"
    )
    parts = sys.argv[1:] or ["speed", "wikipedia", "lee", "planted"]
    people = {name: spearman(name) for name in WORD_PAIRS}
    if "speed" in parts:
        compare_speed(wikipedia())
    if "wikipedia" in parts:
        compare("wikipedia", wikipedia(), people, epochs=5)
    if "lee" in parts:
        compare("lee", lee(), people, epochs=20)
    if "planted" in parts:
        planted = data.planted_analogies().sentences
        judge = {"planted analogies": analogies}
        compare("planted", planted, judge, vector_size=30, sample=0, epochs=10)


if __name__ == "__main__":
    main()
