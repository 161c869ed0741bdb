"""One thread a worker, kernels without a GPU, and no lesson over its budget."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Time is no test; and where a run decides, it tries the same examples every time.
settings.register_profile("anywhere", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "anywhere")

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # the kernels of lessons inherit it
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if not Path("/dev/nvidia0").exists():  # kernels run in the interpreter, lessons too
    os.environ.setdefault("TRITON_INTERPRET", "1")

os.environ.pop("MINITRANSFORMER_VENV", None)  # tests make places of their own

ROOT = Path(__file__).parents[1]
SECONDS = pytest.StashKey[dict[str, float]]()


def pytest_configure(config):
    config.stash[SECONDS] = {}


def budget_of(path: Path) -> float:
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    return float(notebook.metadata["minitransformer"]["budget_seconds"])


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session, exitstatus):
    """Fail the run if a lesson took longer than its metadata allow."""
    over = [
        f"{lesson} took {seconds:.0f} s, its budget is {budget_of(ROOT / lesson):.0f} s"
        for lesson, seconds in session.config.stash[SECONDS].items()
        if seconds > budget_of(ROOT / lesson)
    ]
    if over and not hasattr(session.config, "workerinput"):
        print("\n" + "\n".join(over))
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    return (yield)


class Stopwatch:
    """Add up what the cells of each lesson take, on the controller."""

    def __init__(self, seconds):
        self.seconds = seconds

    def pytest_runtest_logreport(self, report):
        path = report.nodeid.partition("::")[0]
        if path.startswith("lessons/") and path.endswith(".ipynb"):
            self.seconds[path] = self.seconds.get(path, 0) + report.duration


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session):
    seconds = session.config.stash[SECONDS]
    session.config.pluginmanager.register(Stopwatch(seconds), "lesson-stopwatch")
