"""All heads of a model on one text, to point at: a page that needs nothing else.

The page holds the tokens, a small map of every head, the map of the chosen one, and a
sentence that says what is seen. It works by mouse, finger and keyboard, in light and in
dark, without a network; a weight is stored in one byte, so it is off by up to 1/510.
"""

import base64
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from minitransformer.plot.style import visible

LONGEST = 128
TEMPLATE = Path(__file__).with_suffix(".html")


def attention_explorer(
    tokens: Sequence[str],
    weights: ArrayLike,
    *,
    title: str = "Attention, head by head",
    layer: int = 0,
    head: int = 0,
    token: int = -1,
    height: int = 900,
) -> "Explorer":
    """Make a page on which the heads of a model can be looked at.

    Args:
        tokens: the text, ``L`` pieces, at most 128; white space is made visible.
        weights: ``[layers, heads, L, L]``, a row for each query: where it looks. A row
            sums to one, or is all zeros if its query may see no key.
        title: the heading.
        layer: the layer shown first, from 0; negative counts from the end.
        head: its head, from 0.
        token: the token looked at first.
        height: pixels in a notebook, until the page has measured itself.

    Returns:
        The page. In a notebook it shows itself.

    Raises:
        ValueError: the weights are not what they should be, there is another number of
            tokens, or there is no such layer, head or token.
    """
    maps = _maps(weights)
    layers, heads, length, _ = maps.shape
    if len(tokens) != length:
        raise ValueError(f"tokens has {len(tokens)} entries, weights is for {length}")
    start = {
        name: _index(name, index, count)
        for name, index, count in (
            ("layer", layer, layers),
            ("head", head, heads),
            ("token", token, length),
        )
    }
    data = {
        "tokens": [visible(text) for text in tokens],
        "spoken": [text.strip() or visible(text) for text in tokens],
        "layers": layers,
        "heads": heads,
        "start": start,
        "weights": base64.b64encode(_bytes(maps)).decode("ascii"),
    }
    parts = {"title": escape(title), "data": _inside_script(data)}
    return Explorer(_fill(TEMPLATE.read_text(encoding="utf-8"), parts), title, height)


def _maps(weights: ArrayLike) -> np.ndarray:
    try:
        maps = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "weights is no array of numbers, needs (layers, heads, L, L)"
        ) from error
    wanted = f"weights has shape {maps.shape}, needs (layers, heads, L, L)"
    if maps.ndim != 4 or maps.shape[2] != maps.shape[3] or 0 in maps.shape:
        raise ValueError(wanted)
    if maps.shape[2] > LONGEST:
        raise ValueError(f"{wanted} with L at most {LONGEST}")
    if not np.isfinite(maps).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(maps))[0])
        raise ValueError(f"weights{list(place)} is {maps[place]}, needs numbers 0 to 1")
    if maps.min() < 0:
        place = tuple(int(i) for i in np.argwhere(maps < 0)[0])
        raise ValueError(f"weights{list(place)} is {maps[place]}, needs numbers 0 to 1")
    sums = maps.sum(axis=3)
    wrong = (np.abs(sums - 1) > 0.02) & (sums != 0)  # a row of bfloat16 is off by 0.01
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"weights{list(place)} sums to {sums[place]:.3f}, needs rows that sum to 1"
        )
    return maps


def _index(name: str, index: int, count: int) -> int:
    if not -count <= index < count:
        raise ValueError(f"{name} is {index}, needs {-count} to {count - 1}")
    return index % count


def _bytes(maps: np.ndarray) -> bytes:
    """Return each weight as a byte, 255 for one."""
    return np.rint(255 * np.minimum(maps, 1)).astype(np.uint8).tobytes()


def _inside_script(data: object) -> str:
    """Return JSON that cannot end the script element it stands in."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _fill(template: str, parts: dict[str, str]) -> str:
    """Put each part in its place, ``{{name}}``; a part is not looked into."""
    first, *rest = template.split("{{")
    ends = (piece.partition("}}") for piece in rest)
    return first + "".join(parts[name] + text for name, _, text in ends)


@dataclass(frozen=True)
class Explorer:
    """A page, whole in itself.

    Attributes:
        html: the page.
        title: its heading.
        height: pixels it takes in another page.
    """

    html: str
    title: str
    height: int

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page to a file, to be opened in a browser."""
        Path(path).write_text(self.html, encoding="utf-8")

    def _repr_html_(self) -> str:
        """Return a frame with the page: nothing in it meets the names around it."""
        look = f"width:100%;height:{self.height}px;border:0"
        return (
            f'<iframe title="{escape(self.title)}" style="{look}" '
            f'srcdoc="{escape(self.html)}"></iframe>'
        )
