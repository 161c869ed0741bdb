import pytest

from minitransformer import plot


def test_a_strip_has_one_box_a_piece_and_the_text_inside(ax):
    plot.token_strip({"tokens": ["the", " cat"], "characters": list("the cat")}, ax=ax)
    assert len(ax.patches) == 2 + 7
    assert [t.get_text() for t in ax.texts][:2] == ["the", "·cat"]
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


def test_a_lattice_has_an_arc_a_piece_and_the_best_way_on_top(ax):
    plot.lattice("abc", {(0, 2): "ab", (1, 2): "b", (2, 3): "c"}, best=[(0, 2)], ax=ax)
    assert [t.get_text() for t in ax.texts] == ["b", "c", "ab", "a", "b", "c"]
    assert [arc.width for arc in ax.patches] == [1, 1, 2]
    assert [arc.get_linewidth() for arc in ax.patches] == [1, 1, 3]


def test_an_empty_lattice_is_drawn(ax):
    plot.lattice("", {}, ax=ax)
    assert not ax.patches
