import numpy as np
import pytest

from minitransformer.course import sandbox
from minitransformer.course.sandbox import (
    Submission,
    SubmissionError,
    SubmissionGoneError,
)

CODE = """
import collections
def echo(*args, **kwargs): return args, kwargs
def count(text): return collections.Counter(text)
def fail(): raise ValueError("no such thing")
class Odd(Exception): pass
def fail_oddly(): raise Odd("unheard of")
class Adder:
    def __init__(self, n): self.n = n
    def add(self, m): return self.n + m
def make(n): return Adder(n)
def method(adder, m): return adder.add(m)
number = 7
"""


@pytest.fixture(scope="module", params=["sandbox", "plain"])
def process(request):
    confined = request.param == "sandbox"
    if confined and sandbox.bubblewrap() is None:
        pytest.skip("no bubblewrap here")
    submission = Submission(seconds=5, confined=confined)
    submission.run(CODE)
    yield submission
    submission.close()


def test_values_and_functions_can_be_asked_for(process):
    assert process.get("number") == 7
    args, kwargs = process.get("echo")(1, [2], key={(1, 2): b"x"})
    assert args == (1, [2])
    assert kwargs == {"key": {(1, 2): b"x"}}


def test_a_counter_arrives_as_a_dict(process):
    assert process.get("count")("aab") == {"a": 2, "b": 1}


def test_arrays_go_both_ways(process):
    ((array,), _) = process.get("echo")(np.eye(2))
    np.testing.assert_array_equal(array, np.eye(2))


def test_objects_stay_there_and_can_be_used(process):
    adder = process.get("make")(3)
    assert adder.add(4) == 7
    assert adder.n == 3
    assert process.get("method")(adder, 5) == 8
    assert process.get("Adder")(1).add(1) == 2


def test_an_object_has_no_truth_of_its_own(process):
    with pytest.raises(TypeError, match="a plain value is needed"):
        bool(process.get("make")(3))


def test_known_exceptions_arrive_with_the_line(process):
    with pytest.raises(ValueError, match=r"no such thing \(line 5 of your cell\)"):
        process.get("fail")()


def test_unknown_exceptions_arrive_by_name(process):
    with pytest.raises(SubmissionError, match="Odd: unheard of"):
        process.get("fail_oddly")()


def test_a_missing_name_is_named(process):
    with pytest.raises(NameError, match="nowhere is not defined"):
        process.get("nowhere")


def test_our_functions_cannot_be_sent(process):
    with pytest.raises(TypeError, match="function cannot be sent"):
        process.get("echo")(lambda: 1)


def test_a_process_that_takes_too_long_is_ended():
    submission = Submission(seconds=0.3)
    with pytest.raises(SubmissionGoneError, match=r"longer than 0\.3 s"):
        submission.run("while True: pass")
    with pytest.raises(SubmissionGoneError, match="has ended"):
        submission.get("x")


def test_it_is_said_what_keeps_submissions_in(monkeypatch):
    monkeypatch.setattr(sandbox, "bubblewrap", lambda: "/usr/bin/bwrap")
    assert "in a sandbox" in sandbox.sandboxed()
    monkeypatch.setattr(sandbox, "bubblewrap", lambda: None)
    assert "Grade only people you trust" in sandbox.sandboxed()


def test_a_bubblewrap_that_does_not_work_is_none(monkeypatch):
    sandbox.bubblewrap.cache_clear()
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: "/bin/false")
    assert sandbox.bubblewrap() is None
    sandbox.bubblewrap.cache_clear()
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    assert sandbox.bubblewrap() is None
    sandbox.bubblewrap.cache_clear()
