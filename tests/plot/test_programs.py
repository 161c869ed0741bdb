import numpy as np
import pytest
from matplotlib.patches import Rectangle

from minitransformer import plot

LEFT, RIGHT = np.array([[1, 1, 0]], bool), np.array([[0, 1, 1]], bool)


def frames(ax):
    return [p for p in ax.patches if isinstance(p, Rectangle) and p.get_zorder() == 3]


def test_each_number_names_the_program_that_touches_it(ax):
    plot.programs({0: LEFT, 7: RIGHT & ~LEFT}, ax=ax)
    assert [text.get_text() for text in ax.texts] == ["0", "0", "7"]
    assert frames(ax) == []


def test_a_number_of_two_programs_has_both_colors(ax):
    plot.programs({0: LEFT, 1: RIGHT}, ax=ax)
    assert [text.get_text() for text in ax.texts] == ["0", "2×", "1"]
    (picture,) = (image.get_array() for image in ax.images)
    colors = [np.unique(cell, axis=0) for cell in np.split(picture[0], 3)]
    assert [len(each) for each in colors] == [1, 2, 1]
    assert np.array_equal(colors[1], np.unique([colors[0][0], colors[2][0]], axis=0))


def test_races_are_framed_where_asked(ax):
    plot.programs({0: LEFT, 1: RIGHT}, races=True, ax=ax)
    assert [frame.get_x() for frame in frames(ax)] == [0.5]


def test_what_nobody_touches_stays_white(ax):
    plot.programs({0: [True, False]}, ax=ax)
    assert (ax.images[0].get_array()[0, -1] == 1).all()


def test_many_numbers_are_drawn_without_words(ax):
    plot.programs({0: np.ones((40, 40), bool)}, ax=ax)
    assert len(ax.texts) == 0


@pytest.mark.parametrize(
    ("touched", "message"),
    [
        ({}, "touched is empty"),
        ({0: LEFT, 1: LEFT.T}, "touched has shapes"),
        ({0: np.ones((2, 2, 2))}, "touched has shapes"),
    ],
)
def test_what_cannot_be_drawn_is_refused(touched, message):
    with pytest.raises(ValueError, match=message):
        plot.programs(touched)
