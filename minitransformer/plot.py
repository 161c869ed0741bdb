"""One visual style for every figure of the course.

Each function draws one kind of figure on the axes it is given, or on new ones, and
returns nothing, so a notebook cell that ends with it shows the figure alone. Colors
can be told apart by color-blind readers; lines also differ by dash and marker, maps by
lightness, so a gray print loses nothing. Sizes suit a phone: 6.4 inches wide, 11 point.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Arc, FancyBboxPatch
from matplotlib.ticker import FuncFormatter
from numpy.typing import ArrayLike

WIDTH = 6.4
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
plt.style.use(STYLE)


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


def _axes(ax: Axes | None, height: float = 3.6) -> Axes:
    return plt.subplots(figsize=(WIDTH, height))[1] if ax is None else ax


def _label(ax: Axes, xlabel: str, ylabel: str, title: str) -> None:
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.set_title(title)


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
    ax = _axes(ax, 0.4 + 0.55 * len(rows))
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
    ax = _axes(ax)
    chosen = set(best)
    for start, end in sorted(pieces, key=chosen.__contains__):
        strong = (start, end) in chosen
        center, height = (start + end) / 2, 0.75 * (end - start) ** 0.8
        look: dict[str, Any] = {"color": COLORS[1] if strong else FAINT}
        look |= {"theta2": 180, "linewidth": 3 if strong else 1}
        ax.add_patch(Arc((center, 0), end - start, 2 * height, **look))
        look = {"color": COLORS[1] if strong else INK, "fontsize": 9, "ha": "center"}
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


def points(
    groups: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    names: Mapping[str, tuple[float, float]] | None = None,
    xlabel: str = "",
    ylabel: str = "",
    title: str = "",
    ax: Axes | None = None,
) -> None:
    """Draw groups of points in the plane, some of them named.

    Args:
        groups: label -> (x, y), each ``[points]``; the first group is the faint one.
        names: text -> the point (x, y) that it is written beside.
        xlabel: what x is, with its unit.
        ylabel: what y is, with its unit.
        title: what the figure shows.
        ax: axes to draw on; new ones by default.
    """
    ax = _axes(ax, 4.2)
    for i, (label, (x, y)) in enumerate(groups.items()):
        look: dict[str, Any] = {"color": COLORS[i % 6] if i else FAINT}
        ax.plot(x, y, MARKERS[i % 6], markersize=7 if i else 3, label=label, **look)
    for text, place in (names or {}).items():
        ax.annotate(visible(text), place, (5, 4), textcoords="offset points")
    ax.grid(True)
    if len(groups) > 1:
        ax.legend()
    _label(ax, xlabel, ylabel, title)


def heatmap(
    values: ArrayLike,
    *,
    xlabels: Sequence[str] | None = None,
    ylabels: Sequence[str] | None = None,
    xlabel: str = "",
    ylabel: str = "",
    value: str = "",
    title: str = "",
    limits: tuple[float, float] | None = None,
    diverging: bool = False,
    fmt: str | None = None,
    ax: Axes | None = None,
) -> None:
    """Draw a matrix as colored cells, with tokens along its sides.

    Args:
        values: ``[rows, columns]``; NaN cells stay blank.
        xlabels: one label a column (tokens of the keys, on an attention map).
        ylabels: one label a row (tokens of the queries).
        xlabel: what the columns are.
        ylabel: what the rows are.
        value: what the color means, with its unit; it labels the color bar.
        title: what the map shows.
        limits: values of the lightest and the darkest color; by default the extremes,
            symmetric about zero when ``diverging``.
        diverging: signed values: two hues that meet at zero.
        fmt: format of the number written into each cell, such as ``".2f"``.
        ax: axes to draw on; new ones by default.

    Raises:
        ValueError: ``values`` is not a matrix, or labels do not fit its shape.
    """
    matrix = np.asarray(values, dtype=float)
    if matrix.ndim != 2:
        raise ValueError(f"values has shape {matrix.shape}, needs (rows, columns)")
    for name, labels, size in (
        ("xlabels", xlabels, matrix.shape[1]),
        ("ylabels", ylabels, matrix.shape[0]),
    ):
        if labels is not None and len(labels) != size:
            raise ValueError(f"{name} has {len(labels)} entries, values has {size}")
    ax = _axes(ax, float(np.clip(WIDTH * matrix.shape[0] / matrix.shape[1], 2, 5)))
    if limits is None:
        low, high = float(np.nanmin(matrix)), float(np.nanmax(matrix))
        bound = max(abs(low), abs(high))
        limits = (-bound, bound) if diverging else (low, high)
    colormap = DIVERGING if diverging else SEQUENTIAL
    image = ax.imshow(
        matrix, cmap=colormap, vmin=limits[0], vmax=limits[1], aspect="auto"
    )
    if xlabels is not None:
        crowded = len(xlabels) * max(map(len, xlabels), default=0) > 48
        rotation = 90 if crowded else 0
        shown = [visible(label) for label in xlabels]
        ax.set_xticks(range(len(shown)), shown, rotation=rotation)
    if ylabels is not None:
        ax.set_yticks(range(len(ylabels)), [visible(label) for label in ylabels])
    if fmt is not None:
        for (row, column), number in np.ndenumerate(matrix):
            if np.isfinite(number):
                light = np.mean(image.cmap(image.norm(number))[:3]) > 0.6
                color = INK if light else "white"
                ax.text(
                    column,
                    row,
                    f"{number:{fmt}}",
                    ha="center",
                    va="center",
                    color=color,
                )
    ax.spines[:].set_visible(False)
    _label(ax, xlabel, ylabel, title)
    ax.figure.colorbar(image, ax=ax, label=value).outline.set_visible(False)


def curves(
    x: ArrayLike,
    lines: Mapping[str, ArrayLike],
    *,
    bands: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    xlabel: str = "",
    ylabel: str = "",
    title: str = "",
    logx: bool = False,
    logy: bool = False,
    ax: Axes | None = None,
) -> None:
    """Draw curves over one axis, with bands where the spread is known.

    Args:
        x: ``[points]``.
        lines: label -> ``[points]``; labels are shown when there are several.
        bands: label -> (lower, upper), each ``[points]``, shaded around that line.
        xlabel: what ``x`` is, with its unit.
        ylabel: what the curves are, with their unit.
        title: what the figure shows.
        logx: logarithmic ``x`` axis, ticks at the given points.
        logy: logarithmic ``y`` axis.
        ax: axes to draw on; new ones by default.

    Raises:
        ValueError: a line has another number of points than ``x``.
    """
    ax = _axes(ax)
    x = np.asarray(x, dtype=float)
    for i, (label, values) in enumerate(lines.items()):
        y = np.asarray(values, dtype=float)
        if y.shape != x.shape:
            raise ValueError(f"line {label!r} has shape {y.shape}, x has {x.shape}")
        look: dict[str, Any] = {"color": COLORS[i % 6], "linestyle": DASHES[i % 6]}
        marker = MARKERS[i % 6] if len(x) <= 24 else None
        ax.plot(x, y, label=label, marker=marker, **look)
        if bands and label in bands:
            low, high = bands[label]
            ax.fill_between(x, low, high, color=COLORS[i % 6], alpha=0.16, linewidth=0)
    if logx:
        ax.set_xscale("log")
        if len(x) <= 12:
            ax.set_xticks(x, minor=False)
            ax.minorticks_off()
        ax.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:,.6g}"))
    if logy:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:,.6g}"))
    ax.grid(True, axis="y")
    if len(lines) > 1:
        ax.legend()
    _label(ax, xlabel, ylabel, title)


def bars(
    values: Mapping[str, float],
    *,
    xlabel: str = "",
    title: str = "",
    fmt: str = ".2f",
    highlight: Iterable[str] = (),
    ax: Axes | None = None,
) -> None:
    """Draw one horizontal bar a label, first on top, with its value at the end.

    Args:
        values: label -> length of its bar.
        xlabel: what the length is, with its unit.
        title: what the figure shows.
        fmt: format of the value written beside the bar.
        highlight: labels whose bars take the second color.
        ax: axes to draw on; new ones by default.
    """
    ax = _axes(ax, 0.8 + 0.36 * len(values))
    marked = set(highlight)
    colors = [COLORS[label in marked] for label in values]
    names = [visible(x) if x != x.strip() else x for x in values]  # tokens, or words
    drawn = ax.barh(range(len(values)), list(values.values()), color=colors, height=0.7)
    ax.bar_label(drawn, [f"{value:{fmt}}" for value in values.values()], padding=4)
    ax.set_yticks(range(len(values)), names)
    ax.invert_yaxis()
    ax.margins(x=0.12)
    ax.grid(True, axis="x")
    _label(ax, xlabel, "", title)
