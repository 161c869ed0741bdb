"""Figures of matrices: attention maps and other tables of numbers as colored cells."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from minitransformer.plot.style import (
    DIVERGING,
    INK,
    SEQUENTIAL,
    WIDTH,
    axes_or_new,
    name_axes,
    visible,
)


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
    height = np.clip(WIDTH * matrix.shape[0] / matrix.shape[1], 2, 5)
    ax = axes_or_new(ax, float(height))
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
    name_axes(ax, xlabel, ylabel, title)
    ax.figure.colorbar(image, ax=ax, label=value).outline.set_visible(False)
