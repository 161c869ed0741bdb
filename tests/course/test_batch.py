"""A batch loses nobody: not when it is killed, nor when a grader dies or hangs."""

import functools
import os
import signal
import subprocess
import sys
import time

import pytest

from minitransformer.course import batch, classroom, grade
from minitransformer.course.environment import ROOT

from . import simulated, tiny

SLIPS = [
    ("double", "def double(x):\n    return x"),
    ("triple", "def triple(x):\n    return 3"),
    ("triple", "def triple(x) return 3 * x"),
]
GRADE = """
import sys
from pathlib import Path
from minitransformer.course import classroom
if __name__ == "__main__":
    graded = classroom.grade_all(sys.argv[1], Path(sys.argv[2]), workers=2, seconds=2)
    for student, _, _ in graded:
        print(student, flush=True)
"""


def marks_files(root):
    return sorted((root / ".grading" / "marks" / tiny.NAME).glob("*.json"))


@pytest.fixture(scope="module")
def school(tmp_path_factory):
    """Twenty submissions of which the batch that grades them is killed in the middle.

    Gives the course, the submissions, and the marks that were there at the kill, with
    the times when they were written.
    """
    root = tmp_path_factory.mktemp("school")
    solution = tiny.make_course(root)
    handed = list(simulated.handed_in(solution, SLIPS, 20))
    for each in handed:
        tiny.hand_in(root, each.student, each.content)
    script = root / "grade.py"
    script.write_text(GRADE)
    process = subprocess.Popen(
        [sys.executable, script, tiny.NAME, root],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    for _ in range(6):
        assert process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    time.sleep(1)  # for what the graders were at
    return root, handed, {path: path.stat().st_mtime_ns for path in marks_files(root)}


def test_a_killed_batch_goes_on_and_every_mark_is_what_it_must_be(school):
    root, handed, before = school
    assert 6 <= len(before) < len(handed)
    graded = list(classroom.grade_all(tiny.NAME, root, workers=2, seconds=2))
    assert sum(not is_new for _, _, is_new in graded) == len(before)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    marks = {student: marks for student, marks, _ in graded}
    assert len(graded) == len(marks) == len(handed)
    assert simulated.differing(handed, marks) == []
    assert classroom.stored_marks(tiny.NAME, root) == marks


def test_the_class_has_all_kinds_of_learners(school):
    _, handed, _ = school
    kinds = [each.kind for each in handed]
    assert {kind: kinds.count(kind) for kind in kinds} == simulated.OF_TWENTY


def task(root, student="ada", seconds=5.0):
    solution = tiny.make_course(root)
    submission = tiny.hand_in(root, student, tiny.submission_notebook())
    target = classroom.marks_file(tiny.NAME, student, root)
    return batch.Task(student, solution, submission, target, seconds, None)


def die(student, connection):
    """A grader that ends at the submission of one student, and else does its work."""
    try:
        while True:
            task = connection.recv()
            if task.student == student:
                os._exit(1)
            connection.send(batch.perform(task))
    except EOFError:
        pass


def sleep(connection):
    connection.recv()
    time.sleep(60)


def refuse(connection):
    while True:
        connection.recv()
        connection.send("ValueError: no")


def test_a_grader_that_dies_is_replaced_and_costs_nobody_else(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "serve", functools.partial(die, "bob"))
    tasks = [task(tmp_path, student) for student in ("ada", "bob", "cyd", "dan")]
    marks = {task.student: m for task, m in batch.grade_each(tasks, workers=2)}
    assert [m.points for m in marks.pop("bob")] == [0, 0]
    for own in marks.values():
        assert [m.points for m in own] == [2, 3]
    assert len(marks) == 3
    stored = grade.load_marks(tasks[1].target)
    assert stored[0].message == "This could not be graded: its grader ended."
    monkeypatch.undo()
    ((student, again, is_new),) = [
        each for each in classroom.grade_all(tiny.NAME, tmp_path) if each[2]
    ]
    assert (student, is_new) == ("bob", True)
    assert [mark.points for mark in again] == [2, 3]


def test_a_submission_that_holds_its_grader_up_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "serve", sleep)
    begin = time.monotonic()
    ((_, marks),) = batch.grade_each([task(tmp_path, seconds=0.02)], workers=2)
    assert marks[1].message.startswith("This could not be graded: it took longer")
    assert time.monotonic() - begin < 30  # once, and not the minute that it sleeps


def test_a_grader_that_fails_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "serve", refuse)
    ((_, marks),) = batch.grade_each([task(tmp_path)], workers=1)
    assert marks[0].message == "This could not be graded: ValueError: no."


def test_a_connection_answers_marks_or_why_there_are_none(tmp_path):
    class Pipe:
        def __init__(self, *tasks):
            self.tasks, self.sent = list(tasks), []

        def recv(self):
            if not self.tasks:
                raise EOFError
            return self.tasks.pop(0)

        send = property(lambda self: self.sent.append)

    good = task(tmp_path)
    before = signal.getsignal(signal.SIGINT)
    pipe = Pipe(good, good._replace(submission=tmp_path / "gone.ipynb"))
    try:
        batch.serve(pipe)
    finally:
        signal.signal(signal.SIGINT, before)
    assert [mark.points for mark in pipe.sent[0]] == [2, 3]
    assert pipe.sent[1].startswith("FileNotFoundError")


def test_without_submissions_no_grader_is_started(monkeypatch):
    monkeypatch.setattr(batch, "_Grader", None)
    assert list(batch.grade_each([], workers=2)) == []
