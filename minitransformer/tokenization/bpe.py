"""Byte-pair encoding: text is bytes, and frequent neighbors become one token.

Training is in :mod:`minitransformer.tokenization.merges`. Encoding replays the merges
in the order in which they were learned: of all pairs of neighbors in a chunk, the one
that was learned first is merged first, the leftmost among equals.

Sources: Sennrich, Haddow & Birch, arXiv:1508.07909; Radford et al. (2019), GPT-2, for
bytes as the alphabet. Tokens, ids, offsets and the file are those of the ``tokenizers``
package.

Any ``str`` can be encoded, and decoding gives it back: a lone surrogate, which UTF-8
has no bytes for, becomes the three bytes of its code point (``surrogatepass``). Ids
whose bytes are no such text decode with U+FFFD in place of what cannot be read.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise, repeat
from pathlib import Path
from typing import Any, Self

import numpy as np

from minitransformer.tokenization import pretokenize
from minitransformer.tokenization.base import Tokenizer, check_special_tokens
from minitransformer.tokenization.merges import (
    BYTES_IN_ORDER,
    OTHERS,
    PRINTABLE,
    Pair,
    learn,
)

_BYTE_TO_CHAR = {b: chr(b) for b in PRINTABLE} | {
    byte: chr(256 + i) for i, byte in enumerate(OTHERS)
}
_CHAR_TO_BYTE = {char: byte for byte, char in _BYTE_TO_CHAR.items()}
_LONG_CHUNK = 128
_MERGED = -1


class BPE(Tokenizer):
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
        for byte, char in _BYTE_TO_CHAR.items():
            if char not in vocab:
                raise ValueError(f"vocab lacks the byte {byte} (written {char!r})")
        self._byte_ids = [vocab[_BYTE_TO_CHAR[byte]] for byte in range(256)]
        self._bytes = [self._spell(token) for token in self._tokens]
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

    def _spell(self, token: str) -> bytes:
        if token in self._special:
            return token.encode("utf-8", "surrogatepass")
        try:
            return bytes(_CHAR_TO_BYTE[char] for char in token)
        except KeyError:
            raise ValueError(f"token {token!r} is not in the byte alphabet") from None

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
        check_special_tokens(special_tokens)
        shift = len(special_tokens)
        if vocab_size < 256 + shift:
            raise ValueError(
                f"vocab_size is {vocab_size}, needs at least {256 + shift} "
                f"(256 bytes and {shift} special tokens)"
            )
        if isinstance(iterator, str):
            raise TypeError("iterator is one str, needs several texts")
        chunks: Counter[str] = Counter()
        find = pretokenize.compiled(pretokenizer).findall
        for text in iterator:
            if not isinstance(text, str):
                raise TypeError(f"a text is {type(text).__name__}, needs str")
            chunks.update(find(text))
        words = {
            chunk.encode("utf-8", "surrogatepass"): n for chunk, n in chunks.items()
        }
        learned = learn(words, vocab_size - shift, min_frequency)
        tokens = [_BYTE_TO_CHAR[byte] for byte in BYTES_IN_ORDER]
        merges = []
        for (left, right), new_id in learned.items():
            merges.append((tokens[left], tokens[right]))
            if new_id == len(tokens):
                tokens.append(tokens[left] + tokens[right])
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

    def offsets(self, ids: Sequence[int], text: str) -> list[tuple[int, int]]:
        """Return the span of characters of ``text`` that each of its ids covers."""
        width = [len(char.encode("utf-8", "surrogatepass")) for char in text]
        char_at = np.repeat(np.arange(len(text)), width)
        ends = np.cumsum([len(self._bytes[i]) for i in ids], dtype=np.int64)
        starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)[: len(ends)]
        first, last = char_at[starts].tolist(), char_at[ends - 1].tolist()
        return [(a, b + 1) for a, b in zip(first, last, strict=True)]

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes that a token stands for.

        Raises:
            ValueError: the id is not in the vocabulary.
        """
        self.id_to_token(token_id)
        return self._bytes[token_id]

    def _join(self, ids: Sequence[int]) -> str:
        data = b"".join([self._bytes[i] for i in ids])
        try:
            return data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return data.decode("utf-8", "replace")

    def to_dict(self) -> dict[str, Any]:
        """Return what :meth:`save` writes: the JSON of the ``tokenizers`` package."""
        flags = {"single_word": False, "lstrip": False, "rstrip": False}
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {
                    "id": i,
                    "content": token,
                    **flags,
                    "normalized": False,
                    "special": True,
                }
                for token, i in self._special.items()
            ],
            "normalizer": None,
            "pre_tokenizer": _PRE_TOKENIZERS[self.pretokenizer],
            "post_processor": None,
            "decoder": _byte_level(use_regex=True),
            "model": {
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
            },
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Build a tokenizer from what :meth:`to_dict` returns.

        Raises:
            ValueError: a part is missing, or asks for something that byte-level BPE as
                written here does not do (the message names it).
        """
        model = state.get("model")
        if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
            raise ValueError("model is not of type BPE")
        _refuse(state, "", "truncation", "padding", "normalizer")
        _refuse(
            model,
            "model.",
            "dropout",
            "unk_token",
            "continuing_subword_prefix",
            "end_of_word_suffix",
            "byte_fallback",
            "ignore_merges",
        )
        after = state.get("post_processor")
        if after is not None and after.get("type") != "ByteLevel":
            raise ValueError(f"post_processor {after}: not supported")
        vocab, merges = model.get("vocab"), model.get("merges")
        if not isinstance(vocab, dict) or not isinstance(merges, list):
            raise ValueError("model needs a vocab (an object) and merges (a list)")
        if not all(type(i) is int for i in vocab.values()):
            raise ValueError("model.vocab needs whole numbers as ids")
        special = _special_tokens(state.get("added_tokens", []))
        return cls(
            vocab | special,
            [_merge_from(entry) for entry in merges],
            special_tokens=list(special),
            pretokenizer=_style_of(state.get("pre_tokenizer")),
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


def _byte_level(*, use_regex: bool) -> dict[str, Any]:
    settings = {"add_prefix_space": False, "trim_offsets": False}
    return {"type": "ByteLevel", **settings, "use_regex": use_regex}


def _split_by(pattern: str) -> dict[str, Any]:
    split: dict[str, Any] = {"type": "Split", "pattern": {"Regex": pattern}}
    split |= {"behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, _byte_level(use_regex=False)]}


_PRE_TOKENIZERS = {
    "gpt2": _byte_level(use_regex=True),
    "gpt4": _split_by(pretokenize.STYLES["gpt4"]),
    "whitespace": _split_by(pretokenize.STYLES["whitespace"]),
    "none": _byte_level(use_regex=False),
}


def _style_of(pre_tokenizer: object) -> str:
    """Recognize one of our styles; where offsets are trimmed is no part of it."""

    def plain(part: object) -> object:
        if isinstance(part, dict):
            return {k: plain(v) for k, v in part.items() if k != "trim_offsets"}
        return [plain(item) for item in part] if isinstance(part, list) else part

    for style, known in _PRE_TOKENIZERS.items():
        if plain(pre_tokenizer) == plain(known):
            return style
    raise ValueError(f"pre_tokenizer {pre_tokenizer}: not supported")


def _refuse(state: Mapping[str, Any], where: str, *options: str) -> None:
    for option in options:
        if state.get(option):
            raise ValueError(f"{where}{option} is {state[option]!r}: not supported")


def _special_tokens(added: object) -> dict[str, int]:
    if not isinstance(added, list):
        raise ValueError("added_tokens is no list")
    special = {}
    for token in added:
        if not isinstance(token, dict) or not {"id", "content"} <= token.keys():
            raise ValueError(f"added_tokens hold {token!r}, needs an id and a content")
        _refuse(token, "added_tokens.", "single_word", "lstrip", "rstrip")
        special[token["content"]] = token["id"]
    return special


def _merge_from(entry: object) -> tuple[str, str]:
    """Read one merge, written ``"a b"`` or ``["a", "b"]``."""
    parts = entry.split(" ") if isinstance(entry, str) else entry
    if not isinstance(parts, list) or len(parts) != 2:
        raise ValueError(f"merges hold {entry!r}, needs two tokens")
    left, right = parts
    if not isinstance(left, str) or not isinstance(right, str):
        raise ValueError(f"merges hold {entry!r}, needs two tokens")
    return left, right
