r"""WordPiece: merge what stands together more than chance would have it.

Training takes, again and again, the pair of neighbors of greatest ratio

.. math:: (x, y) = \arg\max_{(x, y)} \frac{c(x, y)}{c(x) \, c(y)},

the smaller pair of ids among equals. Up to a constant this is the likelihood of the
pair as one token over that of its two tokens side by side. The ratio of a rare pair is
large by accident, so only pairs that can be merged ``min_frequency`` times count.

Encoding does not replay the merges: from the left, it takes the longest token that
fits. A token at the beginning of a chunk is another one than the same bytes further
inside, which are written with ``##`` in front.

Source: Schuster & Nakajima (2012), *Japanese and Korean voice search*; the encoding of
BERT, Devlin et al., arXiv:1810.04805. Tokens are bytes here, so nothing is unknown; ids
and the file are those of the ``tokenizers`` package.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np

from minitransformer.tokenization.base import check_special_tokens
from minitransformer.tokenization.byte_level import (
    BYTES_IN_ORDER,
    ByteLevelTokenizer,
    byte_level_step,
    count_chunks,
    read_document,
    read_written,
    written,
)
from minitransformer.tokenization.gains import Scores, Text
from minitransformer.tokenization.merges import Pair, merge

PREFIX = "##"
ALMOST = 1e-9  # ratios that differ by less, relatively, are equal
Piece = tuple[bool, bytes]  # at the beginning of a chunk or not; what it spells

ALPHABET: list[Piece] = [
    (first, bytes([byte])) for first in (True, False) for byte in BYTES_IN_ORDER
]
"""The 512 pieces of one byte, in the order of their ids."""


def can_be_written(piece: Piece) -> bool:
    """Tell whether a piece cannot be taken for one that is inside a chunk."""
    first, spelling = piece
    return not (first and spelling.startswith(PREFIX.encode()))


def naive_learn(
    words: Mapping[bytes, int], num_tokens: int, min_frequency: int = 2
) -> list[Piece]:
    """Learn pieces by the definition: recount everything before every merge.

    Args:
        words: chunk -> how often it occurs.
        num_tokens: pieces wanted in all, the 512 of one byte included. Fewer are
            learned if no pair is frequent enough.
        min_frequency: how often a pair must be there to be merged.

    Returns:
        The pieces, in the order learned, those of one byte first.
    """
    pieces = list(ALPHABET)
    index = {piece: i for i, piece in enumerate(pieces)}
    cut = {w: [index[i == 0, bytes([b])] for i, b in enumerate(w)] for w in words}
    while len(pieces) < num_tokens:
        singles: Counter[int] = Counter()
        for word, ids in cut.items():
            for i in ids:
                singles[i] += words[word]
        ratios: dict[Pair, float] = {}
        for pair in {pair for ids in cut.values() for pair in pairwise(ids)}:
            times = sum(
                words[w] * (len(ids) - len(merge(ids, pair, -1)))
                for w, ids in cut.items()
            )
            if times >= min_frequency and can_be_written(_joined(pieces, pair)):
                ratios[pair] = times / (singles[pair[0]] * singles[pair[1]])
        if not ratios:
            break
        top = max(ratios.values())
        pair = min(p for p, ratio in ratios.items() if ratio >= top - ALMOST * top)
        piece = _joined(pieces, pair)
        if piece not in index:
            index[piece] = len(pieces)
            pieces.append(piece)
        cut = {word: merge(ids, pair, index[piece]) for word, ids in cut.items()}
    return pieces


def _joined(pieces: Sequence[Piece], pair: Pair) -> Piece:
    (first, left), (_, right) = pieces[pair[0]], pieces[pair[1]]
    return first, left + right


class Ratios(Scores):
    """How much more often than by chance two tokens stand together."""

    def value(
        self, left: np.ndarray, right: np.ndarray, into: np.ndarray, times: np.ndarray
    ) -> np.ndarray:
        """Return the ratios ``[rows]`` of some merges; ``into`` does not matter."""
        together = np.maximum(self.counts[left] * self.counts[right], 1)
        return times / together


def learn(
    words: Mapping[bytes, int], num_tokens: int, min_frequency: int = 2
) -> list[Piece]:
    """Learn the pieces of :func:`naive_learn`, recomputing only ratios that change."""
    text = Text(words, inside=256)
    pieces = list(ALPHABET)
    id_of = {piece: i for i, piece in enumerate(pieces)}
    ratios = Ratios(max(num_tokens, len(pieces)), text)
    least = max(min_frequency, 1)

    def note(pair: Pair) -> None:
        piece, times = _joined(pieces, pair), text.counts.get(pair, 0)
        ratios.add(pair, id_of.get(piece, -1))
        allowed = times >= least and can_be_written(piece)
        ratios.set_times(pair, times if allowed else 0)

    for pair in list(text.counts):
        note(pair)
    ratios.refresh(np.arange(len(ratios.pairs)))
    while len(pieces) < num_tokens:
        best = ratios.best(0.0, ALMOST)
        if best is None:
            break
        piece = _joined(pieces, best)
        new_id = id_of.setdefault(piece, len(pieces))
        if new_id == len(pieces):
            pieces.append(piece)
        times, changed = text.merge(best, new_id)
        for pair in changed:
            note(pair)
        ratios.merged(best, new_id, times)
    return pieces


class WordPiece(ByteLevelTokenizer):
    """A byte-level tokenizer that always takes the longest token that fits.

    >>> tokenizer = WordPiece.train_from_iterator(["lower low low"], vocab_size=515)
    >>> tokenizer.decode(tokenizer.encode("lower").ids)
    'lower'
    """

    def __init__(
        self,
        pieces: Sequence[Piece],
        *,
        special_tokens: Sequence[str] = (),
        pretokenizer: str = "gpt2",
    ) -> None:
        """Set up a tokenizer from its pieces.

        Args:
            pieces: (at the beginning of a chunk or not, what it spells); ids follow
                their order, after the special tokens.
            special_tokens: take the first ids.
            pretokenizer: a style of :mod:`minitransformer.tokenization.pretokenize`.

        Raises:
            ValueError: a byte is missing, at the beginning or inside; a piece is there
                twice, or could be taken for another.
        """
        if missing := set(ALPHABET) - set(pieces):
            first, byte = min(missing)
            where = "at the beginning" if first else "inside"
            raise ValueError(f"pieces lack the byte {byte!r} {where} of a chunk")
        if len(set(pieces)) < len(pieces):
            raise ValueError("pieces hold one twice")
        for piece in pieces:
            if not can_be_written(piece):
                raise ValueError(f"piece {piece[1]!r} could be taken for another")
        tokens = ["" if first else PREFIX for first, _ in pieces]
        tokens = [a + written(s) for a, (_, s) in zip(tokens, pieces, strict=True)]
        vocab = {token: i for i, token in enumerate([*special_tokens, *tokens])}
        super().__init__(
            vocab, special_tokens=special_tokens, pretokenizer=pretokenizer
        )
        self._first: dict[bytes, int] = {}
        self._inside: dict[bytes, int] = {}
        for i, (first, spelling) in enumerate(pieces, start=len(special_tokens)):
            (self._first if first else self._inside)[spelling] = i
        self._reach = max(len(spelling) for _, spelling in pieces)

    def _spell(self, token: str) -> bytes:
        if token not in self._special and len(token) > len(PREFIX):
            token = token.removeprefix(PREFIX)
        return super()._spell(token)

    @classmethod
    def train_from_iterator(
        cls,
        iterator: Iterable[str],
        *,
        vocab_size: int = 8192,
        min_frequency: int = 2,
        special_tokens: Sequence[str] = (),
        pretokenizer: str = "gpt2",
    ) -> Self:
        """Learn a tokenizer from texts.

        Args:
            iterator: texts; each is pre-tokenized on its own.
            vocab_size: tokens wanted, special tokens included. Fewer are learned if no
                pair is frequent enough.
            min_frequency: how often a pair must be there to be merged.
            special_tokens: take the first ids.
            pretokenizer: a style of :mod:`minitransformer.tokenization.pretokenize`.

        Raises:
            ValueError: ``vocab_size`` has no room for the bytes, twice, and the special
                tokens; a special token is empty or repeated; there is no such
                pre-tokenizer.
            TypeError: a text is no string.
        """
        check_special_tokens(special_tokens)
        room = vocab_size - len(special_tokens)
        if room < len(ALPHABET):
            raise ValueError(
                f"vocab_size is {vocab_size}, needs at least "
                f"{len(ALPHABET) + len(special_tokens)} (every byte at the beginning "
                f"and inside, and {len(special_tokens)} special tokens)"
            )
        words = count_chunks(iterator, pretokenizer)
        return cls(
            learn(words, room, min_frequency),
            special_tokens=special_tokens,
            pretokenizer=pretokenizer,
        )

    def encode_chunk(self, chunk: str) -> list[int]:
        """Return the ids of one chunk: the longest token that fits, from the left."""
        data = chunk.encode("utf-8", "surrogatepass")
        ids: list[int] = []
        known, start = self._first, 0
        while start < len(data):
            end = min(start + self._reach, len(data))
            while (found := known.get(data[start:end])) is None:
                end -= 1
            ids.append(found)
            known, start = self._inside, end
        return ids

    def to_dict(self) -> dict[str, Any]:
        """Return what ``save`` writes: the JSON of the ``tokenizers`` package."""
        model = {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": PREFIX,
            "max_input_chars_per_word": 1 << 31,
            "vocab": self._vocab,
        }
        return self._document(model) | {"decoder": _DECODER}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Build a tokenizer from what :meth:`to_dict` returns.

        Raises:
            ValueError: a part is missing, or asks for something that is not done here
                (the message names it).
        """
        if state.get("decoder") != _DECODER:
            raise ValueError(f"decoder {state.get('decoder')}: not supported")
        rest = {key: value for key, value in state.items() if key != "decoder"}
        model, special, pretokenizer = read_document(rest, "WordPiece")
        if model.get("continuing_subword_prefix") != PREFIX:
            raise ValueError("model.continuing_subword_prefix needs to be '##'")
        vocab = model.get("vocab")
        if not isinstance(vocab, dict) or sorted(
            vocab.values(), key=lambda i: i if type(i) is int else -1
        ) != list(range(len(vocab))):
            raise ValueError("model.vocab needs the ids 0, 1, 2, ..., each once")
        tokens = sorted(vocab, key=vocab.__getitem__)
        if tokens[: len(special)] != list(special):
            raise ValueError("added_tokens need to be the first of model.vocab")
        pieces = [_read(token) for token in tokens[len(special) :]]
        return cls(pieces, special_tokens=list(special), pretokenizer=pretokenizer)


def _read(token: str) -> Piece:
    inside = len(token) > len(PREFIX) and token.startswith(PREFIX)
    return not inside, read_written(token[len(PREFIX) :] if inside else token)


_DECODER = {
    "type": "Sequence",
    "decoders": [
        {"type": "Replace", "pattern": {"Regex": "^##(?=.)"}, "content": ""},
        byte_level_step(use_regex=True),
    ],
}
