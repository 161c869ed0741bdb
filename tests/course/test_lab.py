"""Opening the course and running its tests start the right programs."""

import sys

import pytest

from minitransformer.course import lab
from minitransformer.course.environment import ROOT


@pytest.fixture
def started(monkeypatch):
    """Start nothing, note what would be started."""
    commands = []

    def hand_over(command, cwd):
        commands.append((command, cwd))
        return 4

    monkeypatch.setattr(lab, "hand_over", hand_over)
    return commands


def test_the_lab_opens_at_the_first_lesson(started):
    assert lab.main(["--no-browser"]) == 4
    ((command, cwd),) = started
    assert command[:3] == [sys.executable, "-m", "jupyterlab"]
    assert command[-2:] == ["--no-browser", str(ROOT / lab.FIRST)]
    assert cwd == ROOT


def test_the_first_lesson_is_there():
    assert (ROOT / lab.FIRST).is_file()


@pytest.mark.parametrize("named", [[], ["1_1"]])
def test_executing_opens_nothing_and_changes_no_file(started, monkeypatch, named):
    runs = []
    monkeypatch.setattr(lab.execute, "main", lambda argv: runs.append(argv) or 0)
    assert lab.main(["--execute", *named]) == 0
    assert runs == [["--dry-run", *named]]
    assert started == []


def test_tests_are_run_by_pytest_in_the_repository(started):
    assert lab.test(["-q", "tests/course"]) == 4
    command = [sys.executable, "-m", "pytest", "-q", "tests/course"]
    assert started == [(command, ROOT)]


def test_in_a_folder_that_cannot_be_written_pytest_keeps_no_cache(started, monkeypatch):
    monkeypatch.setattr(lab.os, "access", lambda path, mode: False)
    assert lab.test(["-q"]) == 4
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q"]
    assert started == [(command, ROOT)]
