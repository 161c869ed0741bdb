"""What trainers keep up to date whose scores hang on the counts of single tokens.

Byte-pair encoding scores a pair by its own count alone. A likelihood also asks how
often each of the two tokens occurs, so a merge changes the scores of all pairs that
hold one of its tokens. :class:`Text` holds the text and what can be merged in it,
:class:`Scores` the score of every merge; :class:`Gains` is the score of
:mod:`minitransformer.tokenization.swe`, where the formula is.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping
from itertools import chain

import numpy as np

from minitransformer.tokenization.byte_level import BYTES_IN_ORDER
from minitransformer.tokenization.merges import Pair

_SEPARATOR, _MERGED = -1, -2


class Text:
    """All chunks as one linked list of tokens, with an index of their pairs.

    ``counts`` says how often a pair can be merged: pairs of one token twice do not
    overlap, a run of ``r`` equal tokens holds ``r // 2``.
    """

    def __init__(self, words: Mapping[bytes, int], inside: int = 0) -> None:
        """Lay the chunks out, byte by byte.

        Args:
            words: chunk -> how often it occurs.
            inside: what is added to the id of every byte but the first of a chunk.
        """
        id_of = {byte: i for i, byte in enumerate(BYTES_IN_ORDER)}
        self.tokens = [_SEPARATOR]
        self.weights = [0]
        for word, count in words.items():
            ids = [id_of[byte] + inside for byte in word]
            ids[:1] = [i - inside for i in ids[:1]]
            self.tokens += [*ids, _SEPARATOR]
            self.weights += [count] * (len(word) + 1)
        self.next = list(range(1, len(self.tokens) + 1))
        self.previous = list(range(-1, len(self.tokens) - 1))
        self.counts: dict[Pair, int] = defaultdict(int)
        self.places: dict[Pair, list[int]] = defaultdict(list)
        run = 0
        for i in range(1, len(self.tokens) - 1):
            left, right = self.tokens[i], self.tokens[i + 1]
            run = run + 1 if left == self.tokens[i - 1] else 1
            if left >= 0 and right >= 0:
                self.places[left, right].append(i)
                if left != right or run % 2:
                    self.counts[left, right] += self.weights[i]

    def token_counts(self, num_tokens: int) -> np.ndarray:
        """Return how often each token occurs, ``[num_tokens]``."""
        tokens, weights = np.array(self.tokens), np.array(self.weights)
        inside = tokens >= 0
        found = np.bincount(tokens[inside], weights[inside], minlength=num_tokens)
        return found.astype(np.int64)

    def _run(self, place: int, step: list[int], token: int) -> int:
        """Return how many times ``token`` stands from ``place`` on, one way."""
        length = 0
        while self.tokens[place] == token:
            length += 1
            place = step[place]
        return length

    def merge(self, pair: Pair, new_id: int) -> tuple[int, set[Pair]]:
        """Merge one pair everywhere, from left to right.

        Returns:
            How often it was merged, and the pairs whose count has changed.
        """
        tokens, after, before = self.tokens, self.next, self.previous
        counts, places = self.counts, self.places
        left, right = pair
        merged, last, last_run = 0, -1, 0
        changed = {pair}
        for i in sorted(places.pop(pair)):
            j = after[i]
            if tokens[i] != left or tokens[j] != right:
                continue
            weight, h, k = self.weights[i], before[i], after[j]
            a, b = tokens[h], tokens[k]
            merged += weight
            # An even run of equal tokens that loses one loses a merge.
            if a >= 0 and (a != left or (a != right and self._run(h, before, a) % 2)):
                counts[gone := (a, left)] -= weight
                changed.add(gone)
            if b >= 0 and (b != right or (b != left and self._run(k, after, b) % 2)):
                counts[gone := (right, b)] -= weight
                changed.add(gone)
            tokens[i], tokens[j] = new_id, _MERGED
            after[i], before[k] = k, i
            run_before = run_after = 0
            if a >= 0:
                places[new := (a, new_id)].append(h)
                changed.add(new)
                if a == new_id:
                    run_before = last_run if h == last else self._run(h, before, a)
                else:
                    counts[new] += weight
            if b >= 0:
                places[new := (new_id, b)].append(i)
                changed.add(new)
                if b == new_id:
                    run_after = self._run(k, after, b)
                else:
                    counts[new] += weight
            if run_before or run_after:
                whole = (run_before + 1 + run_after) // 2
                more = whole - run_before // 2 - run_after // 2
                counts[new_id, new_id] += more * weight
            last, last_run = i, run_before + 1
        counts.pop(pair, None)
        return merged, changed


class Scores(ABC):
    """The score of every merge, in arrays with a row a pair."""

    def __init__(self, num_tokens: int, text: Text) -> None:
        """Set up for a text whose pairs are still to be added.

        Args:
            num_tokens: tokens there can be.
            text: where the counts come from.
        """
        self.counts = text.token_counts(num_tokens + 1)  # the last stays 0: no token
        self.total = int(self.counts.sum())
        self.pairs: list[Pair] = []
        self._row: dict[Pair, int] = {}
        self._rows_of: dict[int, list[int]] = defaultdict(list)
        self._left, self._right, self._into, self._times = np.zeros((4, 1024), np.int64)
        self._bound = np.zeros(1024)

    def add(self, pair: Pair, into: int) -> None:
        """Make a row for a pair, if it has none.

        Args:
            pair: two tokens.
            into: the token that spells the two, -1 if there is none yet.
        """
        if pair in self._row:
            return
        row = len(self.pairs)
        if row == len(self._bound):
            for name in ("_left", "_right", "_into", "_times", "_bound"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.zeros_like(old)]))
        self._row[pair] = row
        self.pairs.append(pair)
        self._left[row], self._right[row] = pair
        self._into[row], self._bound[row] = into, -np.inf
        for token in {*pair, into} - {-1}:
            self._rows_of[token].append(row)

    def set_times(self, pair: Pair, times: int) -> None:
        """Note how often a pair can be merged."""
        self._times[self._row[pair]] = times

    def leads_to(self, pair: tuple[int | None, int | None], token: int) -> None:
        """Note that a pair, if there is such a row, spells a token that is new."""
        if (row := self._row.get(pair)) is not None:  # type: ignore[arg-type]
            self._into[row] = token
            self._rows_of[token].append(row)

    @abstractmethod
    def value(
        self, left: np.ndarray, right: np.ndarray, into: np.ndarray, times: np.ndarray
    ) -> np.ndarray:
        """Return the scores ``[rows]`` of some merges.

        Args:
            left: the left tokens, ``[rows]``.
            right: the right tokens.
            into: what the two spell, -1 where that is no token yet.
            times: how often they can be merged.
        """

    def refresh(self, rows: np.ndarray) -> np.ndarray:
        """Compute the scores of ``rows [n]``, note them and return them, ``[n]``."""
        columns = (self._left, self._right, self._into, self._times)
        left, right, into, times = (column[rows] for column in columns)
        score = self.value(left, right, into, times)
        score[times <= 0] = -np.inf
        self._bound[rows] = score
        return score

    def best(self, least: float, almost: float) -> Pair | None:
        """Return the pair of greatest score, None if no score is above ``least``.

        Scores that differ by a share of ``almost`` are equal; the smaller pair wins.
        """
        if not self.pairs:
            return None
        bound = self._bound[: len(self.pairs)]
        (exact,) = self.refresh(np.array([np.argmax(bound)]))
        if not exact > -np.inf:
            return None
        rows = np.flatnonzero(bound >= exact - almost * abs(exact))
        scores = self.refresh(rows)
        top = scores.max()
        if top <= least:
            return None
        return min(self.pairs[row] for row in rows[scores >= top - almost * top])

    def merged(self, pair: Pair, new_id: int, times: int) -> None:
        """Move the counts of a merge, and compute the scores that it changes."""
        for token in pair:
            self.counts[token] -= times
        self.counts[new_id] += times
        self.total -= times
        rows = [self._rows_of[token] for token in {*pair, new_id}]
        self.refresh(np.array(list(chain.from_iterable(rows)), dtype=np.int64))


class Gains(Scores):
    """By how much each merge raises the log-likelihood, in nats."""

    def __init__(self, num_tokens: int, text: Text) -> None:
        """Tabulate n ln n for all counts there can be; see :class:`Scores`."""
        super().__init__(num_tokens, text)
        n = np.arange(self.total + 1, dtype=np.float64)
        self._phi = n * np.log(np.maximum(n, 1))

    def value(
        self, left: np.ndarray, right: np.ndarray, into: np.ndarray, times: np.ndarray
    ) -> np.ndarray:
        """Return the gains of some merges, in nats."""
        phi, counts = self._phi, self.counts
        c_left, c_right, c_both = counts[left], counts[right], counts[into]
        same = left == right
        gone = phi[c_left - times * (1 + same)] - phi[c_left]
        gone += np.where(same, 0.0, phi[c_right - times * ~same] - phi[c_right])
        come = phi[c_both + times] - phi[c_both]
        return gone + come + phi[self.total] - phi[self.total - times]
