"""Where there is no Triton, lessons say so in a sentence, and tests leave them out."""

import runpy
import subprocess
import sys
from importlib.util import find_spec

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell

from minitransformer import kernels
from minitransformer.course import execute
from minitransformer.course.environment import ROOT

LESSONS = sorted(
    [*ROOT.glob("lessons/7_kernels/*.ipynb"), *ROOT.glob("solutions/7_*/*.ipynb")]
)


@pytest.fixture
def no_triton(monkeypatch):
    """Let no module be found."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(kernels, "find_spec", lambda name: None)


def first_code(path):
    cells = nbformat.read(path, as_version=4).cells
    return next(cell.source for cell in cells if cell.cell_type == "code")


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: f"{path.parts[-2]}")
def test_every_notebook_that_imports_triton_requires_it_first(path):
    whole = path.read_text(encoding="utf-8")
    before = first_code(path).partition("import triton")[0]
    assert ("require_triton()" in before) == ("import triton" in whole)


def test_with_triton_nothing_happens(monkeypatch):
    monkeypatch.setattr(kernels, "find_spec", lambda name: name)
    assert kernels.require_triton() is None


def test_a_notebook_shows_the_sentence_and_no_traceback(no_triton, capsys):
    shell = InteractiveShell()
    result = shell.run_cell(first_code(LESSONS[0]).split("import json")[0])
    assert isinstance(result.error_in_exec, kernels.NeedsTriton)
    shown = capsys.readouterr().out
    assert "On Windows use WSL, on macOS a Linux container" in shown
    assert "Traceback" not in shown
    assert "ipython-input" not in shown


@pytest.mark.parametrize(("ename", "code"), [("NeedsTriton", 0), ("NameError", 1)])
def test_running_all_lessons_leaves_those_out(monkeypatch, capsys, ename, code):
    class Failed(Exception):
        evalue = "It is made for Linux."

    Failed.ename = ename

    def run(path, store):
        raise Failed("a long traceback")

    monkeypatch.setattr(execute, "execute", run)
    assert execute.main(["--dry-run", "7_1"]) == code
    shown = capsys.readouterr().out
    assert ("left out. It is made for Linux." in shown) == (code == 0)
    assert ("a long traceback" in shown) == (code == 1)


def test_tests_leave_those_lessons_out(no_triton):
    left_out = runpy.run_path(str(ROOT / "lessons" / "conftest.py"))["collect_ignore"]
    names = sorted(name.removeprefix("7_kernels/")[:3] for name in left_out)
    assert names == ["7_1", "7_2", "7_3", "7_4", "7_5"]


IMPORT_ALL = """
import sys, importlib, pkgutil
sys.modules["triton"] = None  # as if it were not installed
from minitransformer import kernels
for module in pkgutil.iter_modules(kernels.__path__, "minitransformer.kernels."):
    try:
        importlib.import_module(module.name)
        print(module.name, "is imported")
    except ImportError as error:
        print(module.name, type(error).__name__, error.__context__, error)
"""


def test_a_kernel_that_is_imported_without_triton_says_what_to_install():
    command = [sys.executable, "-c", IMPORT_ALL]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    lines = dict(line.split(" ", 1) for line in result.stdout.splitlines())
    names = [path.stem for path in (ROOT / "minitransformer/kernels").glob("[a-z]*.py")]
    assert sorted(lines) == sorted(f"minitransformer.kernels.{name}" for name in names)
    free = [name for name, said in lines.items() if said == "is imported"]
    assert free == [
        "minitransformer.kernels.resources",
        "minitransformer.kernels.roofline",
    ]
    for name in lines.keys() - free:
        assert lines[name].startswith("NeedsTriton None Kernels are written in Triton")
        assert "pip install 'minitransformer[kernels]'" in lines[name]


def test_with_triton_modules_are_imported_as_all_others_are():
    ours = [finder for finder in sys.meta_path if isinstance(finder, kernels._Finder)]
    assert (ours == []) == (find_spec("triton") is not None)
