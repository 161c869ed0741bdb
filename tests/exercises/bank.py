"""What every exercise set must show: stub zero, solution full, each slip caught.

A set has a bank of typical wrong answers. Each replaces the solution of one exercise
and must fail with the message that is meant for it.
"""

import copy
import re
from dataclasses import dataclass
from pathlib import Path

import nbformat

from minitransformer.course import grade
from minitransformer.course.environment import ROOT

SECONDS = 5.0
LONGEST_MESSAGE = 300
RAW = re.compile(
    r"Traceback|AssertionError|Mismatched elements|Not equal to tolerance| at 0x"
    r"|A check failed that has no message|\n|\d\.\d{9}"
)


@dataclass(frozen=True)
class WrongAnswer:
    """A typical slip.

    ``exercise`` is the id of the answer's cell, ``slip`` the misconception in a few
    words, ``source`` the answer, ``message`` a part of what the check must say.
    """

    exercise: str
    slip: str
    source: str
    message: str

    def __str__(self):
        return f"{self.exercise}: {self.slip}"


def solution_of(name: str) -> Path:
    return ROOT / "solutions" / name / f"{name}.ipynb"


def exercise_of(name: str) -> Path:
    return ROOT / "exercises" / name / f"{name}.ipynb"


def marks_of(name: str, submission: Path) -> dict[str, grade.Mark]:
    marks = grade.grade(solution_of(name), submission, seconds=SECONDS)
    return {mark.check: mark for mark in marks}


def changed(name: str, exercise: str, old: str, new: str) -> str:
    """Return the solution of one exercise with one slip in it."""
    cells = grade.read(solution_of(name)).cells
    (source,) = [cell.source for cell in cells if grade.grade_id(cell) == exercise]
    assert source.count(old) == 1, f"{old!r} is not once in the solution of {exercise}"
    return source.replace(old, new)


def is_readable(message: str) -> bool:
    """Tell whether a message is words of a bearable length, no dump of numbers."""
    words = re.findall(r"[A-Za-z]{2,}", message)
    return (
        len(words) > 2 and len(message) <= LONGEST_MESSAGE and not RAW.search(message)
    )


class ExerciseSet:
    """The three tests of a set; its test module derives from this class.

    ``name`` is the id of the set, ``wrong_answers`` its bank.
    """

    name: str
    wrong_answers: tuple[WrongAnswer, ...]

    def pytest_generate_tests(self, metafunc):
        if "wrong" in metafunc.fixturenames:
            metafunc.parametrize("wrong", self.wrong_answers, ids=str)

    def test_a_typical_slip_fails_with_its_message(self, wrong, tmp_path):
        notebook = copy.deepcopy(grade.read(solution_of(self.name)))
        (cell,) = [c for c in notebook.cells if grade.grade_id(c) == wrong.exercise]
        cell.source = wrong.source
        path = tmp_path / f"{self.name}.ipynb"
        nbformat.write(notebook, path)
        marks = marks_of(self.name, path)
        caught = marks.pop(f"{wrong.exercise}_check")
        assert caught.points == 0
        assert wrong.message in caught.message, caught.message
        assert is_readable(caught.message), caught.message
        for mark in marks.values():  # only the one exercise loses its points
            assert mark.points == mark.possible, mark

    def test_the_untouched_stub_scores_zero(self):
        for mark in marks_of(self.name, exercise_of(self.name)).values():
            assert mark.points == 0, mark
            assert "your turn" in mark.message, mark

    def test_the_solution_scores_all(self):
        marks = marks_of(self.name, solution_of(self.name))
        assert marks
        for mark in marks.values():
            assert mark.points == mark.possible > 0, mark
