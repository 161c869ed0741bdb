r"""Sub-word encoding by likelihood: merge what makes the training text most probable.

With the counts :math:`c_t` of a segmentation, :math:`N` tokens in all, the best
probabilities of a unigram model are :math:`c_t / N`, and the log-likelihood of the text
(in nats) is

.. math:: L = \sum_t \varphi(c_t) - \varphi(N), \qquad \varphi(n) = n \ln n.

Merging the pair :math:`(x, y)`, which can be merged :math:`m` times, changes it by

.. math::
    \Delta L = {} & \varphi(c_x - m) - \varphi(c_x) + \varphi(c_y - m) - \varphi(c_y) \\
    & + \varphi(c_{xy} + m) - \varphi(c_{xy}) + \varphi(N) - \varphi(N - m),

where :math:`x = y` has :math:`\varphi(c_x - 2m) - \varphi(c_x)` for both.
:func:`learn` takes the pair of greatest gain, again and again.

What is a theorem, and what is not: the gain is exact; each merge is the best *one*; the
segmentation by a given model (:func:`k_step_segment`) is the most probable one;
:func:`refine` never lowers the likelihood. But a chain of best merges is not the best
vocabulary. Finding that is hard; :func:`best_vocabulary` does it by search, for tiny
texts.

Source: after Fulu Li, arXiv:2410.18441, from its abstract and a review of it: the
likelihood as objective, byte-pair encoding's starting point, k-step shortest paths. The
closed form of the gain, the exact search and the refinement are worked out here.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Self

import numpy as np

from minitransformer.tokenization.byte_level import (
    BYTES_IN_ORDER,
    count_chunks,
    room_for_pieces,
)
from minitransformer.tokenization.gains import Gains, Text
from minitransformer.tokenization.lattice import (
    LogProbs,
    edges,
    longest,
    segmentations,
    viterbi,
)
from minitransformer.tokenization.merges import Pair, merge
from minitransformer.tokenization.unigram import Unigram

ALMOST = 1e-9  # gains that differ by less, relatively, are equal
UNSEEN = 0.5  # the count that a token has which occurs nowhere


def phi(n: float) -> float:
    """Return n ln n, which is 0 at 0."""
    return n * math.log(n) if n else 0.0


def log_likelihood(counts: Iterable[float]) -> float:
    """Return the log-likelihood of a segmentation from its token counts, in nats."""
    counts = list(counts)
    return math.fsum(map(phi, counts)) - phi(sum(counts))


def merge_gain(
    c_x: int, c_y: int, m: int, n: int, *, same: bool = False, c_xy: int = 0
) -> float:
    """Return by how much a merge raises the log-likelihood, in nats.

    Args:
        c_x: count of the left token.
        c_y: count of the right token.
        m: how often the two can be merged, without overlap.
        n: tokens in all.
        same: left and right are one token; ``c_y`` is ignored.
        c_xy: count of the merged token before, if it exists.

    Raises:
        ValueError: more merges than tokens.
    """
    if 2 * m > c_x if same else m > min(c_x, c_y):
        raise ValueError(f"m is {m}, with counts {c_x} and {c_y}")
    if same:
        gone = phi(c_x - 2 * m) - phi(c_x)
    else:
        gone = phi(c_x - m) - phi(c_x) + phi(c_y - m) - phi(c_y)
    return gone + phi(c_xy + m) - phi(c_xy) + phi(n) - phi(n - m)


def naive_learn(words: Mapping[bytes, int], num_tokens: int) -> dict[Pair, int]:
    """Learn merges by the definition: try every merge, and compare the likelihoods.

    Args:
        words: chunk -> how often it occurs.
        num_tokens: tokens wanted in all, the 256 bytes included. Fewer are learned if
            no merge raises the likelihood any more.

    Returns:
        pair -> id of the merged token, in the order learned. Where two pairs spell the
        same bytes they share an id. Among equal gains the smaller pair goes first.
    """
    table = [bytes([byte]) for byte in BYTES_IN_ORDER]
    split = {word: [BYTES_IN_ORDER.index(byte) for byte in word] for word in words}
    merges: dict[Pair, int] = {}

    def likelihood(cut: Mapping[bytes, list[int]]) -> float:
        counts: Counter[int] = Counter()
        for word, ids in cut.items():
            for token, times in Counter(ids).items():
                counts[token] += times * words[word]
        return log_likelihood(counts.values())

    least = ALMOST * max(-likelihood(split), 1)
    while len(table) < num_tokens:
        before, gains, ids_of = likelihood(split), {}, {}
        for pair in {p for ids in split.values() for p in pairwise(ids)}:
            spelling = table[pair[0]] + table[pair[1]]
            ids_of[pair] = table.index(spelling) if spelling in table else len(table)
            after = {w: merge(ids, pair, ids_of[pair]) for w, ids in split.items()}
            gains[pair] = likelihood(after) - before
        top = max(gains.values(), default=0.0)
        if top <= least:
            break
        pair = min(p for p, gain in gains.items() if gain >= top - ALMOST * top)
        if ids_of[pair] == len(table):
            table.append(table[pair[0]] + table[pair[1]])
        merges.setdefault(pair, ids_of[pair])
        split = {w: merge(ids, pair, ids_of[pair]) for w, ids in split.items()}
    return merges


def learn(
    words: Mapping[bytes, int], num_tokens: int
) -> tuple[dict[Pair, int], dict[bytes, int]]:
    """Learn the merges of :func:`naive_learn`, recomputing only gains that change.

    A merge changes the counts of three tokens; the gains of all pairs that hold one of
    them are computed anew, at once. It also changes :math:`N`, and with it every gain;
    but these only fall, so the old values are upper bounds, and only those that reach
    the best exact one are computed anew.

    Returns:
        pair -> id, in the order learned; and token -> count in the final segmentation.
    """
    text = Text(words)
    table = [bytes([byte]) for byte in BYTES_IN_ORDER]
    id_of = {spelling: i for i, spelling in enumerate(table)}
    gains = Gains(num_tokens, text)

    def target(pair: Pair) -> int:
        return id_of.get(table[pair[0]] + table[pair[1]], -1)

    for each, times in text.counts.items():
        gains.add(each, target(each))
        gains.set_times(each, times)
    gains.refresh(np.arange(len(gains.pairs)))
    merges: dict[Pair, int] = {}
    least = ALMOST * max(-log_likelihood(gains.counts.tolist()), 1)
    while len(table) < num_tokens:
        if (best := gains.best(least, ALMOST)) is None:
            break
        pair = best
        spelling = table[pair[0]] + table[pair[1]]
        new_id = id_of.setdefault(spelling, len(table))
        if new_id == len(table):
            table.append(spelling)
            for end in range(1, len(spelling)):
                halves = (id_of.get(spelling[:end]), id_of.get(spelling[end:]))
                gains.leads_to(halves, new_id)
        merges.setdefault(pair, new_id)
        times, changed = text.merge(pair, new_id)
        for each in changed:
            gains.add(each, target(each))
            gains.set_times(each, text.counts.get(each, 0))
        gains.merged(pair, new_id, times)
    return merges, dict(zip(table, gains.counts.tolist(), strict=False))


def probabilities(counts: Mapping[bytes, float]) -> dict[bytes, float]:
    """Return ln of the probability of each token, from its count.

    A token that occurs nowhere gets half a count, so that any text can be cut.
    """
    total = sum(max(count, UNSEEN) for count in counts.values())
    return {t: math.log(max(count, UNSEEN) / total) for t, count in counts.items()}


def k_step_segment(
    word: bytes, log_probs: LogProbs, k: int | None = None
) -> list[bytes]:
    """Return the most probable segmentation into at most ``k`` tokens.

    A shortest path of at most ``k`` steps, by the recursion of Bellman and Ford.

    Args:
        word: the bytes to cut.
        log_probs: token -> natural log of its probability.
        k: the most tokens; any number by default.

    Raises:
        ValueError: no sequence of at most ``k`` tokens spells the word.
    """
    if k is None:
        return viterbi(word, log_probs)
    lattice = edges(word, log_probs, longest(log_probs))
    paths: dict[int, tuple[float, list[bytes]]] = {0: (0.0, [])}
    ways = [paths.get(len(word))]
    for _ in range(k):
        reached: dict[int, tuple[float, list[bytes]]] = {}
        for start, end, log_prob in lattice:
            if start in paths:
                so_far, tokens = paths[start]
                if end not in reached or so_far + log_prob > reached[end][0]:
                    reached[end] = (so_far + log_prob, [*tokens, word[start:end]])
        paths = reached
        ways.append(paths.get(len(word)))
    found = [way for way in ways if way is not None]
    if not found:
        raise ValueError(f"no sequence of at most {k} tokens spells {word!r}")
    return max(found, key=lambda way: way[0])[1]


def segment_all(
    words: Mapping[bytes, int], counts: Mapping[bytes, float]
) -> dict[bytes, list[bytes]]:
    """Return the most probable segmentation of every word, under given counts."""
    log_probs = probabilities(counts)
    reach = longest(log_probs)
    return {word: viterbi(word, log_probs, reach) for word in words}


def recount(
    words: Mapping[bytes, int],
    cuts: Mapping[bytes, Sequence[bytes]],
    tokens: Iterable[bytes],
) -> dict[bytes, int]:
    """Return how often each of the tokens occurs in a segmentation of all words."""
    counts = dict.fromkeys(tokens, 0)
    for word, cut in cuts.items():
        for token in cut:
            counts[token] += words[word]
    return counts


def refine(
    words: Mapping[bytes, int], counts: Mapping[bytes, int], rounds: int = 5
) -> dict[bytes, int]:
    """Segment anew, drop what is not used, add what gains most; keep what is better.

    Args:
        words: chunk -> how often it occurs.
        counts: token -> count, as :func:`learn` returns it.
        rounds: how often at most.

    Returns:
        token -> count, of a vocabulary that is no larger; its likelihood is no lower.
    """
    best, best_value = dict(counts), log_likelihood(counts.values())
    for _ in range(rounds):
        cuts = segment_all(words, best)
        kept = recount(words, cuts, best)
        live = {t: n for t, n in kept.items() if n > 0 or len(t) == 1}
        tried = dict(live)
        for token, times in _best_additions(words, cuts, live, len(best) - len(live)):
            tried[token] = times
        tried = recount(words, segment_all(words, tried), tried)
        value, new = max(
            (log_likelihood(each.values()), i) for i, each in enumerate((kept, tried))
        )
        if value <= best_value + ALMOST * abs(best_value):
            break
        best, best_value = (kept, tried)[new], value
    return best


def _best_additions(
    words: Mapping[bytes, int],
    cuts: Mapping[bytes, Sequence[bytes]],
    counts: Mapping[bytes, int],
    how_many: int,
) -> list[tuple[bytes, int]]:
    """Return the new tokens of greatest gain, one pair of neighbors each."""
    times: Counter[tuple[bytes, bytes]] = Counter()
    for word, cut in cuts.items():
        for left, right in pairwise(cut):
            if left != right and left + right not in counts:
                times[left, right] += words[word]
    total = sum(counts.values())
    gains = {
        pair: merge_gain(counts[pair[0]], counts[pair[1]], m, total)
        for pair, m in times.items()
        if m <= min(counts[pair[0]], counts[pair[1]])
    }
    chosen = sorted(gains, key=lambda pair: (-gains[pair], pair))[:how_many]
    return [(left + right, times[left, right]) for left, right in chosen]


def best_vocabulary(
    words: Mapping[bytes, int], num_pieces: int
) -> tuple[set[bytes], float]:
    """Return the best vocabulary, and the log-likelihood that it reaches, in nats.

    Of all ways to cut all words with at most ``num_pieces`` different tokens of two or
    more bytes, the one of greatest likelihood: by branch and bound over the words. A
    branch is left when its bound is no better than what is found: each word that is
    still to be cut adds at least one token, and at best all are the most frequent one.

    Args:
        words: chunk -> how often it occurs; few and short, the work is exponential.
        num_pieces: how many tokens of two or more bytes there may be.

    Raises:
        ValueError: a word has more than 12 bytes.
    """
    for word in words:
        if len(word) > 12:
            raise ValueError(f"{word!r} has {len(word)} bytes, the search takes 12")
    order = sorted((w for w in words if w), key=lambda w: (-words[w] * len(w), w))
    options = []
    for word in order:
        anything = {word[i:j]: 0.0 for i in range(len(word)) for j in range(i + 1, 13)}
        options.append(sorted(segmentations(word, anything), key=len))
    to_come = [sum(words[w] for w in order[i:]) for i in range(len(order) + 1)]
    best: tuple[set[bytes], float] = (set(), -math.inf)

    def bound(counts: Counter[bytes], rest: int) -> float:
        most = max(counts.values(), default=0)
        total = sum(counts.values()) + rest
        inner = math.fsum(map(phi, counts.values())) - phi(most) + phi(most + rest)
        return inner - phi(total)

    def search(i: int, counts: Counter[bytes], pieces: frozenset[bytes]) -> None:
        nonlocal best
        if bound(counts, to_come[i]) <= best[1] + ALMOST:
            return
        if i == len(order):
            best = (set(pieces), log_likelihood(counts.values()))
            return
        for cut in options[i]:
            more = pieces | {token for token in cut if len(token) > 1}
            if len(more) <= num_pieces:
                added = Counter(counts)
                for token in cut:
                    added[token] += words[order[i]]
                search(i + 1, added, more)

    search(0, Counter(), frozenset())
    return best


class SWE(Unigram):
    """A unigram tokenizer whose vocabulary was learned by likelihood."""

    @classmethod
    def train_from_iterator(
        cls,
        iterator: Iterable[str],
        *,
        vocab_size: int = 8192,
        special_tokens: Sequence[str] = (),
        pretokenizer: str = "gpt2",
        refinements: int = 0,
    ) -> Self:
        """Learn a tokenizer from texts.

        Args:
            iterator: texts; each is pre-tokenized on its own.
            vocab_size: tokens wanted, special tokens included. Fewer are learned if no
                merge raises the likelihood any more.
            special_tokens: take the first ids.
            pretokenizer: a style of :mod:`minitransformer.tokenization.pretokenize`.
            refinements: rounds of :func:`refine`.

        Raises:
            ValueError: ``vocab_size`` has no room for the bytes and special tokens; a
                special token is empty or repeated; there is no such pre-tokenizer.
            TypeError: a text is no string.
        """
        num_pieces = room_for_pieces(vocab_size, special_tokens)
        words = count_chunks(iterator, pretokenizer)
        _, counts = learn(words, num_pieces)
        if refinements:
            counts = refine(words, counts, refinements)
        return cls(
            probabilities(counts),
            special_tokens=special_tokens,
            pretokenizer=pretokenizer,
        )
