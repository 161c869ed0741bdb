"""Figures of text: the pieces it is cut into, and all the ways to cut it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Arc, FancyBboxPatch

from minitransformer.plot.style import (
    COLORS,
    FAINT,
    INK,
    SMALLEST,
    axes_or_new,
    visible,
)


def _tint(color: str, amount: float) -> tuple[float, ...]:
    return tuple(1 - amount * (1 - channel) for channel in to_rgb(color))


def token_strip(
    rows: Mapping[str, Sequence[str]],
    *,
    widths: Mapping[str, Sequence[float]] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> None:
    """Draw one text cut in several ways: a strip of colored boxes for each way.

    A box is as wide as its piece is long, so that strips of one text line up. White
    space is made visible.

    Args:
        rows: label of the strip -> its pieces, in order.
        widths: label of the strip -> one width a piece, where a piece's length is not
            what lines up (bytes under the characters they encode, say).
        title: what the strips show.
        ax: axes to draw on; new ones by default.

    Raises:
        ValueError: a strip has another number of widths than pieces.
    """
    ax = axes_or_new(ax, 0.4 + 0.55 * len(rows))
    right = 1.0
    for line, (label, pieces) in enumerate(rows.items()):
        sizes = (widths or {}).get(label, [max(len(piece), 1) for piece in pieces])
        if len(sizes) != len(pieces):
            raise ValueError(
                f"widths of {label!r} has {len(sizes)} entries, "
                f"the strip has {len(pieces)} pieces"
            )
        edges = np.concatenate([[0.0], np.cumsum(np.asarray(sizes, dtype=float))])
        boxes = zip(pieces, edges, sizes, strict=False)
        for i, (piece, left, size) in enumerate(boxes):
            color = COLORS[i % len(COLORS)]
            box = FancyBboxPatch(
                (left + 0.04, -line - 0.36),
                size - 0.08,
                0.72,
                boxstyle="round,pad=0,rounding_size=0.12",
                facecolor=_tint(color, 0.25),
                edgecolor=color,
                linewidth=0.8,
            )
            ax.add_patch(box)
            center = (left + size / 2, -line)
            ax.annotate(
                visible(piece), center, ha="center", va="center_baseline", fontsize=10
            )
        right = max(right, edges[-1])
    ax.set_xlim(0, right)
    ax.set_ylim(-len(rows) + 0.5, 0.5)
    ax.set_yticks([-line for line in range(len(rows))], list(rows))
    ax.set_xticks([])
    ax.spines[:].set_visible(False)
    ax.set_title(title)


def lattice(
    chunk: str,
    pieces: Mapping[tuple[int, int], str],
    *,
    best: Iterable[tuple[int, int]] = (),
    title: str = "",
    ax: Axes | None = None,
) -> None:
    """Draw all ways to cut a chunk: an arc for each piece, over the letters it spells.

    Args:
        chunk: one sign a letter; between them lie the places 0 to ``len(chunk)``.
        pieces: (start, end) -> what is written on top of the arc.
        best: the arcs of one way to cut, drawn strongly.
        title: what the lattice shows.
        ax: axes to draw on; new ones by default.
    """
    ax = axes_or_new(ax)
    chosen = set(best)
    for start, end in sorted(pieces, key=chosen.__contains__):
        strong = (start, end) in chosen
        center, height = (start + end) / 2, 0.75 * (end - start) ** 0.8
        look: dict[str, Any] = {"color": COLORS[1] if strong else FAINT}
        look |= {"theta2": 180, "linewidth": 3 if strong else 1}
        ax.add_patch(Arc((center, 0), end - start, 2 * height, **look))
        look = {
            "color": COLORS[1] if strong else INK,
            "fontsize": SMALLEST,
            "ha": "center",
        }
        look["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        look["fontweight"] = "bold" if strong else "normal"
        ax.text(center, height, pieces[start, end], va="center", **look)
    ax.plot(range(len(chunk) + 1), [0] * (len(chunk) + 1), "o", color=INK)
    for i, letter in enumerate(chunk):
        ax.annotate(visible(letter), (i + 0.5, -0.35), ha="center", va="center")
    longest = max((end - start for start, end in pieces), default=1)
    ax.set(xlim=(-0.2, len(chunk) + 0.2), ylim=(-0.65, 0.75 * longest**0.8 + 0.35))
    ax.set_axis_off()
    ax.set_title(title)
