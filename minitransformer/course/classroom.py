"""A class of learners: take in their work, grade all of it, give it back.

Everything lies under ``.grading/``: ``submitted/STUDENT/SET/``, ``marks/SET/`` (one
file a student, written when that student is graded), nbgrader's gradebook, and
``feedback/STUDENT/SET/``.
"""

import argparse
import csv
import re
import shutil
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat.v4 import new_output

from minitransformer.course import grade, release
from minitransformer.course.environment import ROOT
from minitransformer.course.sandbox import sandboxed

OFF_HOST = re.compile(
    r"<script\b.*?</script>|<link\b[^>]*>|@import[^;]*;", re.DOTALL | re.IGNORECASE
)


def submissions(name: str, root: Path = ROOT) -> dict[str, Path]:
    """Return the notebooks that were handed in for a set: student -> path."""
    folder = root / ".grading" / "submitted"
    paths = sorted(folder.glob(f"*/{name}/{name}.ipynb"))
    return {path.parents[1].name: path for path in paths}


def student_of(path: Path) -> str:
    """Return whose work a downloaded notebook is: its first folder, or its file's name.

    ``ada/1_1.ipynb`` and ``ada_1_1_byte_pair_encoding.ipynb`` are both ada's.
    """
    name = path.parts[0] if len(path.parts) > 1 else re.split(r"[_.]", path.name)[0]
    return re.sub(r"[^\w.@-]", "-", name).strip(".-") or "unnamed"


def collect(name: str, source: Path, root: Path = ROOT) -> list[str]:
    """Take in a folder or a zip file of downloaded notebooks.

    Returns:
        The students, one for each notebook; of two by one student the later file wins.

    Raises:
        ValueError: there is no notebook in it, or it is neither folder nor zip file.
    """
    if zipfile.is_zipfile(source):
        with (
            tempfile.TemporaryDirectory() as folder,
            zipfile.ZipFile(source) as archive,
        ):
            archive.extractall(folder)
            return collect(name, Path(folder), root)
    if not source.is_dir():
        raise ValueError(f"{source} is neither a folder nor a zip file")
    found: dict[str, Path] = {}
    for path in sorted(source.rglob("*.ipynb"), key=lambda path: path.stat().st_mtime):
        if ".ipynb_checkpoints" not in path.parts:
            found[student_of(path.relative_to(source))] = path
    if not found:
        raise ValueError(f"{source} holds no notebook")
    for student, path in found.items():
        target = root / ".grading" / "submitted" / student / name / f"{name}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return sorted(found)


def grade_all(
    name: str, root: Path = ROOT, *, seconds: float = 10, confined: bool | None = None
) -> Iterator[tuple[str, list[grade.Mark], bool]]:
    """Grade every submission of a set that is new or has changed.

    Yields:
        student, marks, whether they are new; all are on disk before the next begins.
    """
    solution = root / "solutions" / name / f"{name}.ipynb"
    for student, path in submissions(name, root).items():
        file = root / ".grading" / "marks" / name / f"{student}.json"
        depends_on = grade.fingerprint(solution, path)
        marks = grade.load_marks(file, depends_on)
        is_new = marks is None
        if marks is None:
            marks = grade.grade(solution, path, seconds=seconds, confined=confined)
            grade.save_marks(file, marks, depends_on)
        yield student, marks, is_new


def write_gradebook(
    name: str, student: str, marks: list[grade.Mark], root: Path
) -> None:
    """Enter marks in nbgrader's gradebook, as its own autograder would."""
    from nbgrader.api import Gradebook
    from sqlalchemy.exc import SAWarning

    warnings.filterwarnings("ignore", category=SAWarning)  # nbgrader's own affair
    with Gradebook(f"sqlite:///{root / '.grading' / 'gradebook.db'}") as book:
        book.update_or_create_student(student)
        book.update_or_create_submission(name, student)
        for mark in marks:
            entry = book.find_grade(mark.check, name, name, student)
            entry.auto_score, entry.needs_manual_grade = mark.points, False
        book.db.commit()


def marked_notebook(
    name: str, student: str, marks: list[grade.Mark], root: Path
) -> None:
    """Write the notebook that feedback is made from.

    It is the released notebook with the learner's answers in place and, below each
    check, what it said. Nothing else of the submission comes through.
    """
    notebook = grade.read(root / "exercises" / name / f"{name}.ipynb")
    try:
        submitted = grade.read(submissions(name, root)[student]).cells
    except ValueError:
        submitted = []
    answers = {grade.grade_id(cell): cell.source for cell in submitted}
    verdicts = {mark.check: mark for mark in marks}
    for cell in notebook.cells:
        kind, own_id = grade.role(cell), grade.grade_id(cell)
        if kind == "answer":
            cell.source = answers.get(own_id, "# this cell is missing")
        elif kind == "check":
            mark = verdicts[own_id]
            text = mark.message or "All checks pass, the hidden ones too."
            points = f"{mark.points:g} of {mark.possible:g} points"
            cell.outputs = [
                new_output("stream", name="stdout", text=f"{points}: {text}\n")
            ]
    target = root / ".grading" / "autograded" / student / name / f"{name}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)


def write_feedback(name: str, student: str, root: Path = ROOT) -> Path:
    """Write one learner's feedback, an HTML page that needs no network.

    Raises:
        ValueError: the learner has no marks for this set.
        RuntimeError: nbgrader cannot make the page.
    """
    file = root / ".grading" / "marks" / name / f"{student}.json"
    marks = grade.load_marks(file)
    if marks is None:
        raise ValueError(f"{student} has no marks for {name}: grade it first")
    write_gradebook(name, student, marks, root)
    marked_notebook(name, student, marks, root)
    result = release.course(root).generate_feedback(name, student, force=True)
    if not result["success"]:
        raise RuntimeError(f"no feedback for {student}:\n{result['log']}")
    page = root / ".grading" / "feedback" / student / name / f"{name}.html"
    page.write_text(
        OFF_HOST.sub("", page.read_text(encoding="utf-8")), encoding="utf-8"
    )
    return page


def table(root: Path = ROOT) -> list[dict[str, str]]:
    """Return all marks of the gradebook, one row a student and set."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{root / '.grading' / 'gradebook.db'}") as book:
        return [
            {
                "student": submission.student.id,
                "set": submission.assignment.name,
                "points": f"{submission.score:g}",
                "of": f"{submission.max_score:g}",
            }
            for assignment in book.assignments
            for submission in book.assignment_submissions(assignment.name)
        ]


def _arguments(job: str, argv: list[str], *more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python3 -m minitransformer {job}")
    parser.add_argument("set", help="for example 1_1", type=release.chosen_set)
    for name in more:
        parser.add_argument(name)
    return parser.parse_args(argv)


def collect_main(argv: list[str]) -> int:
    """Take in submissions: ``collect SET FOLDER``."""
    options = _arguments("collect", argv, "folder")
    try:
        students = collect(options.set, Path(options.folder))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(students)} submissions: {', '.join(students)}")
    return 0


def grade_main(argv: list[str]) -> int:
    """Grade the submissions of a set: ``grade SET``."""
    options = _arguments("grade", argv)
    print(sandboxed())
    release.release([options.set])
    start, count = time.monotonic(), 0
    for student, marks, is_new in grade_all(options.set):
        write_gradebook(options.set, student, marks, ROOT)
        total, most = sum(m.points for m in marks), sum(m.possible for m in marks)
        print(f"{student:24} {total:g} of {most:g}{'' if is_new else '  (as before)'}")
        count += 1
    print(f"{count} submissions in {time.monotonic() - start:.1f} s")
    return 0 if count else 1


def feedback_main(argv: list[str]) -> int:
    """Write feedback pages for a set: ``feedback SET``."""
    options = _arguments("feedback", argv)
    students = submissions(options.set)
    for student in students:
        print(write_feedback(options.set, student))
    return 0 if students else 1


def grades_main(argv: list[str]) -> int:
    """Print all marks, or write them: ``grades [--csv FILE]``."""
    parser = argparse.ArgumentParser(prog="python3 -m minitransformer grades")
    parser.add_argument("--csv", type=Path, help="write a file instead of printing")
    options = parser.parse_args(argv)
    rows = table()
    file = options.csv.open("w", newline="") if options.csv else sys.stdout
    writer = csv.DictWriter(file, ["student", "set", "points", "of"])
    writer.writeheader()
    writer.writerows(rows)
    if options.csv:
        file.close()
        print(f"{len(rows)} rows in {options.csv}")
    return 0
