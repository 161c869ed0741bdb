"""Build the website of the course with Jupyter Book, from the lessons where they stand.

Lessons are not run: the book shows the outputs they are stored with.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from minitransformer.course.environment import ROOT


def build(output: Path, root: Path = ROOT) -> str:
    """Build the site, into ``_build/html`` of a folder.

    Args:
        output: the folder to build in.
        root: folder of the course.

    Returns:
        What is wrong with the pages: warnings, one a line; empty if nothing is.
    """
    start = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", start, "build", str(root)]
    command += ["--config", str(root / "book" / "_config.yml")]
    command += ["--toc", str(root / "book" / "_toc.yml")]
    command += ["--path-output", str(output), "-W", "-n", "--keep-going", "-q"]
    # The pages describe the package beside them, not another one that is installed.
    environment = {**os.environ, "PYTHONPATH": str(root)}
    run = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True
    )
    return run.stderr.strip() or (run.stdout if run.returncode else "")


def main(argv: list[str]) -> int:
    """Build the site and say where it is."""
    parser = argparse.ArgumentParser(prog="python3 -m minitransformer book")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "book", help="where _build/html comes"
    )
    output = parser.parse_args(argv).output.resolve()
    print("Building the book, about half a minute ...", flush=True)
    if warnings := build(output):
        print(warnings, file=sys.stderr)
        return 1
    print(f"The book is built: open {output / '_build' / 'html' / 'index.html'}")
    return 0
