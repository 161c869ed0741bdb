"""What the tests of the hidden graphs share: inputs, and how equal is equal."""

import math

import numpy as np
import torch
from hypothesis import strategies as st

INF = math.inf
# Sums of at most a few hundred positive terms, each rounded to 2 ** -53: errors of
# about 1e-14 times the value; the definitions below hold far inside 1e-12.
EXACT = {"rtol": 0, "atol": 1e-12}


def normal(*shape, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64)


def close(a, b, **tolerance):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), **(tolerance or EXACT))


scores = st.lists(
    st.one_of(st.floats(-8, 8), st.just(-INF)), min_size=1, max_size=6
).filter(lambda row: max(row) > -INF)
