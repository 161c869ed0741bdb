import numpy as np
import pytest
from matplotlib.patches import Ellipse

from minitransformer import plot

X, Y = np.linspace(-1, 1, 5), np.linspace(0, 2, 4)
BOWL = X**2 + Y[:, None] ** 2


def test_points_and_the_target_lie_where_they_are(ax):
    groups = {"drawn": ([0.1, 0.2], [1, 1.5]), "elite": ([0.1], [1])}
    plot.landscape(X, Y, BOWL, groups=groups, target=(0, 0), ax=ax)
    drawn, elite, target = (line.get_xydata().tolist() for line in ax.lines)
    assert (drawn, elite) == ([[0.1, 1], [0.2, 1.5]], [[0.1, 1]])
    assert target == [[0, 0]]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["drawn", "elite"]
    assert (ax.get_xlim(), ax.get_ylim()) == ((-1, 1), (0, 2))


def test_a_law_is_the_ellipse_of_two_standard_deviations(ax):
    covariance = [[1.0, 0.6], [0.6, 1.0]]
    plot.landscape(X, Y, BOWL, law=((0.3, 0.4), covariance), ax=ax)
    (ellipse,) = (p for p in ax.patches if isinstance(p, Ellipse))
    assert ellipse.center == (0.3, 0.4)
    # every point of it is two standard deviations from the mean
    corners = ellipse.get_path().vertices[[0, 6, 12, 18]]
    away = ellipse.get_patch_transform().transform(corners) - ellipse.center
    distance = np.einsum("ni,ij,nj->n", away, np.linalg.inv(covariance), away)
    assert np.allclose(distance, 4)


def test_low_is_darker_than_high(ax):
    plot.landscape(X, Y, BOWL, ax=ax)
    colors = ax.collections[0].get_facecolor()
    assert colors[0, :3].sum() < colors[-1, :3].sum()


def test_values_of_another_shape_are_refused(ax):
    with pytest.raises(ValueError, match=r"values has shape \(5, 4\), needs \(4, 5\)"):
        plot.landscape(X, Y, BOWL.T, ax=ax)
