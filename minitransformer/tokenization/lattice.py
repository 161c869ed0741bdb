r"""All ways to cut a chunk into tokens: the best one, and sums over all of them.

A chunk of ``n`` bytes has the places 0 to ``n``; a token that spells the bytes from one
place to another is an edge between them, and a way to cut the chunk a path from 0 to
``n``. With a probability for every token, a path has the product of its tokens':
:func:`viterbi` finds the most probable path, :func:`forward` and :func:`backward` sum
over all paths, and :func:`em_step` counts every token as often as it occurs on average.

Source: Kudo, arXiv:1804.10959, for paths as segmentations.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

LogProbs = Mapping[bytes, float]


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


class Lattices:
    """The lattices of all words, in arrays: what :func:`em_step` needs, all at once.

    Probabilities are multiplied as they are, not as logarithms, so words should have no
    more than some fifty bytes.
    """

    def __init__(self, words: Mapping[bytes, int], tokens: Sequence[bytes]) -> None:
        """Find the edges: every place of every word where a token stands."""
        index = {token: i for i, token in enumerate(tokens)}
        reach = max(map(len, tokens))
        rows: list[tuple[int, int, int]] = []
        firsts: list[int] = []
        first = 0
        for word in words:
            for start in range(len(word)):
                for end in range(start + 1, min(start + reach, len(word)) + 1):
                    token = index.get(word[start:end])
                    if token is not None:
                        rows.append((first + start, first + end, token))
            firsts.append(first)
            first += len(word) + 1
        self.places = first
        self.first = np.array(firsts, dtype=np.int64)
        self.sizes = np.array([len(word) for word in words], dtype=np.int64)
        self.weights = np.fromiter(words.values(), float, len(words))
        table = np.array(rows, dtype=np.int64).reshape(-1, 3)
        begin = np.repeat(self.first, self.sizes + 1)
        self.depth = np.arange(self.places) - begin  # of each place, in its word
        self._by_end = self._levels(table, table[:, 1])
        self._by_start = self._levels(table, table[:, 0])[::-1]

    def _levels(self, table: np.ndarray, places: np.ndarray) -> list[np.ndarray]:
        """Group edges by the depth of one of their ends."""
        depth = self.depth[places]
        order = np.argsort(depth, kind="stable")
        return np.split(table[order], np.flatnonzero(np.diff(depth[order])) + 1)

    def expected(self, log_probs: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the expected count of each token, and the log-likelihood.

        Args:
            log_probs: natural log of each token's probability, ``[tokens]``.
        """
        probs = np.exp(log_probs)
        before, after = np.zeros(self.places), np.zeros(self.places)
        last = self.first + self.sizes
        before[self.first], after[last] = 1.0, 1.0
        for level in self._by_end:
            start, end, token = level.T
            np.add.at(before, end, before[start] * probs[token])
        for level in self._by_start:
            start, end, token = level.T
            np.add.at(after, start, after[end] * probs[token])
        totals = before[last]
        share = np.repeat(self.weights / totals, self.sizes + 1)
        counts = np.zeros(len(probs))
        for level in self._by_end:
            start, end, token = level.T
            weight = before[start] * probs[token] * after[end] * share[start]
            np.add.at(counts, token, weight)
        return counts, float(self.weights @ np.log(totals))
