"""Ruff and mypy find nothing."""

import subprocess
import sys

import pytest

from minitransformer.course.environment import ROOT

FOLDERS = ("minitransformer", "tests", "lessons", "solutions", "book")


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", *FOLDERS),
        ("ruff", "format", "--check", *FOLDERS),
        ("mypy",),
    ],
    ids=["ruff check", "ruff format", "mypy"],
)
def test_nothing_is_found_by(command):
    result = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
