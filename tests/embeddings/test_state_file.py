import json
import math
import os
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.embeddings import state_file


@dataclass(frozen=True)
class Inner:
    numbers: tuple[float, ...]


@dataclass(frozen=True)
class Outer:
    inner: Inner
    other: Any = None


KINDS = {"Inner": Inner, "Outer": Outer}


@given(st.lists(st.floats(allow_nan=False)), st.text(), st.integers())
def test_what_is_stored_comes_back_bit_for_bit(tmp_path_factory, numbers, text, number):
    path = tmp_path_factory.getbasetemp() / "state.json"
    value = Outer(Inner(tuple(numbers)), {"a": (text, number, True), "b": None})
    state_file.save(value, path)
    assert repr(state_file.load(path, KINDS)) == repr(value)


@pytest.mark.parametrize("bad", [[1], {1}, object(), {1: 2}, {"is": 3}])
def test_what_would_not_come_back_is_refused(tmp_path, bad):
    with pytest.raises(ValueError, match="cannot be stored: needs numbers"):
        state_file.save(Outer(Inner(()), bad), tmp_path / "state.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_as_it_was(tmp_path, monkeypatch, step):
    path = tmp_path / "state.json"
    state_file.save(Inner((1.0,)), path)

    def fail(*args):
        raise OSError("no space left")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="no space left"):
        state_file.save(Inner((2.0,)), path)
    assert state_file.load(path, KINDS) == Inner((1.0,))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1]", '{"is": "Other"}', '{"is": "Inner"}', '{"a": 1}', '{"is": [1]}'],
)
def test_a_file_without_a_state_is_named(tmp_path, text):
    path = tmp_path / "search.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"search\.json holds no state"):
        state_file.load(path, KINDS)


def test_infinity_is_a_number_too(tmp_path):
    state_file.save(Inner((math.inf,)), tmp_path / "s.json")
    assert "Infinity" in (tmp_path / "s.json").read_text()
    assert json.loads((tmp_path / "s.json").read_text())["is"] == "Inner"
