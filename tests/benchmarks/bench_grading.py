"""Grade a class of 200, killed in the middle: seconds a submission, every mark checked.

Right, partial, wrong, hostile and broken submissions of one set, the slips those of its
bank. Run it in the repository:

    .venv/bin/python tests/benchmarks/bench_grading.py [SET] [--count N] [--workers N]
"""

import argparse
import importlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from minitransformer.course import classroom, sandbox  # noqa: E402
from minitransformer.course.release import chosen_set  # noqa: E402
from tests.course import simulated, tiny  # noqa: E402

ALONE = "import sys; from pathlib import Path; from minitransformer.course.classroom "
ALONE += "import grade_and_report; grade_and_report(sys.argv[1], int(sys.argv[2]), 10, "
ALONE += "Path(sys.argv[3]))"


def hand_in(name: str, count: int, root: Path) -> list[simulated.Handed]:
    """Put the solution and the submissions of a class below ``root``."""
    path = root / "solutions" / name / f"{name}.ipynb"
    shutil.copytree(ROOT / "solutions" / name, path.parent)
    bank = importlib.import_module(f"tests.exercises.test_{name}").WRONG_ANSWERS
    slips = [(wrong.exercise, wrong.source) for wrong in bank]
    handed = list(simulated.handed_in(path, slips, count))
    for each in handed:
        target = root / ".grading" / "submitted" / each.student / name / f"{name}.ipynb"
        if isinstance(each.content, bytes):
            target.parent.mkdir(parents=True)
            target.write_bytes(each.content)
        else:
            tiny.write(each.content, target)
    return handed


def marked(name: str, root: Path) -> dict[Path, int]:
    """Return the files of marks and when each was written."""
    files = (root / ".grading" / "marks" / name).glob("*.json")
    return {path: path.stat().st_mtime_ns for path in files}


def graded(name: str, workers: int, root: Path, until: float) -> float:
    """Grade in a process that is killed when ``until`` are done; return seconds."""
    begin = time.monotonic()
    command = [sys.executable, "-c", ALONE, name, str(workers), str(root)]
    with (root / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log)
        while process.poll() is None and len(marked(name, root)) < until:
            time.sleep(0.2)
        if process.poll() is None:
            process.kill()
        process.wait()
    return time.monotonic() - begin


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("set", nargs="?", default="1_1", type=chosen_set)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    name, workers = options.set, options.workers
    print(sandbox.sandboxed())
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        handed = hand_in(name, options.count, root)
        print(name, dict(Counter(each.kind for each in handed)))
        took = graded(name, workers, root, until=options.count / 2)
        before = marked(name, root)
        print(f"killed after {took:.1f} s with {len(before)} of {len(handed)} graded")
        time.sleep(30)  # what the graders were at ends too
        before = marked(name, root)
        took += graded(name, workers, root, until=float("inf"))
        print((root / "log").read_text().partition("\n\n")[2])
        again = [
            path.stem for path in before if marked(name, root)[path] != before[path]
        ]
        wrong = simulated.differing(handed, classroom.stored_marks(name, root))
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"{took:.1f} s in all, {took / len(handed):.2f} s a submission")
        print(f"largest process {children.ru_maxrss / 1024:.0f} MB")
        print(f"graded twice: {again or 'none'}; wrong or missing: {wrong or 'none'}")
    return 1 if wrong or again else 0


if __name__ == "__main__":
    sys.exit(main())
