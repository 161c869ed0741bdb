"""What a learner is told has words, is short, and is no dump of a program."""

import pytest

from . import bank


@pytest.mark.parametrize(
    "message",
    [
        "got [9, 2]: did you skip past both ids of a merge?",
        "Your code raised ZeroDivisionError: division by zero (line 3 of your cell)",
    ],
)
def test_a_question_with_what_came_is_readable(message):
    assert bank.is_readable(message)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "[1, 2, 3]",
        "array([nan])",
        "Traceback (most recent call last): in line 3 of the cell",
        "Not equal to tolerance rtol=1e-07, atol=0",
        "got <function f at 0x7f8e>: did you call it?",
        "A check failed that has no message.",
        "did you get " + "1, " * 100,
        "got 0.30000000000000004: is that the sum of all?",
        "got [[1. 2.]\n [3. 4.]]: is that the sum of all?",
    ],
)
def test_a_dump_is_not_readable(message):
    assert not bank.is_readable(message)
