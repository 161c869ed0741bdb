"""The commands: each is found, set up for, and run in the course's own environment."""

import importlib
import subprocess
import sys

import pytest

from minitransformer import __main__ as commands
from minitransformer.course.environment import ROOT, SetupError


@pytest.fixture
def inside(monkeypatch):
    """Be in the environment of the course; note which extras are asked for."""
    asked = []

    def ensure(extras):
        asked.append(extras)
        return ROOT / ".venv" / "bin" / "python"

    monkeypatch.setattr(commands, "ensure", ensure)
    monkeypatch.setattr(sys, "prefix", str(ROOT / ".venv"))
    return asked


def note_runs(monkeypatch, module, function="main", code=0):
    """Let a job only note its arguments."""
    runs = []

    def run(arguments):
        runs.append(arguments)
        return code

    target = importlib.import_module(f"minitransformer.course.{module}")
    monkeypatch.setattr(target, function, run)
    return runs


@pytest.mark.parametrize("job", commands.JOBS.values(), ids=commands.JOBS)
def test_every_job_is_a_function_of_its_arguments(job):
    module, function = job.target.split(":")
    run = getattr(importlib.import_module(f"minitransformer.course.{module}"), function)
    assert list(run.__annotations__) == ["argv", "return"]
    assert run.__doc__


@pytest.mark.parametrize("job", commands.JOBS.values(), ids=commands.JOBS)
def test_every_extra_that_a_job_needs_exists(job):
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extra in job.extras:
        assert f"\n{extra} = [" in project


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_every_job_and_sets_nothing_up(flag, monkeypatch, capsys):
    monkeypatch.setattr(commands, "ensure", None)
    assert commands.main([flag]) == 0
    shown = capsys.readouterr().out
    for name, job in commands.JOBS.items():
        assert f"  {name:9} {job.help}\n" in shown


def test_an_unknown_job_is_named_and_the_known_ones_listed(monkeypatch, capsys):
    monkeypatch.setattr(commands, "ensure", None)
    assert commands.main(["tset"]) == 2
    said = capsys.readouterr()
    assert "There is no job 'tset'." in said.err
    assert "  doctor " in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    ("arguments", "passed_on"),
    [
        ([], []),
        (["lab"], []),
        (["--execute"], ["--execute"]),
        (["lab", "--no-browser"], ["--no-browser"]),
    ],
)
def test_no_job_means_the_lab(inside, monkeypatch, arguments, passed_on):
    runs = note_runs(monkeypatch, "lab")
    assert commands.main(arguments) == 0
    assert runs == [passed_on]
    assert inside == [("course", "kernels")]


def test_arguments_default_to_those_of_the_command_line(inside, monkeypatch):
    runs = note_runs(monkeypatch, "execute")
    monkeypatch.setattr(sys, "argv", ["minitransformer", "execute", "1_1"])
    assert commands.main() == 0
    assert runs == [["1_1"]]


def test_the_exit_code_of_a_job_is_handed_on(inside, monkeypatch):
    runs = note_runs(monkeypatch, "lab", "test", code=5)
    assert commands.main(["test", "-q", "tests"]) == 5
    assert runs == [["-q", "tests"]]
    assert inside == [("course", "kernels", "grade", "test", "book")]


def test_the_doctor_comes_without_any_set_up(monkeypatch):
    monkeypatch.setattr(commands, "ensure", None)
    runs = note_runs(monkeypatch, "doctor")
    assert commands.main(["doctor"]) == 0
    assert runs == [[]]


def test_outside_the_environment_the_command_runs_again_inside(inside, monkeypatch):
    handed = []

    def hand_over(command, cwd):
        handed.append((command, cwd))
        return 3

    monkeypatch.setattr(commands, "hand_over", hand_over)
    monkeypatch.setattr(sys, "prefix", "/usr")
    assert commands.main(["test", "-q"]) == 3
    python = str(ROOT / ".venv" / "bin" / "python")
    assert handed == [([python, "-m", "minitransformer", "test", "-q"], ROOT)]


@pytest.mark.parametrize("error", [SetupError("the disk is full."), OSError("no room")])
def test_a_failed_set_up_is_one_sentence(monkeypatch, capsys, error):
    def ensure(extras):
        raise error

    monkeypatch.setattr(commands, "ensure", ensure)
    assert commands.main(["lab"]) == 1
    said = capsys.readouterr()
    assert said.err == f"minitransformer: {error}\n"
    assert said.out == ""


def test_an_interrupted_set_up_says_how_to_go_on(monkeypatch, capsys):
    def ensure(extras):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "ensure", ensure)
    assert commands.main(["lab"]) == 130
    assert "the same command goes on from here" in capsys.readouterr().err


def test_an_old_python_is_turned_away_before_anything_else(monkeypatch, capsys):
    monkeypatch.setattr(commands, "ensure", None)
    monkeypatch.setattr(commands.sys, "version_info", (3, 10, 1))
    assert commands.main(["doctor"]) == 1
    assert "this is Python 3.10" in capsys.readouterr().err


def test_a_package_that_is_no_checkout_says_so(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(commands, "ROOT", tmp_path)
    assert commands.main(["doctor"]) == 1
    assert "clone it, and run this command in its folder" in capsys.readouterr().err


def test_the_package_is_a_program():
    command = [sys.executable, "-m", "minitransformer", "--help"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0
    assert result.stdout.startswith("usage: python3 -m minitransformer [JOB]")
