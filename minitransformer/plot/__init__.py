"""One visual style for every figure of the course.

Each function draws one kind of figure on the axes it is given, or on new ones, and
returns nothing, so a notebook cell that ends with it shows the figure alone.
``attention_explorer`` makes a page instead, which a notebook shows in a frame.
"""

import matplotlib.pyplot as plt

from minitransformer.plot.charts import bars, curves, points
from minitransformer.plot.explorer import attention_explorer
from minitransformer.plot.graphs import links
from minitransformer.plot.landscape import landscape
from minitransformer.plot.maps import heatmap
from minitransformer.plot.programs import programs
from minitransformer.plot.style import (
    COLORS,
    DASHES,
    DIVERGING,
    FAINT,
    INK,
    MARKERS,
    SEQUENTIAL,
    STYLE,
    WIDTH,
    grid,
    visible,
)
from minitransformer.plot.text import lattice, token_strip
from minitransformer.plot.tiles import tile_slider, tiles

__all__ = [
    "COLORS",
    "DASHES",
    "DIVERGING",
    "FAINT",
    "INK",
    "MARKERS",
    "SEQUENTIAL",
    "STYLE",
    "WIDTH",
    "attention_explorer",
    "bars",
    "curves",
    "grid",
    "heatmap",
    "landscape",
    "lattice",
    "links",
    "points",
    "programs",
    "tile_slider",
    "tiles",
    "token_strip",
    "visible",
]

plt.style.use(STYLE)
