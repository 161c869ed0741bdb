"""Open the course, or run its tests."""

import os
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
    """Run pytest on everything or what the arguments name, with a cache if it may."""
    kept = [] if os.access(ROOT, os.W_OK) else ["-p", "no:cacheprovider"]
    return hand_over([sys.executable, "-m", "pytest", *kept, *argv], ROOT)
