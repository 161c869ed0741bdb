r"""Learning the merges of byte-pair encoding: the definition, and a fast way.

Start from the bytes of all chunks of text. Repeat: take the pair of neighbors with the
greatest count,

.. math:: (x, y) = \arg\max_{(x, y)} \sum_w n_w \, c_w(x, y),

the smaller pair of ids among equals, and make it one token wherever it stands. Here
:math:`n_w` counts the chunk :math:`w`, and :math:`c_w` the pair in it.

Sources: Gage (1994); Sennrich, Haddow & Birch, arXiv:1508.07909, for words as units.
The ids and the order of equals are those of the ``tokenizers`` package, so that both
learn the same merges: the bytes in the order of GPT-2's printable alphabet, then one
new id a merge.

No two tokens spell the same bytes. Where two tokens x y stand, no merge has crossed the
ends of what they spell, so the text between these ends has been merged like that text
alone; and so has the text that an earlier token of the same spelling was made from. The
merge that made it would have joined x y too.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from itertools import pairwise

import numpy as np

from minitransformer.tokenization.byte_level import BYTES_IN_ORDER

Pair = tuple[int, int]
Found = tuple[Pair, int, np.ndarray]  # a pair, its count, its places

_SEPARATOR, _MERGED = -1, -2
_INDEXED_SHARE = 8


def count_pairs(ids: Sequence[int]) -> Counter[Pair]:
    """Count the pairs of neighbors in ``ids``, overlapping ones each for itself."""
    return Counter(pairwise(ids))


def merge(ids: Sequence[int], pair: Pair, new_id: int) -> list[int]:
    """Replace each occurrence of ``pair``, from left to right, by ``new_id``."""
    merged: list[int] = []
    i = 0
    while i < len(ids):
        if ids[i] == pair[0] and i + 1 < len(ids) and ids[i + 1] == pair[1]:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


def naive_learn(
    words: Mapping[bytes, int], num_tokens: int, min_frequency: int = 0
) -> dict[Pair, int]:
    """Learn merges by the definition: recount every pair before every merge.

    Args:
        words: chunk -> how often it occurs.
        num_tokens: tokens wanted in all, the 256 bytes included.
        min_frequency: stop when no pair is as frequent as this.

    Returns:
        pair -> id of the merged token, in the order learned.
    """
    split = {word: [BYTES_IN_ORDER.index(byte) for byte in word] for word in words}
    merges: dict[Pair, int] = {}
    while 256 + len(merges) < num_tokens:
        counts: Counter[Pair] = Counter()
        for word, count in words.items():
            for pair, times in count_pairs(split[word]).items():
                counts[pair] += times * count
        pair = min(counts, key=lambda p: (-counts[p], p), default=(0, 0))
        if counts[pair] < max(min_frequency, 1):
            break
        merges[pair] = new_id = 256 + len(merges)
        split = {word: merge(ids, pair, new_id) for word, ids in split.items()}
    return merges


def learn(
    words: Mapping[bytes, int], num_tokens: int, min_frequency: int = 0
) -> dict[Pair, int]:
    """Learn the merges of :func:`naive_learn`, visiting only what each merge changes.

    All chunks lie in one doubly linked list of symbols. The places of frequent pairs
    are indexed; when none is left, the list is indexed again for rarer ones. A pair
    only loses places after the merge that made it, so the counts in the heap are upper
    bounds: a place is checked, and a count put right, when its pair comes up.
    """
    text = _Symbols(words)
    merges: dict[Pair, int] = {}
    lowest = max(min_frequency, 1)
    heap: list[tuple[int, Pair]] = []
    places: dict[Pair, np.ndarray] = {}
    least = 0  # nothing is indexed yet
    while 256 + len(merges) < num_tokens:
        if not heap:
            if least == lowest:
                break
            least, found = text.index(lowest)
        else:
            negative, pair = heappop(heap)
            count, where = text.occurrences(pair, places.pop(pair))
            if count == -negative:
                merges[pair] = new_id = 256 + len(merges)
                found = text.merge(pair, where, new_id, least)
            else:
                found = [(pair, count, where)] if count >= least else []
        for pair, count, where in found:
            places[pair] = where
            heappush(heap, (-count, pair))
    return merges


class _Symbols:
    """All chunks as one linked list of symbols, in arrays."""

    def __init__(self, words: Mapping[bytes, int]) -> None:
        ids = np.zeros(256, dtype=np.int64)
        ids[np.frombuffer(BYTES_IN_ORDER, dtype=np.uint8)] = np.arange(256)
        lengths = np.array([len(word) + 1 for word in words], dtype=np.int64)
        inside = np.ones(int(lengths.sum()) + 1, dtype=bool)
        inside[np.concatenate([[0], np.cumsum(lengths)])] = False
        self.symbols = np.full(len(inside), _SEPARATOR)
        self.symbols[inside] = ids[np.frombuffer(b"".join(words), dtype=np.uint8)]
        counts = np.fromiter(words.values(), np.int64, len(words))
        self.weights = np.concatenate([[0], np.repeat(counts, lengths)])

    def index(self, lowest: int) -> tuple[int, list[Found]]:
        """Drop what is merged; return the least count indexed, and the pairs."""
        stay = self.symbols != _MERGED
        self.symbols, self.weights = self.symbols[stay], self.weights[stay]
        self.next = np.arange(1, len(self.symbols) + 1)
        self.previous = np.arange(-1, len(self.symbols) - 1)
        places = np.flatnonzero((self.symbols[:-1] >= 0) & (self.symbols[1:] >= 0))
        found = self._group(places, lowest)
        most = max((count for _, count, _ in found), default=0)
        least = max(lowest, most // _INDEXED_SHARE)
        return least, [entry for entry in found if entry[1] >= least]

    def occurrences(self, pair: Pair, places: np.ndarray) -> tuple[int, np.ndarray]:
        """Return the count of a pair, and those of ``places`` where it still stands."""
        second = self.symbols[self.next[places]]
        places = places[(self.symbols[places] == pair[0]) & (second == pair[1])]
        return int(self.weights[places].sum()), places

    def merge(
        self, pair: Pair, places: np.ndarray, new_id: int, least: int
    ) -> list[Found]:
        """Merge a pair everywhere; return the new pairs that are frequent enough."""
        second = self.next[places]
        if pair[0] == pair[1]:  # in a row of equal symbols, merge every other place
            order = np.arange(len(places))
            starts = np.append(True, places[1:] != second[:-1])
            row = np.maximum.accumulate(np.where(starts, order, 0))
            places = places[(order - row) % 2 == 0]
            second = self.next[places]
        before, after = self.previous[places], self.next[second]
        self.symbols[places], self.symbols[second] = new_id, _MERGED
        self.next[places], self.previous[after] = after, places
        before = before[self.symbols[before] >= 0]  # else the pair starts in places
        places = places[self.symbols[after] >= 0]
        return self._group(before, least) + self._group(places, least)

    def _group(self, places: np.ndarray, least: int) -> list[Found]:
        """Sort places by the pair that stands there; drop the pairs that are rare."""
        if not len(places):
            return []
        keys = self.symbols[places] << 32 | self.symbols[self.next[places]]
        order = keys.argsort(kind="stable")
        keys, places = keys[order], places[order]
        first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
        totals = np.add.reduceat(self.weights[places], first)
        ends = np.append(first[1:], len(places))
        often = np.flatnonzero(totals >= least)
        found = zip(
            keys[first[often]].tolist(),
            totals[often].tolist(),
            first[often].tolist(),
            ends[often].tolist(),
            strict=True,
        )
        return [
            ((key >> 32, key & 0xFFFFFFFF), total, places[start:end])
            for key, total, start, end in found
        ]
