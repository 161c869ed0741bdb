"""Grade many submissions at once, each by a grader in a process of its own.

A grader writes the marks of a submission before it takes the next, so a batch that is
killed has lost nothing but what it was at. A grader that dies or takes too long is
replaced, and costs nobody else a point.
"""

import contextlib
import multiprocessing
import os
import signal
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

from minitransformer.course import grade

UNGRADED = "This could not be graded"
PATIENCE = 30  # times the seconds of one call, for all of a submission
TRIES = 2
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Task(NamedTuple):
    """A submission to grade, and the file for its marks."""

    student: str
    solution: Path
    submission: Path
    target: Path
    seconds: float
    confined: bool | None


def perform(task: Task) -> list[grade.Mark]:
    """Grade a submission, write its marks and return them."""
    depends_on = grade.fingerprint(task.solution, task.submission)
    marks = grade.grade(
        task.solution, task.submission, seconds=task.seconds, confined=task.confined
    )
    grade.save_marks(task.target, marks, depends_on)
    return marks


def serve(connection: Connection) -> None:
    """Grade what comes through a connection until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the batch ends its graders itself
    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")
    with contextlib.suppress(EOFError, OSError):
        while True:
            task = connection.recv()
            try:
                answer: list[grade.Mark] | str = perform(task)
            except Exception as error:
                answer = f"{type(error).__name__}: {error}"
            connection.send(answer)


class _Grader:
    """A process that grades one submission at a time."""

    def __init__(self) -> None:
        self.task: Task | None = None
        self.deadline = 0.0
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()

    def close(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()

    def begin(self, task: Task) -> None:
        self.task, self.deadline = task, time.monotonic() + PATIENCE * task.seconds
        with contextlib.suppress(OSError):  # it has died, which is seen when it answers
            self.connection.send(task)

    def is_late(self) -> bool:
        return time.monotonic() > self.deadline

    def answer(self) -> list[grade.Mark] | str:
        """Return the marks, or why there are none; then the grader is a new one."""
        answer: list[grade.Mark] | str = f"it took longer than {PATIENCE} calls may"
        if self.connection.poll():
            try:
                answer = self.connection.recv()
            except (EOFError, OSError):
                answer = "its grader ended"
        if isinstance(answer, str):
            self.close()
            self.start()
        self.task = None
        return answer


def done(graders: list[_Grader]) -> list[_Grader]:
    """Wait until graders have answered, have died or are late, and return them."""
    busy = {each.connection: each for each in graders if each.task}
    first = min(each.deadline for each in busy.values())
    ready = wait(list(busy), timeout=max(first - time.monotonic(), 0))
    return [each for pipe, each in busy.items() if pipe in ready or each.is_late()]


def give_up(task: Task, why: str) -> list[grade.Mark]:
    """Write marks of zero that stand until the next batch tries again."""
    marks = grade.no_marks(task.solution, f"{UNGRADED}: {why}.")
    grade.save_marks(task.target, marks, depends_on="")
    return marks


def grade_each(
    tasks: Iterable[Task], workers: int
) -> Iterator[tuple[Task, list[grade.Mark]]]:
    """Grade submissions, ``workers`` at a time.

    Yields:
        Each task once, with its marks, in the order in which they are done.
    """
    waiting, tries = deque(tasks), Counter[Task]()
    graders = [_Grader() for _ in range(min(workers, len(waiting)))]
    try:
        while waiting or any(each.task for each in graders):
            for grader in graders:
                if waiting and grader.task is None:
                    grader.begin(waiting.popleft())
            for grader in done(graders):
                task, is_late = grader.task, grader.is_late()
                assert task is not None
                answer = grader.answer()
                tries[task] += 1
                if isinstance(answer, list):
                    yield task, answer
                elif is_late or tries[task] == TRIES:
                    yield task, give_up(task, answer)
                else:
                    waiting.append(task)
    finally:
        for grader in graders:
            grader.close()
