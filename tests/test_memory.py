"""Tests say what memory they take, and start no more workers than there is room for."""

import subprocess
import sys
import time

import pytest

from tests import conftest, memory
from tests.memory import GB


@pytest.mark.parametrize(
    ("cores", "size", "count"),
    [
        (8, 4.1 * GB, 1),
        (8, 1 * GB, 1),
        (2, 8 * GB, 2),
        (8, 7.9 * GB, 1),
        (8, 12.4 * GB, 3),
        (4, 64 * GB, 4),
        (1, 64 * GB, 1),
    ],
)
def test_each_worker_has_four_gigabytes(cores, size, count):
    assert memory.workers(cores, int(size)) == count
    assert memory.allowed(count) <= max(size, 4 * GB)


def test_a_container_has_what_it_is_given(tmp_path):
    machine = memory.to_be_had(())
    assert machine > 10**8
    for text, expected in (("max", machine), ("12345", 12345), ("9" * 20, machine)):
        (tmp_path / "memory.max").write_text(f"{text}\n")
        assert memory.to_be_had((tmp_path / "memory.max",)) == expected
    assert memory.to_be_had((tmp_path / "no such file",)) == machine


def test_what_a_child_holds_is_seen_also_after_it_has_ended():
    code = "import time; x = bytearray(300_000_000); time.sleep(2)"
    with memory.Watch(memory.children, every=0.1) as watch:
        subprocess.run([sys.executable, "-c", code], check=True)
    assert 300_000_000 < watch.peak < 500_000_000
    assert memory.children() < 300_000_000 < memory.children() + watch.peak
    assert memory.everything() > memory.children()


def test_what_is_held_at_the_end_is_seen_however_short_it_was():
    with memory.Watch(lambda: 7, every=1000) as watch:
        pass
    assert watch.peak == 7
    before = time.monotonic()
    watch.stop()
    assert time.monotonic() - before < 100


@pytest.fixture
def meter(monkeypatch):
    """A meter of a run in which a lesson held 2 GB, and then all of it 4.5."""
    monkeypatch.setattr(conftest, "budget_of", lambda path: 60)
    meter = conftest.Meter()
    meter.seconds, meter.bytes = (
        {"lessons/1_x.ipynb": 50},
        {"lessons/1_x.ipynb": 2 * GB},
    )
    meter.all.peak = int(4.5 * GB)
    return meter


def test_what_stays_within_its_limits_is_not_told(meter):
    assert list(meter.over(2)) == []


def test_each_limit_that_is_passed_is_told(meter):
    assert list(meter.over(1)) == ["all took 4.5 GB, 1 may 4.0 GB"]
    meter.seconds["lessons/1_x.ipynb"] = 61
    meter.bytes["lessons/1_x.ipynb"] = int(3.2 * GB)
    assert list(meter.over(2)) == [
        "lessons/1_x.ipynb took 61 s, its budget is 60 s",
        "lessons/1_x.ipynb took 3.2 GB, a lesson may 3.0 GB",
    ]


class Report:
    nodeid, duration = "lessons/1_x.ipynb::Cell 1", 2.0

    def __init__(self, held):
        self.user_properties = [("memory", held)]


def test_a_lesson_takes_the_sum_of_its_times_and_its_greatest_memory(meter):
    for held in (5, 3 * GB, 7):
        meter.pytest_runtest_logreport(Report(held))
    assert meter.seconds == {"lessons/1_x.ipynb": 56.0}
    assert meter.bytes == {"lessons/1_x.ipynb": 3 * GB}
