"""A class that hands in: right, partial, wrong, hostile and broken work.

What each submission must get is known when it is made.
"""

import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from minitransformer.course import grade

from . import test_hostile

STUB = 'raise NotImplementedError("your turn")'
BROKEN = (b"", b"nothing", b'{"cells": 1}', b"\xff\xfe\x00")
OF_TWENTY = {"right": 8, "partial": 5, "wrong": 4, "hostile": 2, "broken": 1}


@dataclass(frozen=True)
class Handed:
    """A submission and the points that each check must give; None: any."""

    student: str
    kind: str
    content: NotebookNode | bytes
    points: dict[str, float | None]


def hostile_cases() -> list[tuple[str, str, float | None]]:
    """An answer to ``double``, a cell in front of all, and whether others count."""
    cases = [case.values for case in test_hostile.CASES]
    return [
        (double, first, triple)
        for double, first, modes, triple in cases
        if test_hostile.modes_here(modes) and "PORT" not in double
    ]


def handed_in(
    solution: Path, slips: list[tuple[str, str]], count: int, seed: int = 0
) -> Iterator[Handed]:
    """Make submissions for a set.

    Args:
        solution: its notebook; all answers must be functions.
        slips: wrong answers, each an exercise and a source.
        count: how many.
        seed: of the choice.
    """
    rng = random.Random(seed)
    solved = grade.read(solution)
    checks = [cell for cell in solved.cells if grade.role(cell) == "check"]
    most = {grade.grade_id(cell): grade.points_of(cell) for cell in checks}
    exercises = [check.removesuffix("_check") for check in most]
    kinds = [kind for kind, share in OF_TWENTY.items() for _ in range(share)]
    rng.shuffle(kinds)
    cases = hostile_cases()
    rng.shuffle(cases)

    def answered(**answers: str) -> NotebookNode:
        notebook = copy.deepcopy(solved)
        for cell in notebook.cells:
            cell.source = answers.get(grade.grade_id(cell), cell.source)
        return notebook

    for number in range(count):
        kind, points = kinds[number % len(kinds)], dict[str, float | None](most)
        content: NotebookNode | bytes = answered()
        if kind == "partial":
            left = rng.sample(exercises, rng.randint(1, len(exercises)))
            content = answered(**{e: f"def {e}(*_): {STUB}" for e in left})
            points |= {f"{exercise}_check": 0 for exercise in left}
        elif kind == "wrong":
            exercise, source = rng.choice(slips)
            content = answered(**{exercise: source})
            points[f"{exercise}_check"] = 0
        elif kind == "hostile":
            double, first, others = cases[number % len(cases)]
            target = exercises[0]
            source = double.replace("double(x)", "double(*x)").replace("double", target)
            content = answered(**{target: source})
            content.cells.insert(0, new_code_cell(first, id="first"))
            points = {c: points[c] if others is not None else None for c in points}
            points[f"{target}_check"] = 0
        elif kind == "broken":
            content, points = rng.choice(BROKEN), dict.fromkeys(points, 0)
        yield Handed(f"s{number:03}", kind, content, points)


def differing(all_handed: list[Handed], marks: dict[str, list[grade.Mark]]) -> list:
    """Return what is missing or has other points than it must have."""
    wrong: list = [each.student for each in all_handed if each.student not in marks]
    for each in all_handed:
        for mark in marks.get(each.student, []):
            wanted = each.points[mark.check]
            if wanted is not None and mark.points != wanted:
                wrong.append((each.student, each.kind, mark, wanted))
    return wrong
