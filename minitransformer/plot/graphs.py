"""Figures of graphs: who is linked to whom, and how strongly."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from minitransformer.plot.style import COLORS, INK, axes_or_new, visible


def links(
    weights: ArrayLike,
    *,
    top: Sequence[str],
    bottom: Sequence[str],
    names: tuple[str, str] = ("", ""),
    title: str = "",
    ax: Axes | None = None,
) -> None:
    """Draw two rows of words and an edge for each pair, as wide as its weight.

    Args:
        weights: ``[bottom, top]``, from 0 to 1; rows are queries, columns keys.
        top: one word a column (keys).
        bottom: one word a row (queries).
        names: what the rows of words are, top and bottom.
        title: what the graph shows.
        ax: axes to draw on; new ones by default.

    Raises:
        ValueError: the words do not fit the weights.
    """
    matrix = np.asarray(weights, dtype=float)
    if matrix.shape != (len(bottom), len(top)):
        raise ValueError(
            f"weights has shape {matrix.shape}, the words need "
            f"{(len(bottom), len(top))}"
        )
    ax = axes_or_new(ax, 2.4)
    above = np.linspace(0, 1, len(top)) if len(top) > 1 else np.array([0.5])
    margin = 0.5 / len(bottom)
    below = np.linspace(margin, 1 - margin, len(bottom))
    for (row, column), weight in np.ndenumerate(matrix):
        ax.plot(
            [below[row], above[column]],
            [0.12, 0.88],
            color=COLORS[row % len(COLORS)],
            alpha=float(np.clip(0.25 + weight, 0, 1)),
            linewidth=9 * weight,
            solid_capstyle="butt",
        )
    for words, places, height in ((top, above, 0.97), (bottom, below, 0.03)):
        for word, place in zip(words, places, strict=True):
            ax.annotate(
                visible(word), (place, height), ha="center", va="center", color=INK
            )
    ax.set(xlim=(-0.08, 1.08), ylim=(-0.05, 1.05), xticks=[])
    ax.set_yticks([0.03, 0.97], [names[1], names[0]])
    ax.tick_params(axis="y", length=0)
    ax.spines[:].set_visible(False)
    ax.set_title(title)
