"""Run a command where that is hard: read-only, a strange path, no network.

The checkout is to be seen at ``Übung 1 – copy`` in a folder of the test's own. There as
everywhere else nothing can be written, but for that folder itself, and there is no
network but that of the machine with itself. All this is done by bubblewrap, which must
be there.
"""

import os
import subprocess
import sys
from pathlib import Path

from minitransformer.course.environment import ROOT
from minitransformer.course.sandbox import bubblewrap

NAME = "Übung 1 – copy"


def run(arguments: list[str], folder: Path, *, seed: int = 0) -> tuple[int, str]:
    """Run Python in the checkout; return its exit code and what it has written.

    Args:
        arguments: of Python.
        folder: the only one that can be written to; the temporary one, and home.
        seed: of the hashes of strings, which says in what order a set is walked.
    """
    program = bubblewrap()
    assert program is not None, "there is no bubblewrap here"
    there = folder / NAME
    there.mkdir(exist_ok=True)
    command = [program, "--unshare-net", "--die-with-parent", "--ro-bind", "/", "/"]
    command += ["--dev", "/dev", "--bind", str(folder), str(folder)]
    command += ["--ro-bind", str(ROOT), str(there), "--chdir", str(there)]
    own = {"HOME": str(folder), "TMPDIR": str(folder), "PYTHONPATH": str(there)}
    result = subprocess.run(
        [*command, sys.executable, *arguments],
        env={**os.environ, **own, "PYTHONHASHSEED": str(seed)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return result.returncode, result.stdout
