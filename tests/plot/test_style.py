import numpy as np
import pytest
from matplotlib.colors import to_rgb

from minitransformer import plot


def luminance(color):
    """Relative luminance of WCAG 2, from 0 (black) to 1 (white)."""
    linear = [
        c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4
        for c in to_rgb(color)
    ]
    return np.dot([0.2126, 0.7152, 0.0722], linear)


def test_white_space_becomes_visible():
    assert plot.visible("a b\n\tc") == "a·b↵→c"


def test_small_multiples_come_as_a_grid_of_axes():
    figure, axes = plot.grid(2, 1, sharex=True)
    assert axes.shape == (2, 1)
    assert figure.get_size_inches() == pytest.approx([plot.WIDTH, 4.8])


def test_the_sequential_map_darkens_steadily_so_that_gray_prints_keep_the_order():
    steps = [luminance(plot.SEQUENTIAL(x)) for x in np.linspace(0, 1, 50)]
    assert np.all(np.diff(steps) < 0)


def test_every_line_color_is_visible_on_white():
    for color in plot.COLORS:
        assert 1.05 / (luminance(color) + 0.05) >= 2.9, color


def test_drawing_returns_nothing_so_that_a_cell_shows_the_figure_alone():
    assert plot.bars({"a": 1.0}) is None
    assert plot.curves([1], {"a": [1]}) is None
    assert plot.heatmap([[1]]) is None
    assert plot.token_strip({"a": ["b"]}) is None
    assert plot.lattice("a", {(0, 1): "a"}) is None
    assert plot.points({"a": ([1], [1])}) is None
