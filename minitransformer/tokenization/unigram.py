r"""The unigram model: tokens with probabilities, and the most probable segmentation.

Every token :math:`t` has a probability, a chunk of text cut into tokens the product of
theirs. Of all ways to cut a chunk :math:`w`, the most probable one is taken:

.. math:: \max_{t_1 \cdots t_k = w} \; \sum_i \ln p(t_i).

:func:`viterbi` finds it exactly, by dynamic programming over the places where the
chunk can be cut; among equals, the one whose last token is longest. :func:`em_step`
weighs all ways instead: it counts every token as often as it occurs on average, and
makes these counts the new probabilities, which never lowers the likelihood of the text.

Source: Kudo, arXiv:1804.10959. Tokens are bytes, as in byte-pair encoding; ids and the
file are those of the ``tokenizers`` package.
"""

import math
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from typing import Any, Self

import numpy as np

from minitransformer.tokenization.byte_level import (
    ByteLevelTokenizer,
    read_document,
    read_written,
    refuse,
    written,
)

LogProbs = Mapping[bytes, float]
DECIMALS = 10  # of a log probability; more do not survive every reader of the file


def segmentations(chunk: bytes, log_probs: LogProbs) -> list[list[bytes]]:
    """Return all ways to cut a chunk into known tokens: the definition, for short ones.

    Args:
        chunk: the bytes to cut.
        log_probs: token -> natural log of its probability.
    """
    if not chunk:
        return [[]]
    return [
        [chunk[:end], *rest]
        for end in range(1, len(chunk) + 1)
        if chunk[:end] in log_probs
        for rest in segmentations(chunk[end:], log_probs)
    ]


def longest(log_probs: LogProbs) -> int:
    """Return how many bytes the longest token has."""
    return max(map(len, log_probs), default=0)


def viterbi(
    chunk: bytes, log_probs: LogProbs, max_bytes: int | None = None
) -> list[bytes]:
    """Return the most probable way to cut a chunk.

    Args:
        chunk: the bytes to cut.
        log_probs: token -> natural log of its probability.
        max_bytes: length of the longest token, if it is known.

    Raises:
        ValueError: no sequence of tokens spells the chunk.
    """
    reach = longest(log_probs) if max_bytes is None else max_bytes
    best = [0.0] + [-math.inf] * len(chunk)
    begin = [0] * (len(chunk) + 1)
    for start in range(len(chunk)):
        if best[start] == -math.inf:
            continue
        for end in range(start + 1, min(start + reach, len(chunk)) + 1):
            log_prob = log_probs.get(chunk[start:end])
            if log_prob is not None and best[start] + log_prob > best[end]:
                best[end], begin[end] = best[start] + log_prob, start
    if best[-1] == -math.inf:
        raise ValueError(f"no sequence of tokens spells {chunk!r}")
    pieces, end = [], len(chunk)
    while end:
        pieces.append(chunk[begin[end] : end])
        end = begin[end]
    return pieces[::-1]


def edges(
    chunk: bytes, log_probs: LogProbs, max_bytes: int
) -> list[tuple[int, int, float]]:
    """Return the lattice of a chunk: (start, end, log probability), by start, end."""
    return [
        (start, end, log_probs[chunk[start:end]])
        for start in range(len(chunk))
        for end in range(start + 1, min(start + max_bytes, len(chunk)) + 1)
        if chunk[start:end] in log_probs
    ]


def forward(size: int, lattice: Sequence[tuple[int, int, float]]) -> list[float]:
    """Return ln of the summed probability of all ways to each place, ``[size + 1]``."""
    total = [0.0] + [-math.inf] * size
    for start, end, log_prob in lattice:
        if total[start] > -math.inf:
            total[end] = float(np.logaddexp(total[end], total[start] + log_prob))
    return total


def backward(size: int, lattice: Sequence[tuple[int, int, float]]) -> list[float]:
    """Return the same from each place to the end."""
    total = [-math.inf] * size + [0.0]
    for start, end, log_prob in reversed(lattice):
        if total[end] > -math.inf:
            total[start] = float(np.logaddexp(total[start], total[end] + log_prob))
    return total


def em_step(
    words: Mapping[bytes, int], log_probs: LogProbs
) -> tuple[dict[bytes, float], float]:
    """Estimate the probabilities anew, from all segmentations of all words.

    Args:
        words: chunk -> how often it occurs.
        log_probs: token -> natural log of its probability.

    Returns:
        The new log probabilities (tokens that occur nowhere are dropped), and the
        log-likelihood of the words under the *old* ones, in nats.

    Raises:
        ValueError: no sequence of tokens spells a word.
    """
    reach = longest(log_probs)
    expected: dict[bytes, float] = dict.fromkeys(log_probs, 0.0)
    likelihood = 0.0
    for word, count in words.items():
        lattice = edges(word, log_probs, reach)
        before, after = forward(len(word), lattice), backward(len(word), lattice)
        if before[-1] == -math.inf:
            raise ValueError(f"no sequence of tokens spells {word!r}")
        likelihood += count * before[-1]
        for start, end, log_prob in lattice:
            share = math.exp(before[start] + log_prob + after[end] - before[-1])
            expected[word[start:end]] += count * share
    total = sum(expected.values())
    kept = {t: math.log(n / total) for t, n in expected.items() if n > 0}
    return kept, likelihood


class Unigram(ByteLevelTokenizer):
    """A byte-level tokenizer that takes the most probable segmentation.

    >>> half = math.log(0.5)
    >>> bytes_too = {bytes([b]): -20.0 for b in range(256)}
    >>> Unigram(bytes_too | {b"be": half, b"bet": half}).encode("bet").tokens
    ['bet']
    """

    def __init__(
        self,
        log_probs: LogProbs,
        *,
        special_tokens: Sequence[str] = (),
        pretokenizer: str = "gpt2",
    ) -> None:
        """Set up a tokenizer from its tokens.

        Args:
            log_probs: token -> natural log of its probability, kept to ten decimals;
                ids follow its order, after the special tokens.
            special_tokens: take the first ids.
            pretokenizer: a style of :mod:`minitransformer.tokenization.pretokenize`.

        Raises:
            ValueError: a byte is missing, or a log probability is not finite or above
                zero.
        """
        for token, log_prob in log_probs.items():
            if not -math.inf < log_prob <= 0:
                raise ValueError(f"log probability of {token!r} is {log_prob}")
        tokens = [*special_tokens, *map(written, log_probs)]
        vocab = {token: i for i, token in enumerate(tokens)}
        super().__init__(
            vocab, special_tokens=special_tokens, pretokenizer=pretokenizer
        )
        self._log_probs = {t: round(float(p), DECIMALS) for t, p in log_probs.items()}
        self._reach = longest(log_probs)
        self._id_of = {
            self._bytes[i]: i for i in range(len(special_tokens), len(vocab))
        }

    @property
    def log_probs(self) -> dict[bytes, float]:
        """Token -> natural log of its probability; a copy."""
        return dict(self._log_probs)

    def encode_chunk(self, chunk: str) -> list[int]:
        """Return the ids of the most probable segmentation of one chunk."""
        data = chunk.encode("utf-8", "surrogatepass")
        return [self._id_of[t] for t in viterbi(data, self._log_probs, self._reach)]

    def _chunks_of(self, text: str) -> list[bytes]:
        return [c.encode("utf-8", "surrogatepass") for c in self._chunks(text)]

    def log_prob(self, text: str) -> float:
        """Return ln of the probability of a text's best segmentation, in nats."""
        best = (viterbi(c, self._log_probs, self._reach) for c in self._chunks_of(text))
        return math.fsum(self._log_probs[token] for cut in best for token in cut)

    def nbest(self, chunk: str, n: int) -> list[tuple[list[int], float]]:
        """Return the ``n`` most probable segmentations of one chunk, best first.

        Args:
            chunk: text without special tokens; it is not pre-tokenized.
            n: how many; fewer come back if there are no more.

        Returns:
            (ids, ln of the probability) of each.

        Raises:
            ValueError: ``n`` is below 1.
        """
        if n < 1:
            raise ValueError(f"n is {n}, needs to be at least 1")
        data = chunk.encode("utf-8", "surrogatepass")
        lattice = edges(data, self._log_probs, self._reach)
        to_go = [-math.inf] * len(data) + [0.0]
        for start, end, log_prob in reversed(lattice):
            to_go[start] = max(to_go[start], log_prob + to_go[end])
        steps: list[list[tuple[int, float]]] = [[] for _ in data]
        for start, end, log_prob in lattice:
            steps[start].append((end, log_prob))
        found: list[tuple[list[int], float]] = []
        open_paths: list[tuple[float, float, int, list[int]]] = [
            (-to_go[0], 0.0, 0, [])
        ]
        while open_paths and len(found) < n:
            _, so_far, place, ids = heappop(open_paths)
            if place == len(data):
                found.append((ids, so_far))
                continue
            for end, log_prob in steps[place]:
                new = so_far + log_prob
                path = [*ids, self._id_of[data[place:end]]]
                heappush(open_paths, (-new - to_go[end], new, end, path))
        return sorted(found, key=lambda each: -each[1])  # rounding may have swapped two

    def sample(
        self, text: str, rng: np.random.Generator, temperature: float = 1.0
    ) -> list[int]:
        """Draw one segmentation of a text, with its probability.

        Args:
            text: text without special tokens.
            rng: where the randomness comes from.
            temperature: above 1 evens the segmentations out, towards 0 only the best
                one is drawn.

        Raises:
            ValueError: ``temperature`` is not above 0.
        """
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature}, needs to be above 0")
        ids: list[int] = []
        for chunk in self._chunks_of(text):
            lattice = [
                (start, end, log_prob / temperature)
                for start, end, log_prob in edges(chunk, self._log_probs, self._reach)
            ]
            total = forward(len(chunk), lattice)
            into: list[list[tuple[int, float]]] = [[] for _ in range(len(chunk) + 1)]
            for start, end, log_prob in lattice:
                into[end].append(
                    (start, math.exp(total[start] + log_prob - total[end]))
                )
            drawn, end = [], len(chunk)
            while end:
                starts, shares = zip(*into[end], strict=True)
                start = int(rng.choice(starts, p=np.array(shares) / sum(shares)))
                drawn.append(self._id_of[chunk[start:end]])
                end = start
            ids += drawn[::-1]
        return ids

    def to_dict(self) -> dict[str, Any]:
        """Return what ``save`` writes: the JSON of the ``tokenizers`` package."""
        pieces: list[list[Any]] = [[token, 0.0] for token in self._special]
        pieces += [[written(token), p] for token, p in self._log_probs.items()]
        model = {"type": "Unigram", "unk_id": None, "vocab": pieces}
        return self._document({**model, "byte_fallback": False})

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Build a tokenizer from what :meth:`to_dict` returns.

        Raises:
            ValueError: a part is missing, or asks for something that a byte-level
                unigram model does not do (the message names it).
        """
        model, special, pretokenizer = read_document(state, "Unigram")
        refuse(model, "model.", "unk_id", "byte_fallback")
        pieces = model.get("vocab")
        if not isinstance(pieces, list) or not all(
            isinstance(entry, list)
            and len(entry) == 2
            and isinstance(entry[0], str)
            and isinstance(entry[1], (int, float))
            for entry in pieces
        ):
            raise ValueError("model.vocab needs pairs of a token and a number")
        if [token for token, _ in pieces[: len(special)]] != list(special):
            raise ValueError("added_tokens need to be the first of model.vocab")
        learned = pieces[len(special) :]
        if len({token for token, _ in pieces}) < len(pieces):
            raise ValueError("model.vocab holds a token twice")
        return cls(
            {read_written(token): log_prob for token, log_prob in learned},
            special_tokens=list(special),
            pretokenizer=pretokenizer,
        )
