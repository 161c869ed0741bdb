r"""The unigram model: tokens with probabilities, and the most probable segmentation.

Every token :math:`t` has a probability, a chunk of text cut into tokens the product of
theirs. Of all ways to cut a chunk :math:`w`, the most probable one is taken:

.. math:: \max_{t_1 \cdots t_k = w} \; \sum_i \ln p(t_i).

:func:`learn` begins with many frequent strings. It fits their probabilities to the text
by expectation and maximization, which never lowers the likelihood, drops those whose
loss would cost the least, and repeats until so many are left as are wanted.

Source: Kudo, arXiv:1804.10959. Tokens are bytes, as in byte-pair encoding; ids and the
file are those of the ``tokenizers`` package. Its trainer differs in the choice of the
first strings and in a prior on the counts.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush
from typing import Any, Self

import numpy as np

from minitransformer.tokenization.byte_level import (
    BYTES_IN_ORDER,
    ByteLevelTokenizer,
    count_chunks,
    read_document,
    read_written,
    refuse,
    room_for_pieces,
    written,
)
from minitransformer.tokenization.lattice import (
    Lattices,
    LogProbs,
    edges,
    forward,
    longest,
    viterbi,
)

DECIMALS = 10  # of a log probability; more do not survive every reader of the file
LONGEST_TOKEN = 16  # bytes
LONGEST_WORD = 48  # bytes; longer chunks do not take part in training
RARE = 0.5  # a token that is expected less often is dropped; a byte counts as often

Words = Mapping[bytes, int]


def first_tokens(words: Words, how_many: int) -> dict[bytes, float]:
    """Return the strings to begin with: all bytes, and those that save most text.

    Args:
        words: chunk -> how often it occurs.
        how_many: tokens wanted, the bytes included.

    Returns:
        token -> natural log of its share of all counts.
    """
    counts: Counter[bytes] = Counter()
    for word, count in words.items():
        for start in range(len(word)):
            for end in range(start + 2, min(start + LONGEST_TOKEN, len(word)) + 1):
                counts[word[start:end]] += count
    often = [token for token, count in counts.items() if count > 1]
    often.sort(key=lambda token: (-counts[token] * len(token), token))
    chosen = {token: float(counts[token]) for token in often[: how_many - 256]}
    singles: Counter[int] = Counter()
    for word, count in words.items():
        for byte in word:
            singles[byte] += count
    kept = {bytes([b]): max(float(singles[b]), RARE) for b in BYTES_IN_ORDER}
    return normalized(kept | chosen)


def normalized(counts: Mapping[bytes, float]) -> dict[bytes, float]:
    """Return the natural log of each token's share of all counts."""
    total = math.fsum(counts.values())
    return {token: math.log(count / total) for token, count in counts.items()}


def losses(counts: Mapping[bytes, float], log_probs: LogProbs) -> dict[bytes, float]:
    """Return what each token of two or more bytes is worth, in nats.

    That is its count times the difference to the best way to spell it without it.
    """
    reach = longest(log_probs)
    others = dict(log_probs)
    found = {}
    for token, count in counts.items():
        if len(token) > 1:
            own = others.pop(token)
            instead = sum(others[t] for t in viterbi(token, others, reach))
            found[token] = count * (own - instead)
            others[token] = own
    return found


def learn(
    words: Words,
    num_pieces: int,
    *,
    begin_with: int | None = None,
    keep: float = 0.75,
    steps: int = 2,
) -> dict[bytes, float]:
    """Learn tokens and their probabilities.

    Args:
        words: chunk -> how often it occurs; those of more than 48 bytes are left out.
        num_pieces: tokens wanted, the 256 bytes included, which are always kept.
        begin_with: how many strings to begin with, by default four times as many.
        keep: the share that stays in each round of pruning.
        steps: of expectation and maximization before each pruning.

    Returns:
        token -> natural log of its probability; the bytes first.

    Raises:
        ValueError: ``keep`` is not between 0 and 1.
    """
    if not 0 < keep < 1:
        raise ValueError(f"keep is {keep}, needs to be between 0 and 1")
    words = {word: n for word, n in words.items() if 0 < len(word) <= LONGEST_WORD}
    log_probs = first_tokens(words, begin_with or 4 * num_pieces)
    while True:
        counts = dict.fromkeys(log_probs, 1.0)
        lattices = Lattices(words, list(log_probs))
        for _ in range(steps):
            expected, _ = lattices.expected(np.array(list(log_probs.values())))
            expected = np.maximum(expected, 1e-12)
            counts = dict(zip(log_probs, expected.tolist(), strict=True))
            log_probs = normalized(counts)
        counts = {
            token: max(count, RARE) if len(token) == 1 else count
            for token, count in counts.items()
            if count >= RARE or len(token) == 1
        }
        log_probs = normalized(counts)
        if len(log_probs) <= num_pieces:
            return log_probs
        worth = losses(counts, log_probs)
        stay = max(num_pieces - 256, int(keep * len(worth)))
        best = sorted(worth, key=lambda token: (-worth[token], token))[:stay]
        chosen = {token for token in log_probs if len(token) == 1} | set(best)
        log_probs = normalized({t: n for t, n in counts.items() if t in chosen})


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

    @classmethod
    def train_from_iterator(
        cls,
        iterator: Iterable[str],
        *,
        vocab_size: int = 8192,
        special_tokens: Sequence[str] = (),
        pretokenizer: str = "gpt2",
    ) -> Self:
        """Learn a tokenizer from texts.

        Args:
            iterator: texts; each is pre-tokenized on its own.
            vocab_size: tokens wanted, special tokens included. Fewer are learned if the
                text has no more strings that occur twice.
            special_tokens: take the first ids.
            pretokenizer: a style of :mod:`minitransformer.tokenization.pretokenize`.

        Raises:
            ValueError: ``vocab_size`` has no room for the bytes and special tokens; a
                special token is empty or repeated; there is no such pre-tokenizer.
            TypeError: a text is no string.
        """
        num_pieces = room_for_pieces(vocab_size, special_tokens)
        words = count_chunks(iterator, pretokenizer)
        return cls(
            learn(words, num_pieces),
            special_tokens=special_tokens,
            pretokenizer=pretokenizer,
        )

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
