"""A class of learners: take in their work, grade all of it, give it back.

Everything lies under ``.grading/``: ``submitted/STUDENT/SET/``, ``marks/SET/`` (one
file a student, written when that student is graded), nbgrader's gradebook,
``reports/SET.html``, and ``feedback/STUDENT/SET/``.
"""

import argparse
import csv
import os
import re
import shutil
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import nbformat
from nbformat.v4 import new_output

from minitransformer.course import batch, grade, marksheet, release
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
    return re.sub(r"[^\w.@-]", "-", name).strip(".-@") or "unnamed"


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


def marks_file(name: str, student: str, root: Path) -> Path:
    """Return where the marks of a student for a set lie."""
    return root / ".grading" / "marks" / name / f"{student}.json"


def grade_all(
    name: str,
    root: Path = ROOT,
    *,
    workers: int = 1,
    seconds: float = 10,
    confined: bool | None = None,
) -> Iterator[tuple[str, list[grade.Mark], bool]]:
    """Grade every submission of a set that is new or has changed.

    Args:
        name: the set.
        root: the folder of the course.
        workers: how many submissions are graded at a time, each by its own process.
        seconds: how long one cell, or one call in a check, may take.
        confined: in bubblewrap; by default where there is one.

    Yields:
        student, marks, whether they are new; first those that stand, then each as it
        is done. Marks are on disk before they are yielded.
    """
    solution = root / "solutions" / name / f"{name}.ipynb"
    tasks = []
    for student, path in submissions(name, root).items():
        file = marks_file(name, student, root)
        marks = grade.load_marks(file, grade.fingerprint(solution, path))
        if marks is None:
            tasks.append(batch.Task(student, solution, path, file, seconds, confined))
        else:
            yield student, marks, False
    for task, marks in batch.grade_each(tasks, workers):
        yield task.student, marks, True


def write_gradebook(name: str, marks: dict[str, list[grade.Mark]], root: Path) -> None:
    """Enter the marks of students in nbgrader's gradebook, as its autograder would."""
    from nbgrader.api import Gradebook
    from sqlalchemy.exc import SAWarning

    warnings.filterwarnings("ignore", category=SAWarning)  # nbgrader's own affair
    with Gradebook(f"sqlite:///{root / '.grading' / 'gradebook.db'}") as book:
        for student, own in marks.items():
            book.update_or_create_student(student)
            book.update_or_create_submission(name, student)
            for mark in own:
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
    marks = grade.load_marks(marks_file(name, student, root))
    if marks is None:
        raise ValueError(f"{student} has no marks for {name}: grade it first")
    write_gradebook(name, {student: marks}, root)
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


def stored_marks(name: str, root: Path) -> marksheet.Marks:
    """Return the marks of all who handed a set in and were graded."""
    found = {
        student: grade.load_marks(marks_file(name, student, root))
        for student in submissions(name, root)
    }
    return {student: marks for student, marks in found.items() if marks is not None}


def _parser(job: str, nargs: str | None = None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python3 -m minitransformer {job}")
    chosen = partial(release.chosen_set, root=ROOT)
    parser.add_argument("set", nargs=nargs, help="for example 1_1", type=chosen)
    return parser


def collect_main(argv: list[str]) -> int:
    """Take in submissions: ``collect SET FOLDER``."""
    parser = _parser("collect")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(argv)
    try:
        students = collect(options.set, options.folder, ROOT)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(students)} submissions: {', '.join(students)}")
    return 0


def grade_main(argv: list[str]) -> int:
    """Grade the submissions of a set: ``grade SET [--workers N] [--seconds S]``."""
    parser = _parser("grade")
    cores = os.cpu_count() or 1
    parser.add_argument("--workers", type=int, default=cores, help="default: all cores")
    parser.add_argument("--seconds", type=float, default=10, help="for one call")
    options = parser.parse_args(argv)
    if options.workers < 1 or options.seconds <= 0:
        parser.error("--workers must be 1 or more, --seconds more than 0")
    print(sandboxed())
    try:
        return grade_and_report(options.set, options.workers, options.seconds, ROOT)
    except KeyboardInterrupt:
        print("\nInterrupted; the same command goes on from here.", file=sys.stderr)
        return 130


def grade_and_report(name: str, workers: int, seconds: float, root: Path) -> int:
    """Grade a set, print each total, enter all in the gradebook, write the report."""
    release.release([name], root)
    start, new = time.monotonic(), 0
    for student, marks, is_new in grade_all(
        name, root, workers=workers, seconds=seconds
    ):
        total, most = sum(m.points for m in marks), sum(m.possible for m in marks)
        note = "" if is_new else "  (as before)"
        print(f"{student:24} {total:g} of {most:g}{note}", flush=True)
        new += is_new
    took = time.monotonic() - start
    all_marks = stored_marks(name, root)
    if not all_marks:
        print("There are no submissions: take them in with collect first.")
        return 1
    write_gradebook(name, all_marks, root)
    page = root / ".grading" / "reports" / f"{name}.html"
    page.parent.mkdir(exist_ok=True)
    page.write_text(marksheet.as_html(name, all_marks), encoding="utf-8")
    each = f", {took / new:.2f} s each" if new else ""
    print(f"\n{marksheet.as_text(all_marks)}\n")
    print(f"{len(all_marks)} submissions, {new} of them graded in {took:.1f} s{each}.")
    print(f"Report: {page}")
    return 0


def feedback_main(argv: list[str]) -> int:
    """Write feedback pages for a set: ``feedback SET``."""
    options = _parser("feedback").parse_args(argv)
    students = submissions(options.set, ROOT)
    for student in students:
        print(write_feedback(options.set, student, ROOT))
    return 0 if students else 1


def grades_main(argv: list[str]) -> int:
    """Print marks, or write them: ``grades [SET] [--csv FILE]``."""
    parser = _parser("grades", nargs="?")
    parser.add_argument("--csv", type=Path, help="write a file instead of printing")
    options = parser.parse_args(argv)
    file = options.csv.open("w", newline="") if options.csv else sys.stdout
    if options.set:
        marksheet.write_csv(stored_marks(options.set, ROOT), file)
    else:
        writer = csv.DictWriter(file, ["student", "set", "points", "of"])
        writer.writeheader()
        writer.writerows(table(ROOT))
    if options.csv:
        file.close()
        print(f"Written: {options.csv}")
    return 0
