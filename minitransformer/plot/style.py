"""Colors, fonts and sizes of every figure, and the axes that they are drawn on.

Colors can be told apart by color-blind readers; lines also differ by dash and marker,
maps by lightness, so a gray print loses nothing. Sizes suit a phone: 6.4 inches wide,
11 point, and nothing below 9.
"""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

WIDTH = 6.4
SMALLEST = 9  # points
INK = "#1f2430"
FAINT = "#8a90a0"
COLORS = ("#3056a8", "#d1571b", "#1b8a6b", "#b0569c", "#b98a00", "#3d9fd1")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P")

SEQUENTIAL = LinearSegmentedColormap.from_list(
    "course_sequential", ["#fbfcff", "#c3d3f0", "#7b9bd8", "#3056a8", "#13265c"]
)
DIVERGING = LinearSegmentedColormap.from_list(
    "course_diverging", ["#8f3409", "#e39a6c", "#fbfcff", "#7b9bd8", "#213f85"]
)

STYLE: dict[str, Any] = {
    "figure.figsize": (WIDTH, 3.6),
    "figure.dpi": 144,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
    "font.size": 11,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=COLORS),
    "grid.color": "#e4e7ee",
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 2,
    "lines.markersize": 5,
    "legend.frameon": False,
}


def visible(text: str) -> str:
    """Return ``text`` with its spaces, line ends and tabs as visible signs."""
    return text.translate({ord(" "): "·", ord("\n"): "↵", ord("\t"): "→"})


def grid(
    rows: int,
    columns: int,
    *,
    height: float = 2.4,
    sharex: bool = False,
    sharey: bool = False,
) -> tuple[Figure, np.ndarray]:
    """Make small multiples: one figure of ``rows`` by ``columns`` axes.

    Args:
        rows: rows of axes.
        columns: columns of axes; at most two can be read on a phone.
        height: inches a row.
        sharex: one x axis for all.
        sharey: one y axis for all.

    Returns:
        The figure and its axes, an array ``[rows, columns]``.
    """
    size = (WIDTH, height * rows)
    return plt.subplots(
        rows, columns, figsize=size, squeeze=False, sharex=sharex, sharey=sharey
    )


def axes_or_new(ax: Axes | None, height: float = 3.6) -> Axes:
    """Return ``ax``, or new axes as wide as a page and ``height`` inches high."""
    return plt.subplots(figsize=(WIDTH, height))[1] if ax is None else ax


def name_axes(ax: Axes, xlabel: str, ylabel: str, title: str) -> None:
    """Write what the axes are and what the figure shows."""
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.set_title(title)
