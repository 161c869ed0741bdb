"""Byte-pair encoding beside the ``tokenizers`` package and the textbook loop.

Run ``python tests/benchmarks/bench_tokenization.py``. Everything runs on one thread and
in this process; ours and theirs take turns, and the best of several rounds counts, so
the ratios mean something on a busy machine too. Nothing is timed while the tests of
``tokenization`` fail.
"""

import os

os.environ["RAYON_NUM_THREADS"] = "1"  # read when tokenizers is imported
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import math
import platform
from collections import Counter
from typing import Any

import numpy as np
import tokenizers
from timing import best_of, refuse_while_red, seconds

from minitransformer import data
from minitransformer.tokenization import merges, pretokenize
from minitransformer.tokenization.bpe import BPE
from minitransformer.tokenization.swe import SWE, log_likelihood
from minitransformer.tokenization.unigram import Unigram
from minitransformer.tokenization.wordpiece import WordPiece

VOCAB_SIZE = 8192
ROUNDS = 5
NAIVE_ARTICLES, NAIVE_TOKENS = 5, 600  # where the textbook loop takes about 10 s


def train_theirs(texts: list[str]) -> tokenizers.Tokenizer:
    """Train byte-level BPE with the ``tokenizers`` package."""
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    byte_level = tokenizers.pre_tokenizers.ByteLevel
    theirs.pre_tokenizer = byte_level(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        initial_alphabet=byte_level.alphabet(),
        show_progress=False,
    )
    theirs.train_from_iterator(texts, trainer)
    return theirs


def compare_training(texts: list[str]) -> None:
    """Train on all texts, ours and theirs in turns."""
    ours, theirs = best_of(
        ROUNDS,
        lambda: BPE.train_from_iterator(texts, vocab_size=VOCAB_SIZE),
        lambda: train_theirs(texts),
    )
    print(f"training: ours {ours:.2f} s, tokenizers {theirs:.2f} s")
    print(f"  ours takes {ours / theirs:.2f} times as long (wanted: below 2, aim: 1)")


def compare_encoding(texts: list[str]) -> None:
    """Encode all texts with new tokenizers, so that no word is remembered."""
    ours = BPE.train_from_iterator(texts, vocab_size=VOCAB_SIZE)
    state = ours.to_dict()
    theirs = train_theirs(texts).to_str()
    fresh = [BPE.from_dict(state) for _ in range(ROUNDS)]
    fresh_theirs = [tokenizers.Tokenizer.from_str(theirs) for _ in range(ROUNDS)]
    for text in texts:
        assert ours.encode(text).ids == fresh_theirs[0].encode(text).ids
    fresh_theirs[0] = tokenizers.Tokenizer.from_str(theirs)

    def encode_all(new: list) -> None:
        encode = new.pop().encode
        for text in texts:
            encode(text)

    our_time, their_time = best_of(
        ROUNDS, lambda: encode_all(fresh), lambda: encode_all(fresh_theirs)
    )
    warm_time, _ = best_of(ROUNDS, lambda: encode_all([ours]), lambda: None)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    print(
        f"encoding: ours {megabytes / our_time:.2f} MB/s, "
        f"tokenizers {megabytes / their_time:.2f} MB/s"
    )
    print(f"  ours is {their_time / our_time:.2f} times as fast (wanted: 1, aim: 1.5)")
    print(f"  ours with all words remembered: {megabytes / warm_time:.2f} MB/s")


def compare_other_trainers(texts: list[str]) -> None:
    """Train Unigram and WordPiece, ours and theirs in turns; compare what they cost."""
    byte_level = tokenizers.pre_tokenizers.ByteLevel
    options = {
        "vocab_size": VOCAB_SIZE,
        "initial_alphabet": byte_level.alphabet(),
        "special_tokens": ["[UNK]"],
        "show_progress": False,
    }
    for ours, model, trainer in (
        (
            Unigram,
            tokenizers.models.Unigram(),
            tokenizers.trainers.UnigramTrainer(unk_token="[UNK]", **options),
        ),
        (
            WordPiece,
            tokenizers.models.WordPiece(unk_token="[UNK]"),
            tokenizers.trainers.WordPieceTrainer(**options),
        ),
    ):
        theirs = tokenizers.Tokenizer(model)
        theirs.pre_tokenizer = byte_level(add_prefix_space=False)
        our_time, their_time = best_of(
            2,
            lambda ours=ours: ours.train_from_iterator(texts, vocab_size=VOCAB_SIZE),
            lambda t=theirs, trainer=trainer: t.train_from_iterator(texts, trainer),
        )
        print(f"{ours.__name__}: ours {our_time:.2f} s, tokenizers {their_time:.2f} s")
        print(f"  {our_time / their_time:.2f} times as long (wanted: below 5)")
        trained = ours.train_from_iterator(texts, vocab_size=VOCAB_SIZE)
        print(f"  bits a byte: ours {cost(trained, texts):.3f}", end=", ")
        print(f"tokenizers {cost(theirs, texts):.3f}")


def cost(tokenizer: Any, texts: list[str]) -> float:
    """Return the bits a byte that the tokens cost under their own frequencies."""
    counts = Counter(i for text in texts for i in tokenizer.encode(text).ids)
    size = sum(len(text.encode()) for text in texts)
    return -log_likelihood(counts.values()) / math.log(2) / size


def compare_likelihood(texts: list[str]) -> None:
    """Train by likelihood and by counts, in turns."""
    by_likelihood, by_counts = best_of(
        2,
        lambda: SWE.train_from_iterator(texts, vocab_size=VOCAB_SIZE),
        lambda: BPE.train_from_iterator(texts, vocab_size=VOCAB_SIZE),
    )
    print(f"training by likelihood: {by_likelihood:.2f} s, by counts {by_counts:.2f} s")
    print(f"  it takes {by_likelihood / by_counts:.2f} times as long (wanted: below 4)")


def compare_with_the_definition(texts: list[str]) -> None:
    """Learn the same merges by the fast trainer and by the textbook loop."""
    chunks = Counter(c for text in texts for c in pretokenize.split(text))
    words = {chunk.encode(): count for chunk, count in chunks.items()}
    naive = seconds(lambda: merges.naive_learn(words, NAIVE_TOKENS))
    (fast,) = best_of(ROUNDS, lambda: merges.learn(words, NAIVE_TOKENS))
    print(
        f"textbook loop, {len(words)} different words, {NAIVE_TOKENS} tokens: "
        f"{naive:.1f} s, fast trainer {fast:.3f} s"
    )
    print(f"  the fast trainer is {naive / fast:.0f} times as fast (wanted: 100)")


def main() -> None:
    """Check, then measure."""
    refuse_while_red("tokenization")
    print(
        f"Python {platform.python_version()}, numpy {np.__version__}, "
        f"tokenizers {tokenizers.__version__}, {platform.machine()}, one thread"
    )
    texts = [article.text for article in data.wikipedia_articles()]
    print(f"{len(texts)} articles, {sum(map(len, texts))} characters, best of {ROUNDS}")
    compare_training(texts)
    compare_encoding(texts)
    compare_likelihood(texts)
    compare_other_trainers(texts)
    compare_with_the_definition(texts[:NAIVE_ARTICLES])


if __name__ == "__main__":
    main()
