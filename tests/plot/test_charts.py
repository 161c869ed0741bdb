import pytest
from matplotlib.colors import to_rgb

from minitransformer import plot


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


def test_a_ragged_curve_is_refused(ax):
    with pytest.raises(ValueError, match=r"line 'a' has shape \(3,\), x has \(2,\)"):
        plot.curves([1, 2], {"a": [1, 2, 3]}, ax=ax)


def test_points_come_in_groups_and_some_have_names(ax):
    groups = {"all": ([1, 2], [3, 4]), "chosen": ([1], [3])}
    plot.points(groups, names={"a b": (1, 3)}, ax=ax)
    assert [len(line.get_xdata()) for line in ax.lines] == [2, 1]
    assert [t.get_text() for t in ax.texts] == ["a·b"]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["all", "chosen"]


def test_bars_carry_their_values_and_stand_in_order(ax):
    plot.bars({"first": 1.0, "second": 2.5}, highlight=["second"], ax=ax)
    assert [t.get_text() for t in ax.texts] == ["1.00", "2.50"]
    assert ax.yaxis_inverted()
    colors = [bar.get_facecolor()[:3] for bar in ax.patches]
    assert colors == [to_rgb(plot.COLORS[0]), to_rgb(plot.COLORS[1])]
