"""What all tokenizers share: encodings, special tokens, streaming, files.

A tokenizer turns text into ids and back. The names are those of the ``tokenizers``
package, and so is the file format: one JSON file that both can read.
"""

import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from operator import index
from pathlib import Path
from typing import Any, Self

from minitransformer.tokenization import pretokenize

_CACHED_CHUNKS = 1 << 17
_LONGEST_CACHED = 64


class Encoding:
    """One text as tokens.

    Attributes:
        ids: one id a token.
        tokens: one string a token, as it stands in the vocabulary.
        offsets: one ``(start, end)`` a token: the characters ``text[start:end]`` that
            it belongs to. Tokens that share a character each span all of it.
    """

    def __init__(self, ids: list[int], text: str, tokenizer: "Tokenizer") -> None:
        """Keep the ids; tokens and offsets are worked out when they are asked for."""
        self.ids = ids
        self._text = text
        self._tokenizer = tokenizer

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.ids)

    def __repr__(self) -> str:
        """Show the size, not the text: it may be long."""
        return f"Encoding(num_tokens={len(self.ids)})"

    @cached_property
    def tokens(self) -> list[str]:
        """One string a token, as it stands in the vocabulary."""
        return [self._tokenizer.id_to_token(i) for i in self.ids]

    @cached_property
    def offsets(self) -> list[tuple[int, int]]:
        """One ``(start, end)`` a token, in characters of the text."""
        return self._tokenizer.offsets(self.ids, self._text)


class _ChunkCache(dict[str, list[int]]):
    """Remember the ids of short chunks; forget all when there are too many."""

    def __init__(self, tokenizer: "Tokenizer") -> None:
        self._encode_chunk = tokenizer.encode_chunk

    def __missing__(self, chunk: str) -> list[int]:
        ids = self._encode_chunk(chunk)
        if len(chunk) <= _LONGEST_CACHED:
            if len(self) >= _CACHED_CHUNKS:
                self.clear()
            self[chunk] = ids
        return ids


class Tokenizer(ABC):
    """Text to ids and back; a subclass says how one chunk is encoded."""

    def __init__(
        self,
        vocab: Mapping[str, int],
        *,
        special_tokens: Sequence[str] = (),
        pretokenizer: str = "gpt2",
    ) -> None:
        """Set up a tokenizer from its vocabulary.

        Args:
            vocab: token -> id, special tokens included; ids are 0, 1, 2, ...
            special_tokens: tokens found in the text before it is pre-tokenized, the
                longest first where several fit.
            pretokenizer: a style of :mod:`minitransformer.tokenization.pretokenize`.

        Raises:
            ValueError: ids are not 0, 1, 2, ...; a special token is empty, repeated or
                not in the vocabulary; there is no such pre-tokenizer.
        """
        if sorted(vocab.values()) != list(range(len(vocab))):
            raise ValueError("vocab needs the ids 0, 1, 2, ..., each once")
        check_special_tokens(special_tokens)
        for token in special_tokens:
            if token not in vocab:
                raise ValueError(f"special token {token!r} is not in the vocabulary")
        self._vocab = dict(vocab)
        self._tokens = sorted(vocab, key=vocab.__getitem__)
        self._special = {token: vocab[token] for token in special_tokens}
        self._special_ids = frozenset(self._special.values())
        longest_first = sorted(map(re.escape, special_tokens), key=len, reverse=True)
        self._find_special = (
            re.compile("|".join(longest_first)) if longest_first else None
        )
        self.pretokenizer = pretokenizer
        self._chunks = pretokenize.compiled(pretokenizer).findall
        self._cache = _ChunkCache(self)

    @property
    def special_tokens(self) -> list[str]:
        """The special tokens."""
        return list(self._special)

    @abstractmethod
    def encode_chunk(self, chunk: str) -> list[int]:
        """Return the ids of one chunk of pre-tokenized text."""

    @abstractmethod
    def offsets(self, ids: Sequence[int], text: str) -> list[tuple[int, int]]:
        """Return the span of characters of ``text`` that each of its ids covers."""

    @abstractmethod
    def _join(self, ids: Sequence[int]) -> str:
        """Return the text of ids that are no special tokens."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return what :meth:`save` writes: the JSON of the ``tokenizers`` package."""

    def _ids(self, text: str) -> list[int]:
        if not isinstance(text, str):
            raise TypeError(f"text is {type(text).__name__}, needs str")
        if self._find_special is None:
            return self._plain_ids(text)
        ids, start = [], 0
        for match in self._find_special.finditer(text):
            ids += self._plain_ids(text[start : match.start()])
            ids.append(self._special[match[0]])
            start = match.end()
        return ids + self._plain_ids(text[start:])

    def _plain_ids(self, text: str) -> list[int]:
        known = self._cache.__getitem__
        return list(chain.from_iterable(map(known, self._chunks(text))))

    def encode(self, text: str) -> Encoding:
        """Encode one text.

        Raises:
            TypeError: ``text`` is no string.
        """
        return Encoding(self._ids(text), text, self)

    def encode_batch(self, texts: Iterable[str]) -> list[Encoding]:
        """Encode several texts.

        Raises:
            TypeError: ``texts`` is a single string.
        """
        if isinstance(texts, str):
            raise TypeError("texts is one str, needs several in a list")
        return [self.encode(text) for text in texts]

    def encode_iterable(self, pieces: Iterable[str]) -> Iterator[int]:
        """Encode a text that comes in pieces, such as the lines of an open file.

        The ids are those of all pieces joined, wherever they were cut. Text is held
        back only until it can be cut safely, so memory does not grow with the file.
        (With the pre-tokenizer ``none`` it does: there the whole text is one chunk.)

        Args:
            pieces: strings, in order.

        Yields:
            One id after the other.

        Raises:
            TypeError: a piece is no string.
        """
        held: list[str] = []
        size = kept = 0
        for piece in pieces:
            if not isinstance(piece, str):
                raise TypeError(f"a piece is {type(piece).__name__}, needs str")
            held.append(piece)
            size += len(piece)
            if self.pretokenizer != "none" and size > 2 * kept:  # so work stays linear
                text = "".join(held)
                cut = self._safe_cut(text)
                yield from self._ids(text[:cut])
                held = [text[cut:]]
                size = kept = len(text) - cut
        yield from self._ids("".join(held))

    def _safe_cut(self, text: str) -> int:
        """Cut where no chunk is changed, and where no special token lies across."""
        if self._find_special is None:
            return pretokenize.safe_cut(text)
        longest = max(map(len, self._special))
        cut = pretokenize.safe_cut(text[: max(len(text) - longest + 1, 0)])
        for match in self._find_special.finditer(text):
            if match.start() < cut < match.end():
                return match.end()
        return cut

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """Turn ids back into text.

        Args:
            ids: token ids.
            skip_special_tokens: leave special tokens out of the text.

        Raises:
            TypeError: ``ids`` holds something other than whole numbers.
            ValueError: an id is not in the vocabulary.
        """
        parts: list[str] = []
        run: list[int] = []
        for i in map(index, ids):  # also from arrays and tensors
            if not 0 <= i < len(self._tokens):
                raise ValueError(
                    f"id {i} is not in the vocabulary of {len(self._tokens)}"
                )
            if i not in self._special_ids:
                run.append(i)
            elif not skip_special_tokens:
                parts += [self._join(run), self._tokens[i]]
                run = []
        return "".join([*parts, self._join(run)])

    def decode_batch(
        self, sequences: Iterable[Iterable[int]], skip_special_tokens: bool = True
    ) -> list[str]:
        """Turn several sequences of ids back into texts."""
        return [self.decode(ids, skip_special_tokens) for ids in sequences]

    def token_to_id(self, token: str) -> int | None:
        """Return the id of a token, None if there is no such token."""
        return self._vocab.get(token)

    def id_to_token(self, token_id: int) -> str:
        """Return the token of an id.

        Raises:
            ValueError: the id is not in the vocabulary.
        """
        if not 0 <= token_id < len(self._tokens):
            raise ValueError(
                f"id {token_id} is not in the vocabulary of {len(self._tokens)}"
            )
        return self._tokens[token_id]

    def get_vocab(self) -> dict[str, int]:
        """Return a copy of the vocabulary: token -> id."""
        return dict(self._vocab)

    def get_vocab_size(self) -> int:
        """Return the number of tokens, special tokens included."""
        return len(self._vocab)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one JSON file that ``tokenizers.Tokenizer.from_file`` can read too.

        The file appears whole or not at all: a failed save leaves an old one as it was.
        """
        text = json.dumps(self.to_dict(), ensure_ascii=False, indent=1)
        path = Path(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    @abstractmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Build a tokenizer from what :meth:`to_dict` returns."""

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file that :meth:`save`, or the ``tokenizers`` package, has written.

        Raises:
            ValueError: the file is no JSON, or not of this kind of tokenizer.
        """
        try:
            state = json.loads(Path(path).read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is no tokenizer file: {error}") from error
        if not isinstance(state, dict):
            raise ValueError(f"{path} is no tokenizer file: it holds no JSON object")
        return cls.from_dict(state)


def check_special_tokens(special_tokens: Sequence[str]) -> None:
    """Raise unless the special tokens are strings, none empty, none twice."""
    if isinstance(special_tokens, str):
        raise TypeError("special_tokens is one str, needs several in a list")
    for token in special_tokens:
        if not isinstance(token, str):
            raise TypeError(f"a special token is {type(token).__name__}, needs str")
        if not token:
            raise ValueError("special_tokens holds an empty token")
        if any("\ud800" <= char <= "\udfff" for char in token):
            raise ValueError(f"special_tokens holds {token!r}, a lone surrogate")
    if len(set(special_tokens)) != len(special_tokens):
        raise ValueError("special_tokens holds a token twice")
