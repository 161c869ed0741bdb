import numpy as np
import pytest

from minitransformer import plot


def test_a_heat_map_labels_rows_and_columns_with_tokens(ax):
    plot.heatmap([[0, 1, 2], [3, 4, 5]], xlabels=["a", " b", "c"], ylabels="de", ax=ax)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "·b", "c"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["d", "e"]


def test_a_heat_map_writes_its_values_but_not_the_missing_ones(ax):
    plot.heatmap([[0.25, np.nan]], fmt=".1f", ax=ax)
    assert [t.get_text() for t in ax.texts] == ["0.2"]


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


@pytest.mark.parametrize(
    ("labels", "rotation"), [("abc", 0), (["longer words"] * 5, 90)]
)
def test_labels_turn_only_where_they_would_collide(ax, labels, rotation):
    plot.heatmap(np.eye(len(labels)), xlabels=list(labels), ax=ax)
    assert ax.get_xticklabels()[0].get_rotation() == rotation
