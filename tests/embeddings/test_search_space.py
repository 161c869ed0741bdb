import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.embeddings import search_space
from minitransformer.embeddings.search_space import Choice, Integer, Real


def test_a_range_decoded_by_hand():
    assert Real(2, 6).decode(0.25) == 3.0
    assert Real(1, 100, log=True).decode(0.5) == pytest.approx(10)
    # [0.5, 3.5] in three equal shares
    assert [Integer(1, 3).decode(u) for u in (0, 0.33, 0.34, 0.66, 0.67, 1)] == [
        *(1, 1, 2, 2, 3, 3)
    ]


@given(st.floats(0, 1), st.booleans())
def test_encoding_turns_decoding_back(u, log):
    real = Real(0.01, 5, log)
    assert 0.01 <= real.decode(u) <= 5
    assert real.encode(real.decode(u)) == pytest.approx(u, abs=1e-9)


@given(st.integers(1, 20), st.integers(1, 20), st.booleans())
def test_each_integer_is_found_at_its_place(low, length, log):
    integer = Integer(low, low + length, log)
    for x in range(low, low + length + 1):
        assert integer.decode(integer.encode(x)) == x
    assert type(integer.decode(0.3)) is int


def test_the_ends_are_as_likely_as_the_numbers_between():
    found = [Integer(1, 4).decode((i + 0.5) / 400) for i in range(400)]
    assert [found.count(x) for x in range(1, 5)] == [100] * 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Real(2, 2), "low is 2, needs to be below high, which is 2"),
        (lambda: Real(0, 1, log=True), "low is 0, a logarithmic scale needs it above"),
        (lambda: Real(0, math.inf), "high is inf, needs a finite number"),
        (lambda: Real(math.nan, 1), "low is nan, needs a finite number"),
        (lambda: Integer(1, 2.5), "high is 2.5, needs an integer"),
        (lambda: Integer(3, 1), "low is 3, needs to be below high"),
        (lambda: Choice(()), "values is empty, needs at least one"),
        (lambda: Choice(("a", "b", "a")), "values has 'a' twice"),
        (lambda: search_space.split({}), "space is empty, needs at least one"),
        (lambda: search_space.split({"x": (0, 1)}), r"space\['x'\] is \(0, 1\), needs"),
    ],
)
def test_what_is_no_space_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_point_has_the_order_of_its_space():
    space = {"b": Choice(("no", "yes")), "x": Real(0, 2), "n": Integer(0, 9)}
    assert search_space.split(space) == (["x", "n"], ["b"])
    point = search_space.decode(space, (0.5, 0.99), (1,))
    assert list(point.items()) == [("b", "yes"), ("x", 1.0), ("n", 9)]
