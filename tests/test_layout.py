"""The repository is laid out as one thing: imports go one way, names go together."""

import ast
import importlib.util
import inspect
import subprocess
from pathlib import Path

import nbformat
import pytest

from minitransformer.course.environment import ROOT
from minitransformer.course.execute import lessons

PACKAGE = ROOT / "minitransformer"
MODULES = sorted(PACKAGE.rglob("*.py"))
NAMES = [path.relative_to(ROOT).as_posix() for path in MODULES]
TOP_LEVEL = {
    *("lessons", "minitransformer", "exercises", "solutions", "tests", "book"),
    "binder",
    *("pyproject.toml", "constraints.txt", ".ci", ".gitignore"),
    *("README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md"),
}
LOOKS_ONLY = {"again", "data", "plot", "papers", "testing"}
MAY_IMPORT = {
    "tokenization": set(),
    "embeddings": set(),
    "positions": set(),
    "attention": set(),
    "caches": set(),
    "kernels": set(),
    "flash": {"attention"},
    "distributed": {"attention"},
    "layers": {"attention"},
    "models": {"layers", "positions", "attention", "tokenization"},
    "training": {
        *("models", "caches", "layers", "positions", "attention", "tokenization"),
    },
    "generation": {"models", "caches"},
    "lens": {"models", "layers"},
    "course": set(),
    "again": set(),
    "data": set(),
    "plot": set(),
    "papers": set(),
    "testing": set(),
    "__main__": {"course"},
    "__init__": set(),
}


def part_of(path: Path) -> str:
    """The part of the package that a module belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_parts(source: str) -> set[str]:
    """The parts of the package that a module imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "minitransformer":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            top, _, rest = node.module.partition(".")
            found |= {rest.partition(".")[0]} if top == "minitransformer" else set()
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found |= {n[1] for n in names if n[0] == "minitransformer" and len(n) > 1}
    return found


def test_imports_are_read_off_every_form():
    source = (
        "from minitransformer import data\n"
        "import minitransformer.flash.tiled\n"
        "def f():\n    from minitransformer.attention.core import attention\n"
    )
    assert imported_parts(source) == {"data", "flash", "attention"}


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_imports_go_one_way(path):
    part = part_of(path)
    allowed = MAY_IMPORT[part] | {part} | (set() if part == "course" else LOOKS_ONLY)
    assert imported_parts(path.read_text(encoding="utf-8")) <= allowed


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_modules_are_short(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= (500 if part_of(path) == "kernels" else 400)


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_public_functions_have_few_parameters(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            arguments = node.args
            count = len(arguments.args + arguments.kwonlyargs + arguments.posonlyargs)
            assert count <= 12, node.name


@pytest.mark.parametrize(
    "path",
    [p for p in MODULES if p.name != "__init__.py"],
    ids=[name for name in NAMES if not name.endswith("__init__.py")],
)
def test_every_module_has_a_test_of_its_name(path):
    inside = path.relative_to(PACKAGE)
    name = f"test_{path.stem.strip('_')}.py"
    assert (ROOT / "tests" / inside.parent / name).is_file(), name


def test_nothing_else_lies_at_the_top():
    listing = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True
    ).stdout
    assert {line.partition("/")[0] for line in listing.splitlines()} <= TOP_LEVEL


def test_no_folder_of_tests_is_left_out(pytestconfig):
    left_out = set(pytestconfig.getini("norecursedirs"))
    folders = {path.parent.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert "exercises" in folders
    assert not folders & left_out


@pytest.mark.parametrize("path", lessons(), ids=lambda path: path.stem)
def test_a_lesson_its_exercises_and_its_module_go_together(path):
    name = path.stem
    for folder in ("solutions", "exercises"):
        assert (ROOT / folder / name / f"{name}.ipynb").is_file()
    assert (ROOT / "tests" / "exercises" / f"test_{name}.py").is_file()
    about = nbformat.read(path, as_version=4).metadata["minitransformer"]
    if about["module"] is not None:
        assert importlib.util.find_spec(about["module"]) is not None


def test_every_lesson_is_in_the_book():
    contents = (ROOT / "book" / "_toc.yml").read_text(encoding="utf-8")
    for path in lessons():
        assert path.relative_to(ROOT).with_suffix("").as_posix() in contents


def test_lessons_are_in_reading_order():
    stems = [path.stem for path in lessons()]
    assert stems[0] == "0_start_here"
    numbers = [[int(n) for n in s.split("_") if n.isdigit()] for s in stems]
    assert numbers == sorted(numbers)


def test_course_stands_alone():
    for path in MODULES:
        if part_of(path) not in ("course", "__main__"):
            assert "course" not in imported_parts(path.read_text(encoding="utf-8"))
    assert inspect.getsource(importlib.import_module("minitransformer.course")).strip()
