import inspect
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.course import worker


def there_and_back(value):
    """Send a value over the wire and take it off at the other end."""
    kept = []

    def handle(item):
        kept.append(item)
        return len(kept)

    line = json.dumps(worker.encode(value, handle))
    return worker.decode(json.loads(line), lambda number: kept[number - 1])


keys = st.one_of(st.integers(), st.text(), st.binary(), st.tuples(st.integers()))
values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**50), 10**50),
        st.floats(allow_nan=False),
        st.text(st.characters()),
        st.binary(),
        st.sets(st.integers()),
        st.frozensets(st.text()),
    ),
    lambda inner: st.one_of(
        st.lists(inner),
        st.tuples(inner, inner),
        st.dictionaries(keys, inner),
    ),
    max_leaves=12,
)


@given(values)
def test_plain_values_arrive_as_they_were(value):
    arrived = there_and_back(value)
    assert arrived == value
    assert type(arrived) is type(value)


def test_numbers_that_are_no_numbers_arrive():
    assert math.isnan(there_and_back(float("nan")))
    assert there_and_back([float("inf"), -0.0]) == [float("inf"), -0.0]


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3),
        np.array(3.5),
        np.float32(2.5),
        np.zeros((0, 4)),
        np.array([True, False]),
        np.array(["text"]),
    ],
)
def test_arrays_keep_shape_and_kind(array):
    arrived = there_and_back(array)
    np.testing.assert_array_equal(arrived, array)
    assert arrived.dtype == array.dtype


def test_tensors_keep_shape_and_kind():
    tensor = torch.arange(6.0, dtype=torch.float32, requires_grad=True).reshape(2, 3)
    arrived = there_and_back(tensor)
    assert torch.equal(arrived, tensor.detach())
    assert arrived.dtype == torch.float32


def test_an_array_of_objects_is_not_unpacked():
    array = np.array([object()], dtype=object)
    assert there_and_back(array) is array


def test_subclasses_of_plain_values_lose_what_they_added():
    class Liar(int):
        def __eq__(self, other):
            return True

        __hash__ = None

    arrived = there_and_back([Liar(3)])
    assert type(arrived[0]) is int
    assert arrived != [4]


def test_anything_else_travels_as_a_handle():
    data = worker.encode(print, lambda value: 7)
    assert data == {"t": "handle", "v": 7}


def test_a_failure_names_the_line_of_the_cell():
    try:
        exec(compile("x = 1\nraise ValueError('no')", worker.CELL, "exec"))
    except ValueError as error:
        described = worker.failure(error)
    assert described == {"error": "ValueError", "message": "no", "line": 2}


def test_a_syntax_error_names_its_line():
    try:
        compile("x = 1\ny = (", worker.CELL, "exec")
    except SyntaxError as error:
        described = worker.failure(error)
    assert (described["error"], described["line"]) == ("SyntaxError", 2)


def test_the_source_of_what_cells_define_is_found():
    names = {"__name__": "__main__"}
    for number, source in enumerate(["\ndef f():\n    return 1", "def g():\n    pass"]):
        exec(worker.compiled(source, number), names)
    assert inspect.getsource(names["f"]) == "def f():\n    return 1\n"
    assert inspect.getsource(names["g"]) == "def g():\n    pass\n"


def test_a_failure_in_a_later_cell_names_its_line():
    try:
        exec(worker.compiled("x = 1\nraise ValueError('no')", 7))
    except ValueError as error:
        described = worker.failure(error)
    assert described == {"error": "ValueError", "message": "no", "line": 2}


def test_an_exception_that_cannot_be_shown_is_still_described():
    class Sly(Exception):
        def __str__(self):
            raise RuntimeError

    assert worker.failure(Sly()) == {"error": "Sly", "message": "", "line": None}
