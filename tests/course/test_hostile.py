"""Submissions that cheat, crash or attack gain nothing and harm nobody.

Every case hands in an answer to ``double`` that earns nothing, by foul means, and a
good answer to ``triple``. ``double`` must get no point; ``triple`` keeps its points
wherever the process can be started again without what ended it.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_output

from minitransformer.course import classroom, grade, sandbox

from . import tiny

SECONDS = 1.0
BOTH = (True, False)
SANDBOX_ONLY = (True,)


def case(name, *, double="def double(x): return 0", first="", modes=BOTH, triple=3):
    return pytest.param(double, first, modes, triple, id=name)


CASES = [
    case("endless loop in a call", double="def double(x):\n    while True: pass"),
    case("endless loop in a cell", first="while True: pass"),
    case(
        "ignored interrupts",
        first="import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(1)",
    ),
    case(
        "sleeping until the limit", double="import time\ndef double(x): time.sleep(99)"
    ),
    case("a syntax error", double="def double(x) return 2 * x"),
    case("os._exit in a cell", first="import os; os._exit(0)"),
    case("os._exit in a call", double="import os\ndef double(x): os._exit(0)"),
    case(
        "sys.exit and atexit",
        first="import atexit, sys\natexit.register(print)\nsys.exit(0)",
    ),
    case("a signal to itself", first="import os; os.kill(os.getpid(), 9)"),
    case(
        "a signal to the parent",
        first="import os; os.kill(os.getppid(), 9)",
        modes=SANDBOX_ONLY,
    ),
    case(
        "a patched numpy.testing",
        first="import numpy.testing as t\nt.assert_allclose = lambda *a, **k: None",
    ),
    case(
        "a patched torch.testing",
        first="import sys, types\nt = types.ModuleType('torch')\n"
        "t.testing = types.SimpleNamespace(assert_close=lambda *a: None)\n"
        "sys.modules['torch'] = t",
    ),
    case(
        "patched builtins",
        first="import builtins\nbuiltins.AssertionError = SystemExit\n"
        "builtins.isinstance = lambda *a: True\nbuiltins.all = lambda *a: True",
    ),
    case(
        "patched random numbers",
        first="import random\nrandom.Random.randrange = lambda *a: 0",
    ),
    case(
        "a transformer of later cells",
        first="get_ipython().input_transformers_cleanup.append(lambda lines: ['pass'])",
    ),
    case("magics", first="%%bash\nrm -rf /\n", triple=3),
    case(
        "an object that equals everything",
        double="class Yes:\n    def __eq__(self, other): return True\n"
        "    def __ne__(self, other): return False\n    __hash__ = None\n"
        "def double(x): return Yes()",
    ),
    case(
        "an int that equals everything",
        double="class Yes(int):\n    def __eq__(self, other): return True\n"
        "def double(x): return Yes(0)",
    ),
    case(
        "an object that is true",
        double="class Yes:\n    def __bool__(self): return True\n"
        "    def __float__(self): return 2.0\ndef double(x): return Yes()",
    ),
    case("a check of its own name", first="double_check = 2"),
    case(
        "reading the hidden checks",
        first="import glob\nfound = glob.glob('/**/solutions/**', recursive=False)",
        double="def double(x):\n    import pathlib\n"
        f"    return pathlib.Path({str(tiny.__file__)!r}).read_text() and 2 * x",
        modes=SANDBOX_ONLY,
    ),
    case(
        "the network",
        double="def double(x):\n    import socket\n"
        "    socket.create_connection(('127.0.0.1', PORT), timeout=0.5)\n"
        "    return 2 * x",
        modes=SANDBOX_ONLY,
    ),
    case(
        "starting programs without end",
        first="import os, time\nfor _ in range(200):\n"
        "    if os.fork() == 0: time.sleep(60)",
        modes=SANDBOX_ONLY,
        triple=None,
    ),
    case("a huge answer", double="def double(x): return 'x' * (200 << 20)"),
    case(
        "a hog of memory", double="def double(x): return len(bytearray(1 << 40)) and 2"
    ),
    case("a closed pipe", first="import os\nfor fd in range(64):\n    os.close(fd)"),
    case(
        "junk in the pipe",
        first="import os\nfor fd in range(3, 20):\n    try: os.write(fd, b'junk\\n')\n"
        "    except OSError: pass",
        triple=None,
    ),
    case(
        "forged answers",
        double="import json, os\ndef double(x):\n"
        "    for fd in range(3, 20):\n"
        '        try: os.write(fd, b\'{"value": {"t": "handle", "v": 1}}\\n\' * 9)\n'
        "        except OSError: pass\n    return 0",
        triple=None,
    ),
    case(
        "an unknown kind of answer",
        double="import os\ndef double(x):\n    for fd in range(3, 20):\n"
        '        try: os.write(fd, b\'{"value": {"t": "eval", "v": "2"}}\\n\')\n'
        "        except OSError: pass\n    return 0",
        triple=None,
    ),
    case(
        "a look at the stack",
        double="import gc, sys\ndef double(x):\n    frame = sys._getframe()\n"
        "    while frame:\n"
        "        for name in ('factor', 'check', 'cell'):\n"
        "            if name in frame.f_locals: return 2 * x\n"
        "        frame = frame.f_back\n    return 0",
    ),
    case("endless recursion", double="def double(x): return double(x)"),
    case(
        "a crash of the interpreter",
        double="import ctypes\ndef double(x): return ctypes.string_at(0)",
    ),
    case(
        "deep nesting",
        double="def double(x):\n    r = []\n    for _ in range(10**5): r = [r]\n"
        "    return r",
    ),
    case("a huge number", double="def double(x): return 10 ** 10000"),
]


def grade_one(tmp_path, notebook, confined):
    solution = tiny.make_course(tmp_path)
    submission = tiny.write(notebook, tmp_path / "handed in.ipynb")
    marks = grade.grade(solution, submission, seconds=SECONDS, confined=confined)
    return {mark.check: mark for mark in marks}


@pytest.fixture(scope="module")
def listener():
    """A server on this machine that a submission must not reach."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def modes_here(modes):
    if sandbox.bubblewrap() is None:
        return [mode for mode in modes if not mode]
    return list(modes)


@pytest.mark.parametrize(("double", "first", "modes", "triple"), CASES)
def test_it_gains_nothing(tmp_path, listener, double, first, modes, triple):
    if not modes_here(modes):
        pytest.skip("needs bubblewrap: a plain process cannot promise this")
    double = double.replace("PORT", str(listener))
    notebook = tiny.submission_notebook(double=double, first=first)
    for confined in modes_here(modes):
        marks = grade_one(tmp_path, notebook, confined)
        assert marks["double_check"].points == 0, marks["double_check"]
        assert marks["double_check"].message
        if triple is not None:
            assert marks["triple_check"].points == triple, marks["triple_check"]


def test_an_honest_submission_gets_all_points(tmp_path):
    for confined in modes_here(BOTH):
        marks = grade_one(tmp_path, tiny.submission_notebook(), confined)
        assert [mark.points for mark in marks.values()] == [2, 3]


@pytest.mark.parametrize(
    ("attack", "check"),
    [
        pytest.param(
            "import numpy.testing as t\nt.assert_allclose = lambda *a, **k: None",
            "import numpy as np\nnp.testing.assert_allclose(double(3), 6)",
            id="numpy.testing",
        ),
        pytest.param(
            "import torch.testing as t\nt.assert_close = lambda *a, **k: None",
            "import torch\n"
            "torch.testing.assert_close(torch.tensor(double(3)), torch.tensor(6))",
            id="torch.testing",
        ),
        pytest.param(
            "import builtins\nbuiltins.all = lambda *a: True",
            "assert all(double(x) == 2 * x for x in range(1, 4)), 'wrong'",
            id="builtins",
        ),
    ],
)
def test_a_patch_that_works_in_one_process_gains_nothing(tmp_path, attack, check):
    together = "\n".join([attack, WRONG, check])
    assert subprocess.run([sys.executable, "-c", together]).returncode == 0
    notebook = tiny.solution_notebook()
    edited(notebook, "double_check", check)
    solution = tiny.write(notebook, tmp_path / "solution.ipynb")
    cheat = tiny.submission_notebook(double=WRONG, first=attack)
    submission = tiny.write(cheat, tmp_path / "handed in.ipynb")
    for confined in modes_here(BOTH):
        first, second = grade.grade(solution, submission, seconds=30, confined=confined)
        assert (first.points, second.points) == (0, 3), first
        assert "stopped" not in first.message


def test_writing_outside_changes_no_file(tmp_path):
    if sandbox.bubblewrap() is None:
        pytest.skip("needs bubblewrap: a plain process can write files")
    target = tmp_path / "precious"
    target.write_text("mine")
    attack = f"open({str(target)!r}, 'w').write('theirs')"
    marks = grade_one(tmp_path, tiny.submission_notebook(first=attack), True)
    assert target.read_text() == "mine"
    assert marks["double_check"].points == 2


def test_the_gradebook_cannot_be_reached(tmp_path):
    if sandbox.bubblewrap() is None:
        pytest.skip("needs bubblewrap: a plain process can read files")
    book = tmp_path / ".grading" / "gradebook.db"
    book.parent.mkdir()
    book.write_bytes(b"marks")
    attack = (
        "import os\ndef double(x):\n"
        f"    return 2 * x if os.path.exists({str(book)!r}) else 0"
    )
    marks = grade_one(tmp_path, tiny.submission_notebook(double=attack), True)
    assert marks["double_check"].points == 0
    assert book.read_bytes() == b"marks"


def without(notebook, cell_id):
    notebook.cells = [cell for cell in notebook.cells if cell.id != cell_id]
    return notebook


def edited(notebook, cell_id, source):
    for cell in notebook.cells:
        if cell.id == cell_id:
            cell.source = source
    return notebook


def with_metadata(notebook, cell_id, **changes):
    for cell in notebook.cells:
        if cell.id == cell_id:
            cell.metadata["nbgrader"].update(changes)
    return notebook


WRONG = "def double(x): return 0"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda n: without(n, "double_check"), id="a deleted check"),
        pytest.param(lambda n: edited(n, "double_check", "pass"), id="an edited check"),
        pytest.param(
            lambda n: with_metadata(n, "double_check", points=99), id="changed points"
        ),
        pytest.param(
            lambda n: with_metadata(n, "double", grade=True, points=9), id="a new check"
        ),
        pytest.param(
            lambda n: with_metadata(n, "triple", grade_id="double"), id="ids twice"
        ),
        pytest.param(
            lambda n: edited(n, "given", "import random\nrng = None"), id="edited given"
        ),
    ],
)
def test_the_checks_of_the_solution_count(tmp_path, change):
    notebook = change(tiny.submission_notebook(double=WRONG))
    marks = grade_one(tmp_path, notebook, None)
    assert (marks["double_check"].points, marks["double_check"].possible) == (0, 2)
    assert marks["triple_check"].points == 3


def test_stored_outputs_count_for_nothing_and_do_not_come_back(tmp_path):
    notebook = tiny.submission_notebook(double=WRONG)
    script = new_output("display_data", data={"text/html": "<script>alert(1)</script>"})
    notebook.cells.append(new_code_cell("1", outputs=[script], execution_count=1))
    marks = grade_one(tmp_path, notebook, None)
    assert marks["double_check"].points == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff\xfe",
        b"{}",
        b"[]",
        b'{"cells": 3}',
        b'{"nbformat": 4, "cells": [1]}',
    ],
)
def test_what_is_no_notebook_gets_nothing_and_says_so(tmp_path, content):
    solution = tiny.make_course(tmp_path)
    path = tmp_path / "handed in.ipynb"
    path.write_bytes(content)
    for mark in grade.grade(solution, path):
        assert mark.points == 0
        assert "cannot be read as a notebook" in mark.message


def test_one_bad_submission_costs_nobody_else_anything(tmp_path):
    tiny.make_course(tmp_path)
    bad = tiny.submission_notebook(
        first="while True: pass", double="import os\nos._exit(1)"
    )
    tiny.hand_in(tmp_path, "ada", tiny.submission_notebook())
    tiny.hand_in(tmp_path, "bob", bad)
    tiny.hand_in(tmp_path, "cyd", b"not a notebook")
    tiny.hand_in(tmp_path, "dan", tiny.submission_notebook())
    graded = classroom.grade_all(tiny.NAME, tmp_path, seconds=SECONDS)
    totals = {student: sum(m.points for m in marks) for student, marks, _ in graded}
    assert totals == {"ada": 5, "bob": 3, "cyd": 0, "dan": 5}


def running(mark):
    """Whether a process has ``mark`` among its arguments (Linux knows)."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if mark.encode() in path.read_bytes():
                return True
    return False


def soon(condition):
    """Whether a condition comes true within some seconds."""
    end = time.monotonic() + 5
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def test_nothing_of_a_submission_outlives_its_grading(tmp_path):
    mark = f"tiny-{os.getpid()}"
    attack = (
        "import subprocess, sys\ncode = 'import time; time.sleep(60)'\n"
        f"subprocess.Popen([sys.executable, '-c', code, '{mark}'])"
    )
    for confined in modes_here(BOTH):
        grade_one(tmp_path, tiny.submission_notebook(first=attack), confined)
        assert soon(lambda: not running(mark))


def test_a_released_notebook_holds_no_hidden_check(tmp_path):
    text = json.dumps(nbformat.from_dict(tiny.submission_notebook()))
    assert "another number" not in text
