"""A course of one set with two exercises, small enough to grade in a second."""

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

NAME = "9_9_tiny"
DOUBLE = "def double(x):\n    return 2 * x"
TRIPLE = "def triple(x):\n    return 3 * x"
CHECK = """\
assert {name}(1) == {factor}, "{name}(1) should be {factor}: did you multiply?"
### BEGIN HIDDEN TESTS
for _ in range(3):
    x = rng.randrange(1000, 9999)
    assert {name}(x) == {factor} * x, "another number gives something else"
### END HIDDEN TESTS"""


def nbgrader(grade_id, *, grade=False, solution=False, points=None):
    settings = {"grade_id": grade_id, "schema_version": 3, "task": False}
    settings |= {"grade": grade, "solution": solution, "locked": not solution}
    if points is not None:
        settings["points"] = points
    return {"nbgrader": settings}


def cell(source, grade_id, **settings):
    return new_code_cell(source, id=grade_id, metadata=nbgrader(grade_id, **settings))


def solved(source):
    first, rest = source.split("\n", 1)
    return f"{first}\n    ### BEGIN SOLUTION\n{rest}\n    ### END SOLUTION"


def solution_notebook():
    cells = [new_markdown_cell("# Tiny", id="title")]
    cells.append(cell("import random\n\nrng = random.Random()", "given"))
    for name, factor, source in (("double", 2, DOUBLE), ("triple", 3, TRIPLE)):
        check = CHECK.format(name=name, factor=factor)
        cells.append(cell(solved(source), name, solution=True))
        cells.append(cell(check, f"{name}_check", grade=True, points=factor))
    exercises = [
        {"id": name, "title": name, "difficulty": 1, "minutes": 1}
        for name in ("double", "triple")
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    about = {"lesson": NAME, "exercises": exercises}
    return new_notebook(
        cells=cells, metadata={"kernelspec": kernel, "minitransformer": about}
    )


def submission_notebook(double=DOUBLE, triple=TRIPLE, first=""):
    """What a learner hands in: two answers, and perhaps a cell in front of all."""
    notebook = solution_notebook()
    for each in notebook.cells:
        each.source = each.source.split("### BEGIN HIDDEN")[0]
        answers = {"double": double, "triple": triple}
        each.source = answers.get(each.id, each.source)
    if first:
        notebook.cells.insert(0, new_code_cell(first, id="first"))
    return notebook


def write(notebook, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def make_course(root: Path) -> Path:
    """Write the solution below ``root``; return its path."""
    return write(solution_notebook(), root / "solutions" / NAME / f"{NAME}.ipynb")


def hand_in(root: Path, student: str, notebook) -> Path:
    """Put a submission, a notebook or raw bytes, where submissions lie."""
    path = root / ".grading" / "submitted" / student / NAME / f"{NAME}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(notebook, bytes):
        path.write_bytes(notebook)
    else:
        nbformat.write(notebook, path)
    return path
