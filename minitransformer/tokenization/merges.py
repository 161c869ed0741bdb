r"""Learning the merges of byte-pair encoding: the definition, and a fast way.

Start from the bytes of all chunks of text. Repeat: take the pair of neighbors with the
greatest count,

.. math:: (x, y) = \arg\max_{(x, y)} \sum_w n_w \, c_w(x, y),

the smaller pair of ids among equals, and make it one token wherever it stands. Here
:math:`n_w` counts the chunk :math:`w`, and :math:`c_w` the pair in it.

Sources: Gage (1994); Sennrich, Haddow & Birch, arXiv:1508.07909, for words as units.
The ids and the order of equals are those of the ``tokenizers`` package, so that both
learn the same merges: the bytes in the order of GPT-2's printable alphabet, then one
new id a merge. Two merges that spell the same bytes share one id.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

import numpy as np

from minitransformer.tokenization.byte_level import BYTES_IN_ORDER

Pair = tuple[int, int]

_SEPARATOR, _MERGED = -1, -2


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
    table = [bytes([byte]) for byte in BYTES_IN_ORDER]
    split = {word: [BYTES_IN_ORDER.index(byte) for byte in word] for word in words}
    merges: dict[Pair, int] = {}
    while len(table) < num_tokens:
        counts: Counter[Pair] = Counter()
        for word, count in words.items():
            for pair, times in count_pairs(split[word]).items():
                counts[pair] += times * count
        pair = min(counts, key=lambda p: (-counts[p], p), default=(0, 0))
        if counts[pair] < max(min_frequency, 1):
            break
        spelling = table[pair[0]] + table[pair[1]]
        if spelling not in table:
            table.append(spelling)
        new_id = merges.setdefault(pair, table.index(spelling))
        split = {word: merge(ids, pair, new_id) for word, ids in split.items()}
    return merges


def learn(
    words: Mapping[bytes, int], num_tokens: int, min_frequency: int = 0
) -> dict[Pair, int]:
    """Learn the merges of :func:`naive_learn`, visiting only what each merge changes.

    All chunks lie in one doubly linked list of symbols. Every pair has its count and a
    list of places where it may begin; a place is checked when it is visited. The most
    frequent pair comes from a heap whose counts may be too high; such an entry goes
    back with the true count.
    """
    text = _Symbols(words)
    table = [bytes([byte]) for byte in BYTES_IN_ORDER]
    id_of = {spelling: i for i, spelling in enumerate(table)}
    merges: dict[Pair, int] = {}
    heap = [(-count, pair) for pair, count in text.counts.items()]
    heapify(heap)
    while len(table) < num_tokens and heap:
        negative, pair = heappop(heap)
        count = text.counts.get(pair, 0)
        if count != -negative:
            if count > 0:
                heappush(heap, (-count, pair))
            continue
        if count < max(min_frequency, 1):
            break
        spelling = table[pair[0]] + table[pair[1]]
        new_id = id_of.setdefault(spelling, len(table))
        if new_id == len(table):
            table.append(spelling)
        merges.setdefault(pair, new_id)
        for changed in text.merge(pair, new_id):
            heappush(heap, (-text.counts[changed], changed))
    return merges


class _Symbols:
    """All chunks as one linked list of symbols, with an index of their pairs."""

    def __init__(self, words: Mapping[bytes, int]) -> None:
        ids = np.zeros(257, dtype=np.int64)
        ids[np.frombuffer(BYTES_IN_ORDER, dtype=np.uint8)] = np.arange(256)
        ids[256] = _SEPARATOR
        lengths = np.array([len(word) + 1 for word in words], dtype=np.int64)
        symbols = np.full(int(lengths.sum()) + 1, 256, dtype=np.int64)
        weights = np.repeat(np.fromiter(words.values(), np.int64, len(words)), lengths)
        inside = np.ones(len(symbols), dtype=bool)
        inside[np.concatenate([[0], np.cumsum(lengths)])] = False
        symbols[inside] = np.frombuffer(b"".join(words), dtype=np.uint8)
        symbols = ids[symbols]
        self.symbols: list[int] = symbols.tolist()
        self.weights: list[int] = [0, *weights.tolist()]
        self.next = list(range(1, len(symbols) + 1))
        self.previous = list(range(-1, len(symbols) - 1))
        self.counts: dict[Pair, int] = defaultdict(int)
        self.places: dict[Pair, list[int]] = defaultdict(list)
        self._index(symbols)

    def _index(self, symbols: np.ndarray) -> None:
        """Group the places of all pairs, by sorting."""
        places = np.flatnonzero((symbols[:-1] >= 0) & (symbols[1:] >= 0))
        if not len(places):
            return
        keys = symbols[places] * 256 + symbols[places + 1]
        order = np.argsort(keys, kind="stable")
        keys, places = keys[order], places[order]
        first = np.flatnonzero(np.diff(keys, prepend=-1))
        totals = np.add.reduceat(np.array(self.weights)[places], first)
        groups = np.split(places, first[1:])
        for key, total, group in zip(keys[first], totals, groups, strict=True):
            pair = (int(key) // 256, int(key) % 256)
            self.counts[pair] = int(total)
            self.places[pair] = group.tolist()

    def merge(self, pair: Pair, new_id: int) -> set[Pair]:
        """Merge one pair everywhere; return the pairs that became more frequent."""
        symbols, after, before = self.symbols, self.next, self.previous
        counts, places, weights = self.counts, self.places, self.weights
        left, right = pair
        grown: set[Pair] = set()
        for i in sorted(places.pop(pair)):
            j = after[i]
            if symbols[i] != left or symbols[j] != right:
                continue
            weight, h, k = weights[i], before[i], after[j]
            symbols[i], symbols[j] = new_id, _MERGED
            after[i], before[k] = k, i
            if (neighbor := symbols[h]) >= 0:
                counts[neighbor, left] -= weight
                grown.add(new := (neighbor, new_id))
                counts[new] += weight
                places[new].append(h)
            if (neighbor := symbols[k]) >= 0:
                counts[right, neighbor] -= weight
                grown.add(new := (new_id, neighbor))
                counts[new] += weight
                places[new].append(i)
        del counts[pair]
        grown.discard(pair)
        return grown
