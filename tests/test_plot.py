import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from minitransformer import plot


@pytest.fixture
def ax():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def luminance(color):
    """Relative luminance of WCAG 2, from 0 (black) to 1 (white)."""
    linear = [
        c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4
        for c in to_rgb(color)
    ]
    return np.dot([0.2126, 0.7152, 0.0722], linear)


def test_white_space_becomes_visible():
    assert plot.visible("a b\n\tc") == "a·b↵→c"


def test_a_strip_has_one_box_a_piece_and_the_text_inside(ax):
    plot.token_strip({"tokens": ["the", " cat"], "characters": list("the cat")}, ax=ax)
    assert len(ax.patches) == 2 + 7
    assert texts(ax)[:2] == ["the", "·cat"]
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "tokens",
        "characters",
    ]


def test_strips_of_one_text_line_up(ax):
    plot.token_strip({"tokens": ["the", " cat"], "characters": list("the cat")}, ax=ax)
    ends = [box.get_x() + box.get_width() for box in ax.patches]
    assert ends[1] == pytest.approx(ends[-1]) == pytest.approx(7 - 0.04)


def test_bytes_can_be_drawn_under_their_character(ax):
    plot.token_strip({"bytes": ["c3", "a9"]}, widths={"bytes": [0.5, 0.5]}, ax=ax)
    assert ax.get_xlim() == (0, 1)


def test_an_empty_strip_is_drawn(ax):
    plot.token_strip({"nothing": []}, ax=ax)
    assert len(ax.patches) == 0


def test_a_strip_with_too_few_widths_is_refused(ax):
    with pytest.raises(ValueError, match="'bytes' has 1 entries, the strip has 2"):
        plot.token_strip({"bytes": ["c3", "a9"]}, widths={"bytes": [1]}, ax=ax)


def test_a_heat_map_labels_rows_and_columns_with_tokens(ax):
    plot.heatmap([[0, 1, 2], [3, 4, 5]], xlabels=["a", " b", "c"], ylabels="de", ax=ax)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "·b", "c"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["d", "e"]


def test_a_heat_map_writes_its_values_but_not_the_missing_ones(ax):
    plot.heatmap([[0.25, np.nan]], fmt=".1f", ax=ax)
    assert texts(ax) == ["0.2"]


def test_a_diverging_map_puts_zero_in_the_middle(ax):
    plot.heatmap([[-1.0, 3.0]], diverging=True, ax=ax)
    assert ax.images[0].get_clim() == (-3.0, 3.0)


@pytest.mark.parametrize(
    ("values", "labels", "message"),
    [
        ([1, 2], {}, r"values has shape \(2,\)"),
        ([[1, 2]], {"xlabels": ["a"]}, "xlabels has 1 entries, values has 2"),
        ([[1, 2]], {"ylabels": ["a", "b"]}, "ylabels has 2 entries, values has 1"),
    ],
)
def test_a_heat_map_refuses_what_does_not_fit(values, labels, message):
    with pytest.raises(ValueError, match=message):
        plot.heatmap(values, **labels)


def test_curves_differ_by_dash_and_marker_for_gray_prints(ax):
    plot.curves([1, 2], {"a": [1, 2], "b": [2, 3], "c": [3, 4]}, ax=ax)
    looks = {(line.get_linestyle(), line.get_marker()) for line in ax.lines}
    assert len(looks) == 3
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b", "c"]


def test_a_band_spans_its_bounds(ax):
    plot.curves([1, 2], {"a": [1, 2]}, bands={"a": ([0, 1], [2, 3])}, ax=ax)
    (band,) = ax.collections
    box = band.get_datalim(ax.transData)
    assert (box.ymin, box.ymax) == (0, 3)


def test_a_logarithmic_axis_has_ticks_at_the_points(ax):
    plot.curves([256, 1024], {"a": [1, 2]}, logx=True, ax=ax)
    ax.figure.canvas.draw()
    assert [t.get_text() for t in ax.get_xticklabels()] == ["256", "1,024"]


def test_a_lattice_has_an_arc_a_piece_and_the_best_way_on_top(ax):
    plot.lattice("abc", {(0, 2): "ab", (1, 2): "b", (2, 3): "c"}, best=[(0, 2)], ax=ax)
    assert texts(ax) == ["b", "c", "ab", "a", "b", "c"]
    assert [arc.width for arc in ax.patches] == [1, 1, 2]
    assert [arc.get_linewidth() for arc in ax.patches] == [1, 1, 3]


def test_an_empty_lattice_is_drawn(ax):
    plot.lattice("", {}, ax=ax)
    assert not ax.patches


def test_points_come_in_groups_and_some_have_names(ax):
    groups = {"all": ([1, 2], [3, 4]), "chosen": ([1], [3])}
    plot.points(groups, names={"a b": (1, 3)}, ax=ax)
    assert [len(line.get_xdata()) for line in ax.lines] == [2, 1]
    assert texts(ax) == ["a·b"]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["all", "chosen"]


def test_a_ragged_curve_is_refused(ax):
    with pytest.raises(ValueError, match=r"line 'a' has shape \(3,\), x has \(2,\)"):
        plot.curves([1, 2], {"a": [1, 2, 3]}, ax=ax)


def test_bars_carry_their_values_and_stand_in_order(ax):
    plot.bars({"first": 1.0, "second": 2.5}, highlight=["second"], ax=ax)
    assert texts(ax) == ["1.00", "2.50"]
    assert ax.yaxis_inverted()
    colors = [bar.get_facecolor()[:3] for bar in ax.patches]
    assert colors == [to_rgb(plot.COLORS[0]), to_rgb(plot.COLORS[1])]


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


@pytest.mark.parametrize(
    ("labels", "rotation"), [("abc", 0), (["longer words"] * 5, 90)]
)
def test_labels_turn_only_where_they_would_collide(ax, labels, rotation):
    plot.heatmap(np.eye(len(labels)), xlabels=list(labels), ax=ax)
    assert ax.get_xticklabels()[0].get_rotation() == rotation
