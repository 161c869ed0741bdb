import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minitransformer.embeddings import laws
from minitransformer.embeddings.laws import Law

elites = arrays(
    float, st.tuples(st.integers(1, 9), st.integers(1, 3)), elements=st.floats(0, 1)
)


def log_density(x, mean, covariance):
    away = x - mean
    _, size = np.linalg.slogdet(2 * np.pi * covariance)
    return -0.5 * (away @ np.linalg.solve(covariance, away) + size)


def test_an_elite_fitted_by_hand():
    law = laws.fit([[0.0, 1.0], [1.0, 0.0]], [[0], [2]], [3], correlated=True)
    assert law.mean == (0.5, 0.5)
    assert law.covariance == ((0.25, -0.25), (-0.25, 0.25))
    assert law.probabilities == ((0.5, 0.0, 0.5),)
    alone = laws.fit([[0.0, 1.0], [1.0, 0.0]], [[0], [2]], [3])
    assert alone.covariance == ((0.25, 0.0), (0.0, 0.25))


@given(elites)
def test_the_fast_fit_is_the_definition(x):
    law = laws.fit(x, np.zeros((len(x), 0)), [], correlated=True)
    mean, covariance = laws.naive_fit(x)
    assert np.allclose(law.mean, mean, rtol=0, atol=1e-14)
    assert np.allclose(law.covariance, covariance, rtol=0, atol=1e-14)


@pytest.mark.parametrize("seed", range(5))
def test_no_other_law_makes_the_elite_more_probable(seed):
    rng = np.random.default_rng(seed)
    x, picks = rng.random((8, 2)), rng.integers(3, size=(8, 1))
    law = laws.fit(x, picks, [3], correlated=True)
    mean, covariance = np.array(law.mean), np.array(law.covariance)
    (p,) = map(np.array, law.probabilities)

    def likelihood(mean, covariance, p):
        gaussian = sum(log_density(row, mean, covariance) for row in x)
        return gaussian + np.log(p[picks[:, 0]]).sum()

    best = likelihood(mean, covariance, p)
    for _ in range(50):
        a = rng.normal(scale=0.02, size=(2, 2))
        q = p * np.exp(rng.normal(scale=0.1, size=3))
        other = likelihood(
            mean + rng.normal(scale=0.02, size=2), covariance + a @ a.T, q / q.sum()
        )
        assert other <= best


def test_blending_weighs_each_part():
    old = Law((0.0,), ((1.0,),), ((0.5, 0.5),), uniform=True)
    new = Law((1.0,), ((0.0,),), ((1.0, 0.0),))
    assert laws.blend(old, new, 0.25) == Law((0.25,), ((0.75,),), ((0.625, 0.375),))
    assert laws.blend(old, new, 1.0) == new
    assert laws.blend(old, new, 0.0) is old


def test_draws_have_the_moments_of_their_law():
    # far from the walls, so nothing is cut off
    covariance = ((0.01, 0.008), (0.008, 0.01))
    law = Law((0.5, 0.5), covariance, ((0.2, 0.8),))
    places, picks = laws.draw(law, 20_000, np.random.default_rng(0))
    # standard errors: 0.1 / sqrt(20,000) = 0.0007; of a variance 0.01 sqrt(2 / 20,000)
    assert np.allclose(places.mean(axis=0), 0.5, atol=5 * 0.0007)
    assert np.allclose(np.cov(places.T), covariance, atol=5 * 0.0001)
    assert picks.mean() == pytest.approx(0.8, abs=5 * 0.0028)


def test_widening_adds_a_variance_and_uniform_picks():
    law = Law((0.5,), ((0.0,),), ((1.0, 0.0),))
    places, picks = laws.draw(law, 20_000, np.random.default_rng(0), widen=0.1)
    assert places.std() == pytest.approx(0.1, abs=5 * 0.1 / np.sqrt(40_000))
    assert picks.mean() == pytest.approx(0.05, abs=5 * 0.0016)


@given(arrays(float, 2, elements=st.floats(-0.5, 1.5)), st.floats(0, 1), st.booleans())
def test_draws_stay_in_the_box(mean, width, correlated):
    off = 0.9 * width**2 if correlated else 0.0
    law = Law(tuple(mean), ((width**2, off), (off, width**2)), ())
    places, _ = laws.draw(law, 20, np.random.default_rng(0))
    assert places.shape == (20, 2)
    assert ((places >= 0) & (places <= 1)).all()


def test_numbers_that_belong_together_are_drawn_again_together():
    # y is x + 0.5, all but exactly, and half of the draws fall outside
    law = Law((0.0, 0.5), ((0.01, 0.009999), (0.009999, 0.01)), ())
    places, _ = laws.draw(law, 2000, np.random.default_rng(0))
    # the deviation of y - x is sqrt(2 * 0.000001) = 0.0014
    assert abs(places[:, 1] - places[:, 0] - 0.5).max() < 6 * 0.0014


def test_a_uniform_law_fills_the_box():
    law = Law((0.5,), ((1 / 12,),), (), uniform=True)
    places, picks = laws.draw(law, 20_000, np.random.default_rng(0))
    counts, _ = np.histogram(places, bins=10, range=(0, 1))
    assert abs(counts - 2000).max() < 5 * np.sqrt(2000)
    assert picks.shape == (20_000, 0)
