"""What every benchmark does: test first, then time in turns."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

TESTS = Path(__file__).parents[1]


def refuse_while_red(*folders: str) -> None:
    """End the program unless these folders of tests pass: nothing wrong is timed."""
    paths = [str(TESTS / folder) for folder in folders]
    tests = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", *paths]
    if subprocess.run(tests, cwd=TESTS.parent).returncode != 0:
        sys.exit(f"the tests of {', '.join(folders)} fail: nothing is timed")


def seconds(
    run: Callable[[], object], clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return how long one call takes by the clock (``time.process_time``: of CPU)."""
    start = clock()
    run()
    return clock() - start


def best_of(
    rounds: int,
    *runs: Callable[[], object],
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Time the runs in turns; return the best time of each, in seconds."""
    times = [[seconds(run, clock) for run in runs] for _ in range(rounds)]
    return [min(column) for column in zip(*times, strict=True)]
