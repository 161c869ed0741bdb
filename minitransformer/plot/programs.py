"""Figures of kernels: which program touches which numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from minitransformer.plot.style import (
    COLORS,
    FAINT,
    INK,
    SMALLEST,
    axes_or_new,
    name_axes,
)

STRIPES = 12


def programs(
    touched: Mapping[int, ArrayLike],
    *,
    xlabel: str = "",
    ylabel: str = "",
    title: str = "",
    races: bool = False,
    ax: Axes | None = None,
) -> None:
    """Draw a tensor number by number, in the color of the program that touches it.

    A number that several programs touch has a stripe of each color and says how many
    they are, as "3x"; otherwise the number of the program stands in each cell.

    Args:
        touched: program -> bool array ``[columns]`` or ``[rows, columns]``.
        xlabel: what the columns are.
        ylabel: what the rows are.
        title: what the figure shows.
        races: frame the numbers that several programs touch.
        ax: axes to draw on; new ones by default.

    Raises:
        ValueError: no program is given, or their arrays differ in shape.
    """
    if not touched:
        raise ValueError("touched is empty: no program touches anything")
    masks = {key: np.atleast_2d(np.asarray(x, bool)) for key, x in touched.items()}
    shapes = {mask.shape for mask in masks.values()}
    if len(shapes) > 1 or len(min(shapes)) != 2:
        raise ValueError(f"touched has shapes {sorted(shapes)}, needs one, of two axes")
    rows, columns = min(shapes)
    ax = axes_or_new(ax, float(np.clip(6.4 * rows / columns, 1.2, 5)))
    picture = np.ones((rows, columns * STRIPES, 3))
    size = min(11.0, 130 / columns, 130 / rows)
    for row, column in np.ndindex(rows, columns):
        here = [program for program, mask in masks.items() if mask[row, column]]
        for stripe in range(STRIPES if here else 0):
            program = here[stripe * len(here) // STRIPES]
            color = np.array(to_rgb(COLORS[program % len(COLORS)]))
            picture[row, column * STRIPES + stripe] = 1 - 0.55 * (1 - color)
        text = f"{len(here)}×" if len(here) > 1 else "".join(map(str, here))
        if text and size >= 5:
            place = (column, row)
            words: dict[str, Any] = {
                "fontsize": max(size * (0.75 if len(text) > 1 else 1), SMALLEST),
                "color": INK,
            }
            ax.annotate(text, place, ha="center", va="center", **words)
        if races and len(here) > 1:
            look: dict[str, Any] = {"edgecolor": INK, "linewidth": 2, "zorder": 3}
            ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, **look))
    extent = (-0.5, columns - 0.5, rows - 0.5, -0.5)
    ax.imshow(picture, extent=extent, aspect="auto", interpolation="nearest")
    width = min(1.0, 16 / max(rows, columns))
    for edge in range(columns + 1):
        ax.axvline(edge - 0.5, color="white", linewidth=width)
    for edge in range(rows + 1):
        ax.axhline(edge - 0.5, color="white", linewidth=width)
    ax.spines[:].set(visible=True, color=FAINT)
    ax.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    if rows == 1:
        ax.set_yticks([])
    name_axes(ax, xlabel, ylabel, title)
