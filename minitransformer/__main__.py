"""The commands of the course: ``python3 -m minitransformer [JOB]``.

Outside the environment of the course a command first sets that up, then runs inside.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import NamedTuple

from minitransformer.course.environment import (
    ROOT,
    SetupError,
    check_checkout,
    check_python,
    ensure,
    hand_over,
    venv_of,
)


class Job(NamedTuple):
    """What a job needs and where it is: a function ``main(arguments) -> exit code``."""

    extras: tuple[str, ...]
    target: str
    help: str


JOBS = {
    "lab": Job(
        ("course", "kernels"),
        "lab:main",
        "open the course in JupyterLab (--execute: run all lessons instead)",
    ),
    "test": Job(
        ("course", "kernels", "grade", "test", "book"),
        "lab:test",
        "run all tests (or: test PATH)",
    ),
    "doctor": Job((), "doctor:main", "look at this installation and say what to mend"),
    "check": Job(
        ("course", "kernels", "grade"),
        "check:main",
        "check your own exercises (without a set: show how far you are)",
    ),
    "book": Job(
        ("course", "book"),
        "book:main",
        "build the website (--pdf: print the whole of it)",
    ),
    "execute": Job(
        ("course", "kernels"), "execute:main", "run lessons and store their outputs"
    ),
    "release": Job(
        ("course", "grade"), "release:main", "make exercises/ from solutions/"
    ),
    "collect": Job(
        ("course", "grade"), "classroom:collect_main", "take in submissions"
    ),
    "grade": Job(
        ("course", "kernels", "grade"), "classroom:grade_main", "grade submissions"
    ),
    "feedback": Job(
        ("course", "grade"), "classroom:feedback_main", "write feedback pages"
    ),
    "grades": Job(
        ("course", "grade"), "classroom:grades_main", "print or write all marks"
    ),
    "alike": Job(("course", "grade"), "alike:main", "list submissions that are alike"),
}


def usage() -> str:
    """Return the list of jobs."""
    rows = [f"  {name:9} {job.help}" for name, job in JOBS.items()]
    return "\n".join(["usage: python3 -m minitransformer [JOB] [ARGUMENTS]", "", *rows])


def main(argv: list[str] | None = None) -> int:
    """Run one job and return its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] in (["-h"], ["--help"]):
        print(usage())
        return 0
    if not arguments or arguments[0].startswith("-"):
        arguments = ["lab", *arguments]
    name, *rest = arguments
    if name not in JOBS:
        print(f"There is no job {name!r}.\n{usage()}", file=sys.stderr)
        return 2
    try:
        check_python(sys.version_info[:2])
        check_checkout(ROOT)
        python = ensure(JOBS[name].extras) if JOBS[name].extras else None
    except (SetupError, OSError) as error:
        print(f"minitransformer: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; the same command goes on from here.", file=sys.stderr)
        return 130
    if python is not None and Path(sys.prefix) != venv_of(ROOT):
        return hand_over([str(python), "-m", "minitransformer", *arguments], ROOT)
    module, function = JOBS[name].target.split(":")
    run = getattr(importlib.import_module(f"minitransformer.course.{module}"), function)
    return int(run(rest))


if __name__ == "__main__":
    sys.exit(main())
