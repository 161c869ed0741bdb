"""Open the course, or run its tests."""

import sys

from minitransformer.course import execute
from minitransformer.course.environment import ROOT, hand_over

FIRST = "lessons/0_start_here.ipynb"


def main(argv: list[str]) -> int:
    """Open JupyterLab at the first lesson; ``--execute`` runs all lessons instead."""
    if argv[:1] == ["--execute"]:
        return execute.main(["--dry-run", *argv[1:]])
    command = [sys.executable, "-m", "jupyterlab", "--notebook-dir", str(ROOT)]
    return hand_over([*command, *argv, str(ROOT / FIRST)], ROOT)


def test(argv: list[str]) -> int:
    """Run pytest on everything, or on what the arguments name."""
    return hand_over([sys.executable, "-m", "pytest", *argv], ROOT)
