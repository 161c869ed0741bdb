"""Check one's own exercises, hidden checks included, as a teacher would."""

import argparse
from pathlib import Path

from minitransformer.course.environment import ROOT
from minitransformer.course.grade import Mark, grade
from minitransformer.course.release import chosen_set


def report(marks: list[Mark]) -> str:
    """Return the result as a student reads it: one line a check, then what to do."""
    lines = []
    for mark in marks:
        exercise = mark.check.removesuffix("_check")
        sign = "done" if mark.points == mark.possible else "open"
        lines.append(
            f"{sign}  {exercise:20} {mark.points:g} of {mark.possible:g} points"
        )
        if mark.message:
            lines.append(f"      {mark.message}")
    total, most = sum(m.points for m in marks), sum(m.possible for m in marks)
    return "\n".join([*lines, "", f"{total:g} of {most:g} points"])


def main(argv: list[str]) -> int:
    """Check the exercise set that is named; return 1 if something is left to do."""
    parser = argparse.ArgumentParser(prog="python3 -m minitransformer check")
    parser.add_argument("set", help="for example 1_1", type=chosen_set)
    parser.add_argument("notebook", nargs="?", type=Path, help="default: in exercises/")
    options = parser.parse_args(argv)
    name = options.set
    notebook = options.notebook or ROOT / "exercises" / name / f"{name}.ipynb"
    if not notebook.is_file():
        print(f"There is no notebook {notebook}.")
        return 2
    marks = grade(ROOT / "solutions" / name / f"{name}.ipynb", notebook)
    print(report(marks))
    return 0 if all(mark.points == mark.possible for mark in marks) else 1
