"""Bytes as the alphabet of a tokenizer, written as GPT-2 writes them.

Every token stands for some bytes. In the vocabulary each byte is one printable
character: a printable byte is itself, a space is ``Ġ``, and so on for the others. Since
all 256 bytes are tokens, no text is unknown.

Any ``str`` can be encoded, and decoding gives it back: a lone surrogate, which UTF-8
has no bytes for, becomes the three bytes of its code point (``surrogatepass``). Ids
whose bytes are no such text decode with U+FFFD in place of what cannot be read.

Source: Radford et al. (2019), GPT-2. The file is that of the ``tokenizers`` package.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from minitransformer.tokenization import pretokenize
from minitransformer.tokenization.base import Tokenizer, check_special_tokens

_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
BYTES_IN_ORDER = bytes(_PRINTABLE + _OTHERS)
"""All bytes in the order of their ids, printable ones first."""
BYTE_TO_CHAR = {b: chr(b) for b in _PRINTABLE} | {
    byte: chr(256 + i) for i, byte in enumerate(_OTHERS)
}
_CHAR_TO_BYTE = {char: byte for byte, char in BYTE_TO_CHAR.items()}


def written(data: bytes) -> str:
    """Write bytes in the alphabet, one character a byte."""
    return "".join([BYTE_TO_CHAR[byte] for byte in data])


def read_written(token: str) -> bytes:
    """Return the bytes that a token in the alphabet stands for.

    Raises:
        ValueError: the token is not written in the alphabet.
    """
    try:
        return bytes(_CHAR_TO_BYTE[char] for char in token)
    except KeyError:
        raise ValueError(f"token {token!r} is not in the byte alphabet") from None


def count_chunks(iterator: Iterable[str], pretokenizer: str) -> dict[bytes, int]:
    """Count the chunks of pre-tokenized texts.

    Args:
        iterator: texts; each is pre-tokenized on its own.
        pretokenizer: a style of :mod:`minitransformer.tokenization.pretokenize`.

    Returns:
        chunk -> how often it occurs, in the order of first occurrence.

    Raises:
        TypeError: a text is no string.
    """
    if isinstance(iterator, str):
        raise TypeError("iterator is one str, needs several texts")
    chunks: Counter[str] = Counter()
    find = pretokenize.compiled(pretokenizer).findall
    for text in iterator:
        if not isinstance(text, str):
            raise TypeError(f"a text is {type(text).__name__}, needs str")
        chunks.update(find(text))
    return {chunk.encode("utf-8", "surrogatepass"): n for chunk, n in chunks.items()}


def room_for_pieces(vocab_size: int, special_tokens: Sequence[str]) -> int:
    """Return how many tokens of ``vocab_size`` are not special.

    Raises:
        ValueError: that is less than the 256 bytes, or a special token is empty or
            repeated.
    """
    check_special_tokens(special_tokens)
    least = 256 + len(special_tokens)
    if vocab_size < least:
        raise ValueError(
            f"vocab_size is {vocab_size}, needs at least {least} "
            f"(256 bytes and {len(special_tokens)} special tokens)"
        )
    return vocab_size - len(special_tokens)


class ByteLevelTokenizer(Tokenizer):
    """A tokenizer whose tokens stand for bytes."""

    def __init__(
        self,
        vocab: Mapping[str, int],
        *,
        special_tokens: Sequence[str] = (),
        pretokenizer: str = "gpt2",
    ) -> None:
        """Set up a tokenizer from its vocabulary, as every tokenizer.

        Raises:
            ValueError: a byte is missing from the vocabulary, or a token is not written
                in the alphabet.
        """
        super().__init__(
            vocab, special_tokens=special_tokens, pretokenizer=pretokenizer
        )
        for byte, char in BYTE_TO_CHAR.items():
            if char not in vocab:
                raise ValueError(f"vocab lacks the byte {byte} (written {char!r})")
        self._byte_ids = [vocab[BYTE_TO_CHAR[byte]] for byte in range(256)]
        self._bytes = [self._spell(token) for token in self._tokens]

    def _spell(self, token: str) -> bytes:
        if token in self._special:
            return token.encode("utf-8", "surrogatepass")
        return read_written(token)

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

    def _document(self, model: dict[str, Any]) -> dict[str, Any]:
        """Return the JSON of the ``tokenizers`` package around a model."""
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
            "decoder": byte_level_step(use_regex=True),
            "model": model,
        }


def read_document(
    state: Mapping[str, Any], kind: str
) -> tuple[dict[str, Any], dict[str, int], str]:
    """Take the JSON of the ``tokenizers`` package apart.

    Args:
        state: what the file holds.
        kind: the type that the model must have.

    Returns:
        The model; the special tokens with their ids; the style of pre-tokenizer.

    Raises:
        ValueError: a part is missing, or asks for something that is not done here.
    """
    model = state.get("model")
    if not isinstance(model, dict) or model.get("type", kind) != kind:
        raise ValueError(f"model is not of type {kind}")
    refuse(state, "", "truncation", "padding", "normalizer")
    for part in ("post_processor", "decoder"):
        step = state.get(part)
        if step and not (isinstance(step, dict) and step.get("type") == "ByteLevel"):
            raise ValueError(f"{part} {step}: not supported")
    special = _special_tokens(state.get("added_tokens", []))
    return model, special, _style_of(state.get("pre_tokenizer"))


def byte_level_step(*, use_regex: bool) -> dict[str, Any]:
    """Return the JSON by which the ``tokenizers`` package goes to bytes and back."""
    settings = {"add_prefix_space": False, "trim_offsets": False}
    return {"type": "ByteLevel", **settings, "use_regex": use_regex}


def _split_by(pattern: str) -> dict[str, Any]:
    split: dict[str, Any] = {"type": "Split", "pattern": {"Regex": pattern}}
    split |= {"behavior": "Isolated", "invert": False}
    return {
        "type": "Sequence",
        "pretokenizers": [split, byte_level_step(use_regex=False)],
    }


_PRE_TOKENIZERS = {
    "gpt2": byte_level_step(use_regex=True),
    "gpt4": _split_by(pretokenize.STYLES["gpt4"]),
    "whitespace": _split_by(pretokenize.STYLES["whitespace"]),
    "none": byte_level_step(use_regex=False),
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


def refuse(state: Mapping[str, Any], where: str, *options: str) -> None:
    """Raise if one of the options is set."""
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
        if not isinstance(token["content"], str) or type(token["id"]) is not int:
            raise ValueError(f"added_tokens hold {token!r}, needs text and a number")
        refuse(token, "added_tokens.", "single_word", "lstrip", "rstrip")
        if token.get("special") is not True:
            raise ValueError(f"added_tokens hold {token!r}, which is not special")
        if token["content"] in special:
            raise ValueError(f"added_tokens hold {token['content']!r} twice")
        special[token["content"]] = token["id"]
    return special
