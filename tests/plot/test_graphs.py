import numpy as np
import pytest

from minitransformer import plot


def test_an_edge_is_as_wide_as_its_weight(ax):
    plot.links([[0.25, 0.75]], top=["a", "b"], bottom=["c d"], ax=ax)
    widths = [line.get_linewidth() for line in ax.lines]
    assert widths[1] == pytest.approx(3 * widths[0])
    assert [text.get_text() for text in ax.texts] == ["a", "b", "c·d"]


def test_edges_end_under_their_words(ax):
    plot.links(np.eye(2), top=["a", "b"], bottom=["c", "d"], ax=ax)
    places = {text.get_text(): text.xy[0] for text in ax.texts}
    ends = [tuple(line.get_xdata()) for line in ax.lines]
    assert ends[1] == (places["c"], places["b"])
    assert ends[2] == (places["d"], places["a"])


def test_a_single_word_stands_in_the_middle(ax):
    plot.links([[1.0]], top=["a"], bottom=["c"], names=("key", "query"), ax=ax)
    assert {text.xy[0] for text in ax.texts} == {0.5}
    assert [t.get_text() for t in ax.get_yticklabels()] == ["query", "key"]


def test_words_that_do_not_fit_are_refused(ax):
    with pytest.raises(ValueError, match=r"weights has shape \(1, 2\), the words need"):
        plot.links([[0.5, 0.5]], top=["a"], bottom=["b"], ax=ax)
