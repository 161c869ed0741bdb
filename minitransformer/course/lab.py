"""Open the course, or run its tests."""

import subprocess
import sys

from minitransformer.course import execute
from minitransformer.course.environment import ROOT

FIRST = "lessons/0_start_here.ipynb"


def main(argv: list[str]) -> int:
    """Open JupyterLab at the first lesson; ``--execute`` runs all lessons instead."""
    if argv == ["--execute"]:
        return execute.main(["--dry-run"])
    command = [sys.executable, "-m", "jupyter", "lab", "--notebook-dir", str(ROOT)]
    try:
        return subprocess.call([*command, *argv, str(ROOT / FIRST)], cwd=ROOT)
    except KeyboardInterrupt:
        return 0


def test(argv: list[str]) -> int:
    """Run pytest on everything, or on what the arguments name."""
    return subprocess.call([sys.executable, "-m", "pytest", *argv], cwd=ROOT)
