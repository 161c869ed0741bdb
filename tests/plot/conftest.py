import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import pytest
from matplotlib.text import Text

from minitransformer.plot.style import SMALLEST


@pytest.fixture
def ax():
    _, axes = plt.subplots()
    return axes


@pytest.fixture(autouse=True)
def close_figures():
    """Close what a test drew, once no text in it is too small for a phone."""
    yield
    drawn = [text for i in plt.get_fignums() for text in plt.figure(i).findobj(Text)]
    small = {t.get_text() for t in drawn if t.get_text() and t.get_size() < SMALLEST}
    plt.close("all")
    assert small == set()
