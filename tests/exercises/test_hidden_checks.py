"""An answer that knows the visible checks by heart must not pass the hidden ones."""

import ast
import copy
import inspect
from functools import cache

import pytest

from minitransformer.course import grade, release

from . import bank


@cache
def checks(name):
    """The visible and the full source of each check of a set, by exercise."""
    shown, full = (
        {grade.grade_id(c): c.source for c in grade.read(path).cells}
        for path in (bank.exercise_of(name), bank.solution_of(name))
    )
    return {
        check.removesuffix("_check"): (shown[check], full[check])
        for check in full
        if check.endswith("_check")
    }


def names_of(name):
    """What the given cells and the solutions of a set define."""
    names = {"print": lambda *_: None}
    for cell in grade.read(bank.solution_of(name)).cells:
        if grade.role(cell) in ("given", "answer"):
            exec(cell.source, names)
    return names


def called(name, exercise, names):
    """The function that a check calls: of that name, or one that launches a kernel."""
    known = names.get(exercise)
    if inspect.isfunction(known) or inspect.isclass(known):
        return exercise
    cells = grade.read(bank.solution_of(name)).cells
    answer = next(cell for cell in cells if grade.grade_id(cell) == exercise)
    body = ast.parse(answer.source).body
    plain = [f for f in body if isinstance(f, ast.FunctionDef) and not f.decorator_list]
    return plain[-1].name


@pytest.mark.parametrize(
    ("name", "exercise"),
    [(name, exercise) for name in release.exercise_sets() for exercise in checks(name)],
)
def test_knowing_the_visible_checks_by_heart_is_not_enough(name, exercise):
    visible, full = checks(name)[exercise]
    names, learned = names_of(name), {}
    function = called(name, exercise, names)
    solution = names[function]

    def learn(*args, **named):
        try:
            answer = solution(*args, **named)
        except ValueError as error:
            learned[repr((args, named))] = error
            raise
        learned[repr((args, named))] = answer
        return answer

    def recite(*args, **named):
        answer = copy.deepcopy(learned.get(repr((args, named))))
        if isinstance(answer, ValueError):
            raise answer
        return answer

    exec(visible, names | {function: learn})
    assert learned
    exec(visible, names_of(name) | {function: recite})  # the same draws again
    with pytest.raises(Exception):  # noqa: B017  (whatever None leads to)
        exec(full, names_of(name) | {function: recite})
