r"""Cut text into chunks that no token crosses, before any tokenizer sees it.

Every style is one regular expression whose matches, put end to end, are the text:

``gpt2``
    contractions; letters, numbers or other signs, each with the one space before
    them; white space.
``gpt4``
    as ``gpt2``, but numbers in groups of three, any one sign before letters, and line
    ends after signs.
``whitespace``
    runs without white space, each with the one space before it.
``none``
    the whole text.

In every style but ``none``, a space that follows something other than white space
begins a new chunk, whatever stands around it: text may be cut there and its parts
pre-tokenized one by one (:func:`safe_cut`).

Sources: GPT-2 (Radford et al. 2019); the ``cl100k`` encoding of GPT-4. Both write the
Unicode letters and numbers as ``\p{L}`` and ``\p{N}``, which Python's ``re`` lacks, so
:func:`compiled` spells them out from ``unicodedata``. Characters assigned after this
Python's Unicode version count as other signs.
"""

import re
import unicodedata
from functools import cache

_CONTRACTION = "'(?:[sdmt]|ll|ve|re)"
STYLES = {
    "gpt2": (
        rf"{_CONTRACTION}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+"
    ),
    "gpt4": (
        rf"(?i:{_CONTRACTION})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "whitespace": r" ?\S+|\s+(?!\S)|\s+",
    "none": r"(?s:.+)",
}
_ASCII_WORD = r" ?[A-Za-z]++(?![^\x00-\x7f])"  # most words, and quick to recognize
_SPACES = {*"\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000"} | {
    chr(code) for code in range(0x2000, 0x200B)
}
_ALL_CLASSIFIED = 0x40000  # no letter, number or space lies beyond


def _one_of(characters: list[bool]) -> str:
    """Write the characters that are marked as a ``[...]`` of ``re``."""
    edges = [i for i in range(1, len(characters)) if characters[i] != characters[i - 1]]
    edges = [0] * characters[0] + edges + [0x110000] * characters[-1]
    runs = zip(edges[::2], edges[1::2], strict=True)
    return "[" + "".join(rf"\U{a:08x}-\U{b - 1:08x}" for a, b in runs) + "]"


@cache
def _classes() -> dict[str, str]:
    everything = [chr(code) for code in range(_ALL_CLASSIFIED)]
    kind = ["s" if c in _SPACES else unicodedata.category(c)[0] for c in everything]
    return {
        r"[^\r\n\p{L}\p{N}]": _one_of(
            [
                k not in "LN" and c not in "\r\n"
                for k, c in zip(kind, everything, strict=True)
            ]
        ),
        r"[^\s\p{L}\p{N}]": _one_of([k not in "sLN" for k in kind]),
        r"\p{L}": _one_of([k == "L" for k in kind]),
        r"\p{N}": _one_of([k == "N" for k in kind]),
        r"\s": _one_of([k == "s" for k in kind]),
        r"\S": _one_of([k != "s" for k in kind]),
    }


@cache
def compiled(style: str) -> re.Pattern[str]:
    """Return the compiled expression of a style, in the syntax of Python's ``re``.

    Raises:
        ValueError: there is no such style.
    """
    if style not in STYLES:
        raise ValueError(f"pretokenizer is {style!r}, needs one of {sorted(STYLES)}")
    classes = _classes()
    names = "|".join(re.escape(name) for name in classes)
    spelled_out = re.sub(names, lambda m: classes[m[0]], STYLES[style])
    return re.compile(
        f"{_ASCII_WORD}|{spelled_out}" if style in ("gpt2", "gpt4") else spelled_out
    )


def split(text: str, style: str = "gpt2") -> list[str]:
    """Cut ``text`` into chunks; joined, they are the text again.

    Raises:
        ValueError: there is no such style.
    """
    return compiled(style).findall(text)


def safe_cut(text: str) -> int:
    """Return the last place where ``text`` can be cut without changing any chunk.

    That is before the last space that follows something other than white space; 0 if
    there is none. Not for the style ``none``, whose only chunk is the whole text.
    """
    end = len(text)
    while (end := text.rfind(" ", 1, end)) > 0:
        if text[end - 1] not in _SPACES:
            return end
    return 0
