"""Text that breaks tokenizers, and what holds for all, for the tests of this folder."""

import unicodedata
from typing import Any

from hypothesis import strategies as st

from minitransformer.tokenization.base import Tokenizer

ODD = [
    *"aab\x00 \n\t\r'sſté½²_中😀!",
    "  ",
    "'ll",
    "'RE",
    "\u0300",
    "\u200d",
    "\x1c",
    "\x85",
    "\xa0",
    "\u3000",
    "\ud800",
    "\udfff",
    "👩‍👩‍👧",
    "<s>",
    "<pad two>",
]
any_text = st.one_of(
    st.text(st.characters(), max_size=40),
    st.lists(st.sampled_from(ODD), max_size=25).map("".join),
)


def _is_assigned(char: str) -> bool:
    return unicodedata.category(char) not in ("Cn", "Cs")


assigned_text = any_text.map(lambda text: "".join(filter(_is_assigned, text)))
"""No lone surrogates (other packages refuse them), nothing newer than this Python."""


def cover(offsets: list[tuple[int, int]], text: str) -> bool:
    """Tell whether offsets go from left to right and leave no character out."""
    covered = {place for start, end in offsets for place in range(start, end)}
    return offsets == sorted(offsets) and covered == set(range(len(text)))


def decode_alike(ours: Tokenizer, theirs: Any, ids: list[int], skip: bool) -> bool:
    """Tell whether two tokenizers decode alike; theirs knows no lone surrogates."""
    text = ours.decode(ids, skip_special_tokens=skip)
    lone = any("\ud800" <= char <= "\udfff" for char in text)
    return lone or text == theirs.decode(ids, skip_special_tokens=skip)
