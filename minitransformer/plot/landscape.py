"""Figures of functions of two variables: contours, with points and a law upon them."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse
from numpy.typing import ArrayLike

from minitransformer.plot.style import (
    COLORS,
    INK,
    MARKERS,
    SEQUENTIAL,
    axes_or_new,
    name_axes,
)


def landscape(
    x: ArrayLike,
    y: ArrayLike,
    values: ArrayLike,
    *,
    groups: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    law: tuple[ArrayLike, ArrayLike] | None = None,
    target: tuple[float, float] | None = None,
    xlabel: str = "",
    ylabel: str = "",
    title: str = "",
    ax: Axes | None = None,
) -> None:
    """Draw the contours of a function, at levels that each hold as much of the plane.

    Args:
        x: ``[columns]``.
        y: ``[rows]``.
        values: ``[rows, columns]``; dark is low.
        groups: label -> (x, y), each ``[points]``.
        law: mean ``[2]`` and covariance ``[2, 2]`` of a Gaussian, drawn as the ellipse
            of two standard deviations.
        target: a point that is marked by a cross.
        xlabel: what x is, with its unit.
        ylabel: what y is, with its unit.
        title: what the figure shows.
        ax: axes to draw on; new ones by default.

    Raises:
        ValueError: ``values`` has not one row for each y and one column for each x.
    """
    x, y, values = (np.asarray(each, dtype=float) for each in (x, y, values))
    if values.shape != (y.size, x.size):
        raise ValueError(f"values has shape {values.shape}, needs {(y.size, x.size)}")
    ax = axes_or_new(ax, 4.2)
    levels = np.unique(np.quantile(values, np.linspace(0, 1, 13)))
    shades = SEQUENTIAL.reversed()(np.linspace(0.35, 1, len(levels) - 1))
    ax.contourf(x, y, values, levels=levels, colors=shades)
    for i, (label, (px, py)) in enumerate((groups or {}).items()):
        color = "white" if i == 0 else COLORS[i % 6]
        ax.plot(
            *(px, py, MARKERS[i % 6]),
            color=color,
            markeredgecolor=INK,
            markeredgewidth=0.6,
            label=label,
        )
    if law is not None:
        mean, covariance = (np.asarray(each, dtype=float) for each in law)
        variances, axes = np.linalg.eigh(covariance)
        width, height = 4 * np.sqrt(variances.clip(0))
        angle = np.degrees(np.arctan2(axes[1, 0], axes[0, 0]))
        look = {"fill": False, "edgecolor": COLORS[1], "linewidth": 2}
        ax.add_patch(Ellipse(tuple(mean), width, height, angle=angle, **look))
    if target is not None:
        ax.plot(*target, "+", color=INK, markersize=12, markeredgewidth=2)
    ax.set_xlim(x.min(), x.max())
    ax.set_ylim(y.min(), y.max())
    if groups and len(groups) > 1:
        ax.legend(loc="upper center", facecolor="white", frameon=True, framealpha=0.8)
    name_axes(ax, xlabel, ylabel, title)
