"""Grade submissions: the checks run here, the submission in a process of its own.

Nothing that a submission does to its own process can touch a check: names are asked of
it through :mod:`minitransformer.course.sandbox`, and its answers arrive as plain data.
The checks are those of ``solutions/``, whatever became of them in the submission.
"""

import ast
import builtins
import hashlib
import json
import math
import os
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from minitransformer.course import sandbox
from minitransformer.course.sandbox import (
    START,
    Submission,
    SubmissionError,
    SubmissionGoneError,
)

MOST_RESTARTS = 2
LONGEST_MESSAGE = 400


@dataclass(frozen=True)
class Mark:
    """What one check gave: its id, the points it gave and could give, and why."""

    check: str
    points: float
    possible: float
    message: str = ""


def role(cell: NotebookNode) -> str:
    """Return what nbgrader makes of a cell: a check, given, an answer or other."""
    settings = cell.metadata.get("nbgrader", {})
    if settings.get("grade"):
        return "check"
    if settings.get("locked"):
        return "given" if cell.cell_type == "code" else "other"
    return "answer" if settings.get("solution") else "other"


def grade_id(cell: NotebookNode) -> str:
    """Return the id by which nbgrader knows a cell, empty if it has none."""
    return str(cell.metadata.get("nbgrader", {}).get("grade_id", ""))


def points_of(check: NotebookNode) -> float:
    """Return how many points a check can give."""
    return float(check.metadata["nbgrader"]["points"])


def read(path: Path) -> NotebookNode:
    """Read a notebook.

    Raises:
        ValueError: the file is no notebook.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if not isinstance(cell.source, str) or not isinstance(cell.metadata, dict):
                raise TypeError("a cell without text or metadata")
            grade_id(cell)
    except Exception as error:
        raise ValueError(
            f"{path.name} cannot be read as a notebook ({error}). Hand in the file "
            "that JupyterLab saves, its name ends in .ipynb."
        ) from error
    return notebook


def without_magics(source: str) -> str:
    """Blank out what only a notebook understands: magics, cells in other languages."""
    if source.lstrip().startswith("%%"):
        return ""
    lines = source.split("\n")
    return "\n".join("" if line.startswith(("%", "!")) else line for line in lines)


def cells_to_run(
    solution: NotebookNode, submission: NotebookNode
) -> tuple[list[str], list[str]]:
    """Return what runs in the submission's process: cells that are given, its own."""
    ours = {grade_id(c) for c in solution.cells if role(c) in ("check", "given")}
    given = [c.source for c in solution.cells if role(c) == "given"]
    own = [
        without_magics(c.source)
        for c in submission.cells
        if c.cell_type == "code" and grade_id(c) not in ours
    ]
    return given, own


class _Attempts:
    """The submission's process, started again when it has ended."""

    def __init__(
        self, given: list[str], own: list[str], seconds: float, confined: bool | None
    ) -> None:
        self.cells = [(source, max(seconds, START)) for source in given]
        self.cells += [(source, seconds) for source in own]
        self.seconds, self.confined = seconds, confined
        self.process: Submission | None = None
        self.starts = 0
        self.hopeless: set[int] = set()
        self.trouble = ""

    def get(self) -> Submission:
        """Return a running process in which all cells have run that can."""
        while self.process is None:
            if self.starts > MOST_RESTARTS:
                raise SubmissionGoneError(self.trouble or "it cannot be started")
            self.starts += 1
            self.process = Submission(self.seconds, self.confined)
            for i, (source, seconds) in enumerate(self.cells):
                if i in self.hopeless:
                    continue
                try:
                    self.process.run(source, seconds)
                except SubmissionGoneError as error:
                    self.hopeless.add(i)
                    self.trouble = f"a cell was stopped: {error}"
                    self.process = None
                    break
                except Exception as error:
                    self.trouble = self.trouble or f"{_name(error)}: {error}"
        return self.process

    def close(self) -> None:
        if self.process is not None:
            self.process.close()


def _name(error: Exception) -> str:
    return "" if isinstance(error, SubmissionError) else type(error).__name__


def free_names(source: str) -> set[str]:
    """Return the names that a check reads but does not make."""
    tree = ast.parse(source)
    read: set[str] = set()
    made = set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else made).add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            made.add(node.name)
        elif isinstance(node, ast.arg):
            made.add(node.arg)
        elif isinstance(node, ast.alias):
            made.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            made.add(node.name)
    return read - made


def explained(error: Exception) -> str:
    """Say what an error in a check means: whose it is, and what to look at."""
    if isinstance(error, NotImplementedError) and "your turn" in str(error):
        return "Not answered yet: it is your turn."
    text = f"{_name(error)}: {error}".removeprefix(": ")
    last = traceback.extract_tb(error.__traceback__)[-1]
    if (last.filename, last.name) == (sandbox.__file__, Submission._request.__name__):
        return f"Your code raised {text}"
    return f"The check cannot use what you return: is it what is asked for? ({text})"


def run_check(cell: NotebookNode, given: str, attempts: _Attempts) -> Mark:
    """Run one check here, with the names that it lacks bound to the submission's."""
    check, possible = grade_id(cell), points_of(cell)
    names: dict[str, Any] = {"__name__": "check", "print": lambda *_, **__: None}
    exec(compile(given, "given", "exec"), names)
    try:
        process = attempts.get()
        for name in sorted(free_names(cell.source) - names.keys()):
            names[name] = process.get(name)
        exec(compile(cell.source, "check", "exec"), names)
    except SubmissionGoneError as error:
        attempts.process = None
        return Mark(check, 0, possible, f"Your code was stopped: {error}.")
    except AssertionError as error:
        text = str(error).strip() or "A check failed that has no message."
        return Mark(check, 0, possible, text[:LONGEST_MESSAGE])
    except Exception as error:
        text = explained(error)
        if isinstance(error, NameError) and attempts.trouble:
            text += f" (running your cells: {attempts.trouble})"
        return Mark(check, 0, possible, text[:LONGEST_MESSAGE])
    return Mark(check, possible, possible)


def grade(
    solution: Path,
    submission: Path,
    *,
    seconds: float = 10,
    confined: bool | None = None,
) -> list[Mark]:
    """Grade one notebook.

    Args:
        solution: the instructor's notebook, whose checks count.
        submission: the learner's notebook.
        seconds: how long one cell, or one call in a check, may take.
        confined: in bubblewrap; by default where there is one.

    Returns:
        One mark a check, in the order of the solution. Whatever the submission does,
        this returns; what went wrong stands in the messages.
    """
    wanted = read(solution)
    given = "\n".join(cell.source for cell in wanted.cells if role(cell) == "given")
    try:
        cells = cells_to_run(wanted, read(submission))
    except ValueError as error:
        return no_marks(solution, str(error))
    attempts = _Attempts(*cells, seconds, confined)
    try:
        checks = [cell for cell in wanted.cells if role(cell) == "check"]
        return [run_check(cell, given, attempts) for cell in checks]
    finally:
        attempts.close()


def no_marks(solution: Path, message: str) -> list[Mark]:
    """Return marks of zero for all checks of a set, with one message."""
    checks = [cell for cell in read(solution).cells if role(cell) == "check"]
    return [Mark(grade_id(cell), 0, points_of(cell), message) for cell in checks]


def fingerprint(*paths: Path) -> str:
    """Return what a grading depends on, as one word."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()


def save_marks(path: Path, marks: list[Mark], depends_on: str) -> None:
    """Write marks to a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"depends_on": depends_on, "marks": [asdict(mark) for mark in marks]}
    temporary = path.with_suffix(f".{os.getpid()}.partial")
    temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    os.replace(temporary, path)


def load_marks(path: Path, depends_on: str | None = None) -> list[Mark] | None:
    """Read marks; None if there are none, or none for this submission and solution."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        marks = [Mark(**mark) for mark in content["marks"]]
        sums = sum(mark.points for mark in marks), sum(mark.possible for mark in marks)
        fits = depends_on in (None, content["depends_on"]) and max(sums) < math.inf
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return marks if fits else None
