"""One thread a worker, kernels without a GPU; nothing over its time or memory."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from minitransformer.course.book import BROWSERS
from tests import memory
from tests.book import visiting

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
METER = pytest.StashKey["Meter"]()


def pytest_xdist_auto_num_workers(config):
    """Start one worker a core, but no more than there is memory for."""
    return memory.workers(os.cpu_count() or 1, memory.to_be_had())


def budget_of(path: Path) -> float:
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    return float(notebook.metadata["minitransformer"]["budget_seconds"])


def is_lesson(path: str) -> bool:
    return path.startswith("lessons/") and path.endswith(".ipynb")


class Meter:
    """Note what the cells of lessons take, and on the controller add it up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.bytes: dict[str, int] = {}
        self.all = memory.Watch(memory.everything, every=1)

    def pytest_runtest_logreport(self, report):
        path = report.nodeid.partition("::")[0]
        if is_lesson(path):
            self.seconds[path] = self.seconds.get(path, 0) + report.duration
            held = dict(report.user_properties).get("memory", 0)
            self.bytes[path] = max(self.bytes.get(path, 0), held)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        if not is_lesson(item.nodeid.partition("::")[0]):
            return (yield)
        try:
            with memory.Watch(memory.children) as watch:
                return (yield)
        finally:
            item.user_properties.append(("memory", watch.peak))

    def over(self, workers: int):
        """Yield what took more time or memory than it may."""
        for path, seconds in self.seconds.items():
            if seconds > (budget := budget_of(ROOT / path)):
                yield f"{path} took {seconds:.0f} s, its budget is {budget:.0f} s"
        for path, held in self.bytes.items():
            if held > memory.LESSON:
                yield f"{path} took {in_gb(held)}, a lesson may {in_gb(memory.LESSON)}"
        if self.all.peak > (limit := memory.allowed(workers)):
            yield f"all took {in_gb(self.all.peak)}, {workers} may {in_gb(limit)}"


def in_gb(size: int) -> str:
    return f"{size / memory.GB:.1f} GB"


def pytest_configure(config):
    config.stash[METER] = Meter()
    config.pluginmanager.register(config.stash[METER], "meter")


def is_worker(session) -> bool:
    return hasattr(session.config, "workerinput")


def pytest_sessionstart(session):
    if not is_worker(session):
        session.config.stash[METER].all.start()


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session, exitstatus):
    """Fail the run if something took more time or memory than it may."""
    if not is_worker(session):
        meter = session.config.stash[METER]
        meter.all.stop()
        workers = len(session.config.getoption("tx", None) or ["one"])
        if over := list(meter.over(workers)):
            print("\n" + "\n".join(over))
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
    return (yield)


def pytest_terminal_summary(terminalreporter, config):
    meter = config.stash[METER]
    line = f"memory: at most {in_gb(meter.all.peak)}"
    if meter.bytes:
        held, path = max((held, path) for path, held in meter.bytes.items())
        line += f"; of all lessons {Path(path).stem} took the most, {in_gb(held)}"
    terminalreporter.write_line(line)


@pytest.fixture(scope="module")
def browser():
    """Start Chromium, or skip the tests that need it."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium here: nobody looked at the page")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=found, args=visiting.ARGUMENTS)
