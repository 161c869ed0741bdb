"""Byte-pair encoding: text is bytes, and frequent neighbors become one token.

Training is in :mod:`minitransformer.tokenization.merges`. Encoding replays the merges
in the order in which they were learned: of all pairs of neighbors in a chunk, the one
that was learned first is merged first, the leftmost among equals.

Sources: Sennrich, Haddow & Birch, arXiv:1508.07909; Radford et al. (2019), GPT-2, for
bytes as the alphabet. Tokens, ids, offsets and the file are those of the ``tokenizers``
package.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise, repeat
from pathlib import Path
from typing import Any, Self

from minitransformer.tokenization.byte_level import (
    BYTES_IN_ORDER,
    ByteLevelTokenizer,
    count_chunks,
    read_document,
    refuse,
    room_for_pieces,
    written,
)
from minitransformer.tokenization.merges import Pair, learn

_LONG_CHUNK = 128
_MERGED = -1


class BPE(ByteLevelTokenizer):
    """A byte-level BPE tokenizer.

    >>> tokenizer = BPE.train_from_iterator(["to be or not to be"] * 9, vocab_size=262)
    >>> tokenizer.encode("to bet").tokens
    ['to', 'Ġbe', 't']
    """

    def __init__(
        self,
        vocab: Mapping[str, int],
        merges: Sequence[tuple[str, str]],
        *,
        special_tokens: Sequence[str] = (),
        pretokenizer: str = "gpt2",
    ) -> None:
        """Set up a tokenizer from its vocabulary and merges.

        Args:
            vocab: token -> id, in GPT-2's alphabet: a space is written ``Ġ``.
            merges: pairs of tokens, in the order learned.
            special_tokens: tokens found in the text before it is pre-tokenized.
            pretokenizer: a style of :mod:`minitransformer.tokenization.pretokenize`.

        Raises:
            ValueError: a byte is missing from the vocabulary, a token is not written in
                the alphabet, or a merge is repeated or names a token that is not there.
        """
        super().__init__(
            vocab, special_tokens=special_tokens, pretokenizer=pretokenizer
        )
        self._ranks: dict[Pair, int] = {}
        self._merged: list[int] = []
        for left, right in merges:
            for token in (left, right, left + right):
                if token not in vocab:
                    raise ValueError(f"merges name {token!r}, which is not in vocab")
            pair = (vocab[left], vocab[right])
            if pair in self._ranks:
                raise ValueError(f"merges hold {left!r} + {right!r} twice")
            self._ranks[pair] = len(self._merged)
            self._merged.append(vocab[left + right])

    @property
    def merges(self) -> list[tuple[str, str]]:
        """The pairs of tokens, in the order learned."""
        return [
            (self._tokens[left], self._tokens[right]) for left, right in self._ranks
        ]

    @classmethod
    def train_from_iterator(
        cls,
        iterator: Iterable[str],
        *,
        vocab_size: int = 8192,
        min_frequency: int = 0,
        special_tokens: Sequence[str] = (),
        pretokenizer: str = "gpt2",
    ) -> Self:
        """Learn a tokenizer from texts.

        Args:
            iterator: texts; each is pre-tokenized on its own.
            vocab_size: tokens wanted, special tokens included. Fewer are learned if the
                text has no more pairs.
            min_frequency: stop when no pair is as frequent as this.
            special_tokens: take the first ids.
            pretokenizer: a style of :mod:`minitransformer.tokenization.pretokenize`.

        Raises:
            ValueError: ``vocab_size`` has no room for the bytes and special tokens; a
                special token is empty or repeated; there is no such pre-tokenizer.
            TypeError: a text is no string.
        """
        num_pieces = room_for_pieces(vocab_size, special_tokens)
        words = count_chunks(iterator, pretokenizer)
        learned = learn(words, num_pieces, min_frequency)
        tokens = [written(bytes([byte])) for byte in BYTES_IN_ORDER]
        merges = []
        for left, right in learned:
            merges.append((tokens[left], tokens[right]))
            tokens.append(tokens[left] + tokens[right])
        if clash := set(tokens).intersection(special_tokens):
            raise ValueError(f"special_tokens holds {clash.pop()!r}, a learned token")
        vocab = {token: i for i, token in enumerate([*special_tokens, *tokens])}
        return cls(
            vocab, merges, special_tokens=special_tokens, pretokenizer=pretokenizer
        )

    def encode_chunk(self, chunk: str) -> list[int]:
        """Return the ids of one chunk: the pair learned first goes first."""
        ids = [self._byte_ids[b] for b in chunk.encode("utf-8", "surrogatepass")]
        if len(ids) > _LONG_CHUNK:
            return self._merge_long(ids)
        rank_of, never = self._ranks.get, len(self._merged)
        ranks = list(map(rank_of, pairwise(ids), repeat(never)))
        while ranks and (rank := min(ranks)) < never:
            i = ranks.index(rank)
            ids[i : i + 2] = [self._merged[rank]]
            del ranks[i]
            if i > 0:
                ranks[i - 1] = rank_of((ids[i - 1], ids[i]), never)
            if i < len(ranks):
                ranks[i] = rank_of((ids[i], ids[i + 1]), never)
        return ids

    def _merge_long(self, ids: list[int]) -> list[int]:
        """Do the same by a heap of ``(rank, place)``: n log n, where lists are n²."""
        rank_of, end = self._ranks.get, len(ids)
        after, before = list(range(1, end + 1)), list(range(-1, end - 1))
        heap = [
            (rank, i)
            for i, pair in enumerate(pairwise(ids))
            if (rank := rank_of(pair)) is not None
        ]
        heapify(heap)
        while heap:
            rank, i = heappop(heap)
            j = after[i]
            if ids[i] < 0 or j == end or rank_of((ids[i], ids[j])) != rank:
                continue
            ids[i], ids[j], after[i] = self._merged[rank], _MERGED, after[j]
            if after[i] < end:
                before[after[i]] = i
            for k in (before[i], i):
                if k >= 0 and after[k] < end:
                    rank_of_new = rank_of((ids[k], ids[after[k]]))
                    if rank_of_new is not None:
                        heappush(heap, (rank_of_new, k))
        return [i for i in ids if i != _MERGED]

    def to_dict(self) -> dict[str, Any]:
        """Return what :meth:`save` writes: the JSON of the ``tokenizers`` package."""
        return self._document(
            {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": False,
                "vocab": self._vocab,
                "merges": [list(pair) for pair in self.merges],
            }
        )

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Build a tokenizer from what :meth:`to_dict` returns.

        Raises:
            ValueError: a part is missing, or asks for something that byte-level BPE as
                written here does not do (the message names it).
        """
        model, special, pretokenizer = read_document(state, "BPE")
        refuse(
            model,
            "model.",
            "dropout",
            "unk_token",
            "continuing_subword_prefix",
            "end_of_word_suffix",
            "byte_fallback",
            "ignore_merges",
        )
        vocab, merges = model.get("vocab"), model.get("merges")
        if not isinstance(vocab, dict) or not isinstance(merges, list):
            raise ValueError("model needs a vocab (an object) and merges (a list)")
        if not all(type(i) is int for i in vocab.values()):
            raise ValueError("model.vocab needs whole numbers as ids")
        return cls(
            vocab | special,
            [_merge_from(entry) for entry in merges],
            special_tokens=list(special),
            pretokenizer=pretokenizer,
        )

    @classmethod
    def from_gpt2_files(
        cls,
        vocab_path: str | os.PathLike[str],
        merges_path: str | os.PathLike[str],
        *,
        special_tokens: Sequence[str] = (),
    ) -> Self:
        """Read GPT-2's two files, ``vocab.json`` and ``merges.txt``.

        Args:
            vocab_path: a JSON object, token -> id.
            merges_path: one merge a line, two tokens with a space between them; a first
                line that begins with ``#version`` is skipped.
            special_tokens: tokens of the vocabulary to be found in text as they stand.

        Raises:
            ValueError: a file is not of this format.
        """
        lines = Path(merges_path).read_text(encoding="utf-8").splitlines()
        if lines and lines[0].startswith("#version"):
            lines = lines[1:]
        try:
            vocab = json.loads(Path(vocab_path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{vocab_path} is no JSON: {error}") from error
        if not isinstance(vocab, dict):
            raise ValueError(f"{vocab_path} holds no JSON object")
        merges = [_merge_from(line) for line in lines if line]
        return cls(vocab, merges, special_tokens=special_tokens)


def _merge_from(entry: object) -> tuple[str, str]:
    """Read one merge, written ``"a b"`` or ``["a", "b"]``."""
    parts = entry.split(" ") if isinstance(entry, str) else entry
    if not isinstance(parts, list) or len(parts) != 2:
        raise ValueError(f"merges hold {entry!r}, needs two tokens")
    left, right = parts
    if not isinstance(left, str) or not isinstance(right, str):
        raise ValueError(f"merges hold {entry!r}, needs two tokens")
    return left, right
