"""Tune word2vec's eight hyper-parameters on Wikipedia articles: the full run.

Run ``python tests/benchmarks/bench_tuning.py FOLDER --workers 16``; it takes about an
hour of one core's time, shared by so many, goes on where it was stopped, and writes
``2_2_cross_entropy_method.json`` beside lesson 2.2, which plots it. Two parts:

- **wikipedia**: cross-entropy and random search over ``tuning.SPACE``, the same number
  of evaluations, several seeds; both begin with the same uniform round. The best of
  each by the loss on validation text is trained again with other seeds, and judged on
  test text and on human similarity scores, of which the search has seen nothing.
- **planted**: all of a grid on a small corpus with planted topics, so that the best
  setting is known and searches can be replayed by the hundred.

Each training has one thread: gensim repeats itself exactly then.
"""

import argparse
import datetime
import json
import math
import os
import platform
import re
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import gensim
import numpy as np
from tqdm import tqdm

from minitransformer import data
from minitransformer.embeddings import tuning
from minitransformer.embeddings.cross_entropy import Settings, State, minimize
from minitransformer.embeddings.search_space import Point

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "lessons" / "2_embeddings" / "2_2_cross_entropy_method.json"
CROSS_ENTROPY = Settings(population=10, elite=0.3, smoothing=0.7, injected=0.1, fade=5)
RANDOM = Settings(population=10, smoothing=0.0)
JUDGES = (101, 102)  # seeds of training that no search has used
GRID = {
    "window": (1, 2, 4, 8),
    "vector_size": (4, 8, 16, 32),
    "negative": (1, 3, 10),
    "alpha": (0.01, 0.03, 0.1, 0.3),
    "epochs": (5, 10, 20),
}


def sentences(lines: Sequence[str]) -> list[list[str]]:
    """Cut paragraphs into lower-case words."""
    cut = [re.findall(r"[a-z]+", line.lower()) for line in lines]
    return [words for words in cut if len(words) > 1]


def wikipedia() -> tuple[list[list[str]], tuning.Questions, tuning.Questions]:
    """Two paragraphs of three to train on, one in six each to validate and to test."""
    lines = [x for each in data.wikipedia_articles() for x in each.text.split("\n")]
    train = sentences([line for i, line in enumerate(lines) if i % 3 != 1])
    validation, test = (
        tuning.ask_about(sentences(lines[k::6]), train, rng=np.random.default_rng(k))
        for k in (1, 4)
    )
    return train, validation, test


def planted(seed: int = 0) -> list[list[str]]:
    """220 sentences of 12 words: of 6 topics one, its words with probability 0.38."""
    rng = np.random.default_rng(seed)
    text = []
    for _ in range(220):
        topic = rng.integers(6)
        of_topic = rng.random(12) < 0.38
        words = np.where(of_topic, 10 * topic + rng.integers(10, size=12), -1)
        words = np.where(words < 0, rng.integers(60, size=12), words)
        text.append([f"w{i}" for i in words])
    return text


def precision(vectors: tuning.Vectors) -> float:
    """The share of the five nearest words that are of the word's own topic."""
    topics = np.array([int(word[1:]) // 10 for word in vectors.words])
    unit = vectors.inputs / np.linalg.norm(vectors.inputs, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :5]
    return float((topics[nearest] == topics[:, None]).mean())


def run_planted() -> dict[str, Any]:
    """Every setting of the grid, and the defaults."""
    text = planted()
    rest = {"min_count": 1, "sample": 0.0}

    def score(config: Point) -> float:
        full = tuning.DEFAULTS | rest | config
        return round(precision(tuning.train_gensim(text, full, 1)), 6)

    settings = list(product(*GRID.values()))
    scores = [
        score(dict(zip(GRID, each, strict=True)))
        for each in tqdm(settings, "planted", file=sys.stdout)
    ]
    return {"grid": GRID, "scores": scores, "defaults": score({})}


OBJECTIVES: list[tuning.HeldOutLoss] = []


def begin() -> None:
    """Read the text and make the objective, once a process."""
    text, validation, _ = wikipedia()
    OBJECTIVES[:] = [tuning.HeldOutLoss(text, validation)]


def evaluate(config: Point) -> float:
    """The objective, in a process that has begun."""
    return OBJECTIVES[0](config)


def run_searches(
    folder: Path, options: argparse.Namespace, pool: Executor
) -> dict[tuple[str, int], State]:
    """Both searches with each seed, side by side."""
    methods = {"random": RANDOM, "cross-entropy": CROSS_ENTROPY}

    def run(search: tuple[str, int]) -> State:
        method, seed = search
        state = minimize(
            evaluate,
            tuning.SPACE,
            evaluations=options.evaluations,
            seconds=options.seconds,
            settings=methods[method],
            seed=seed,
            path=folder / f"{method}-{seed}.json",
            executor=pool,
        )
        print(method, seed, f"{state.best[1]:.4f}", flush=True)
        return state

    searches = [(name, seed) for seed in range(options.seeds) for name in methods]
    with ThreadPoolExecutor(len(searches)) as threads:
        return dict(zip(searches, threads.map(run, searches), strict=True))


def judge(
    config: Point,
    text: tuning.Sentences,
    test: tuning.Questions,
    pairs: Sequence[tuple[str, str, float]],
) -> dict[str, list[float]]:
    """Test loss and similarity of a setting, trained with seeds that are new."""
    trained = [tuning.train_gensim(text, tuning.DEFAULTS | config, s) for s in JUDGES]
    return {
        "loss": [round(tuning.held_out_loss(each, test), 6) for each in trained],
        "similarity": [round(tuning.similarity(each, pairs), 6) for each in trained],
    }


def frequency_alone(questions: tuning.Questions) -> float:
    """The loss that counts have without any dot product."""
    nothing = np.zeros((len(questions.words), 1), dtype=np.float32)
    vectors = tuning.Vectors(questions.words, nothing, nothing, questions.counts)
    return round(tuning.held_out_loss(vectors, questions), 6)


def run_wikipedia(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Both searches with all seeds; what their best settings and the defaults do."""
    text, validation, test = wikipedia()
    counts = Counter(word for each in text for word in each)
    pairs = [
        (a.lower(), b.lower(), score)
        for a, b, score in data.wordsim353()
        if min(counts[a.lower()], counts[b.lower()]) >= 2
    ]
    begin()
    with ProcessPoolExecutor(options.workers, get_context("spawn"), begin) as pool:
        searches = run_searches(folder, options, pool)
        judging = partial(judge, text=text, test=test, pairs=pairs)
        found = pool.map(judging, [state.best[0] for state in searches.values()])
        runs = [
            {
                "method": method,
                "seed": seed,
                "values": [round(v, 6) for _, v in state.seen],
                "best": state.best[0],
                "validation loss": state.best[1],
                "judged": judged,
            }
            for ((method, seed), state), judged in zip(
                searches.items(), found, strict=True
            )
        ]
    return {
        "words": sum(counts.values()),
        "pairs": len(pairs),
        "runs": runs,
        "defaults": {
            "validation loss": evaluate({}),
            "judged": judge({}, text, test, pairs),
        },
        "frequency alone": {
            "validation": frequency_alone(validation),
            "test": frequency_alone(test),
        },
    }


def main() -> None:
    """Run both parts and store the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "folder", type=Path, help="where the searches store their states"
    )
    parser.add_argument("--evaluations", type=int, default=60, help="a search")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--seconds", type=float, default=math.inf, help="a search")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    result = {
        "about": {
            "date": datetime.date.today().isoformat(),
            "machine": f"{platform.machine()} CPU, {os.cpu_count()} cores",
            "workers": options.workers,
            "python": platform.python_version(),
            "gensim": gensim.__version__,
            "numpy": np.__version__,
        },
        "wikipedia": run_wikipedia(options.folder, options),
        "planted": run_planted(),
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
