"""Figures of numbers: points in the plane, curves and bars."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogFormatter
from numpy.typing import ArrayLike

from minitransformer.plot.style import (
    COLORS,
    DASHES,
    FAINT,
    MARKERS,
    axes_or_new,
    name_axes,
    visible,
)


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
    ax = axes_or_new(ax, 4.2)
    for i, (label, (x, y)) in enumerate(groups.items()):
        look: dict[str, Any] = {"color": COLORS[i % 6] if i else FAINT}
        ax.plot(x, y, MARKERS[i % 6], markersize=7 if i else 3, label=label, **look)
    for text, place in (names or {}).items():
        ax.annotate(visible(text), place, (5, 4), textcoords="offset points")
    ax.grid(True)
    if len(groups) > 1:
        ax.legend()
    name_axes(ax, xlabel, ylabel, title)


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
    ax = axes_or_new(ax)
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
        ax.yaxis.set_minor_formatter(LogFormatter())  # 200, not 2 x 10^2
    ax.grid(True, axis="y")
    if len(lines) > 1:
        ax.legend()
    name_axes(ax, xlabel, ylabel, title)


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
    ax = axes_or_new(ax, 0.8 + 0.36 * len(values))
    marked = set(highlight)
    colors = [COLORS[label in marked] for label in values]
    names = [visible(x) if x != x.strip() else x for x in values]  # tokens, or words
    drawn = ax.barh(range(len(values)), list(values.values()), color=colors, height=0.7)
    ax.bar_label(drawn, [f"{value:{fmt}}" for value in values.values()], padding=4)
    ax.set_yticks(range(len(values)), names)
    ax.invert_yaxis()
    ax.margins(x=0.12)
    ax.grid(True, axis="x")
    name_axes(ax, xlabel, "", title)
