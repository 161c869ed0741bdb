"""Check one's own exercises, hidden checks included, and see how far one is."""

import argparse
from pathlib import Path

from minitransformer.course import progress
from minitransformer.course.environment import ROOT
from minitransformer.course.grade import Mark, fingerprint, grade
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


def check(name: str, notebook: Path, root: Path) -> list[Mark]:
    """Grade a notebook and store its marks, where that is possible."""
    solution = root / "solutions" / name / f"{name}.ipynb"
    marks = grade(solution, notebook)
    try:
        progress.save(name, marks, fingerprint(solution, notebook), root)
    except OSError as error:
        print(f"The result cannot be stored: {error}.")
    return marks


def main(argv: list[str]) -> int:
    """Check a set, or show the whole course; return 1 if something is left to do."""
    root = ROOT
    parser = argparse.ArgumentParser(prog="python3 -m minitransformer check")
    parser.add_argument(
        "set",
        nargs="?",
        help="for example 1_1 (default: show the whole course)",
        type=lambda name: chosen_set(name, root),
    )
    parser.add_argument("notebook", nargs="?", type=Path, help="default: in exercises/")
    options = parser.parse_args(argv)
    if options.set is None:
        sets = progress.standings(root)
        print(f"{progress.overview(sets)}\n\n{progress.advice(sets, root)}")
        return 0 if all(each.open_exercise is None for each in sets) else 1
    name = options.set
    notebook = options.notebook or root / "exercises" / name / f"{name}.ipynb"
    if not notebook.is_file():
        print(f"There is no notebook {notebook}.")
        return 2
    marks = check(name, notebook, root)
    sets = progress.standings(root)
    print(f"{report(marks)}\n\n{progress.total(sets)}\n{progress.advice(sets, root)}")
    return 0 if all(mark.points == mark.possible for mark in marks) else 1
