import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import pytest


@pytest.fixture
def ax():
    _, axes = plt.subplots()
    return axes


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")
