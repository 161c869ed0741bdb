"""The reference has every module; public names say shapes, errors and the source."""

import ast
import re
import subprocess
import sys

import pytest

from minitransformer.course.environment import ROOT

PACKAGE = ROOT / "minitransformer"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if "course" not in path.parts and not path.stem.startswith("__")
}
PAGES = "\n".join(
    path.read_text(encoding="utf-8") for path in (ROOT / "book" / "api").glob("*.md")
)
REFERRED = re.findall(r"automodule:: (\S+)", PAGES)
# Tools, which hold no mechanism: there is no source to name.
TOOLS = {
    "caches": ["base", "measure", "narrow"],
    "embeddings": ["search_space", "state_file"],
    "kernels": ["descriptors", "launch", "resources", "tiles", "trace"],
    "layers": ["partial"],
    "minitransformer": ["again", "data", "papers", "testing"],
    "models": ["positioned", "pretrained"],
    "tokenization": ["base", "gains"],
    "training": ["checkpoint", "data", "generators", "prepare"],
}
WITHOUT_TRITON = """
import importlib, pkgutil, sys
from importlib.machinery import PathFinder
from types import SimpleNamespace
from sphinx.ext.autodoc.mock import mock

find = PathFinder.find_spec
hidden = lambda name, *rest: None if name == "triton" else find(name, *rest)
PathFinder.find_spec = hidden
sys.path.insert(0, "book/_ext")
import api
from minitransformer import kernels

api.stand_in(None, config := SimpleNamespace())
with mock(config.autodoc_mock_imports):
    for module in pkgutil.iter_modules(kernels.__path__, "minitransformer.kernels."):
        print(importlib.import_module(module.name).__name__)
"""
ARRAY = re.compile(r"\b(Tensor|ndarray|NDArray|ArrayLike)\b")
SHAPE = re.compile(r"``[^`]*\[[^]`]*\][^`]*``|\bshapes?\b|:(func|meth|class):")


@pytest.mark.parametrize("name", MODULES)
def test_every_module_is_described_once(name):
    assert REFERRED.count(name) == 1


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_has_a_docstring(name):
    for node in public(name):
        assert ast.get_docstring(node), node.name


@pytest.mark.parametrize("name", MODULES)
def test_what_refuses_an_argument_says_so(name):
    for node in public(name):
        text = ast.get_docstring(node) or ""
        if isinstance(node, ast.FunctionDef) and refuses(node):
            assert "Raise" in text or "efuse" in text, node.name


@pytest.mark.parametrize("name", MODULES)
def test_what_takes_or_gives_an_array_states_shapes(name):
    tree = tree_of(name)
    for node in named(tree.body):
        inside = methods(node) if isinstance(node, ast.ClassDef) else [node]
        for function in inside:
            texts = (ast.get_docstring(x) or "" for x in (function, node, tree))
            if has_arrays(function):
                assert any(map(SHAPE.search, texts)), f"{node.name}: {function.name}"


@pytest.mark.parametrize("name", MODULES)
def test_every_mechanism_names_its_source(name):
    text = ast.get_docstring(tree_of(name))
    folder, module = name.split(".")[-2:]
    tool = folder == "plot" or module in TOOLS.get(folder, [])
    assert (re.search(r"\bSources?\b|arXiv", text) is None) == tool


def test_the_tools_are_modules():
    tools = {f"{folder}.{module}" for folder in TOOLS for module in TOOLS[folder]}
    assert tools <= {".".join(name.split(".")[-2:]) for name in MODULES}


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ("x: Tensor", True),
        ("x: np.ndarray | None = None", True),
        ("*xs: NDArray[np.float64]", True),
        ("*, pos: tuple[Tensor, int]", True),
        ("weights: dict[str, Tensor]", False),
        ("model: Callable[[Tensor], Tensor]", False),
        ("x: float", False),
        ("x", False),
    ],
)
def test_containers_by_name_and_functions_are_no_arrays(annotations, expected):
    (function,) = ast.parse(f"def f({annotations}): ...").body
    assert has_arrays(function) == expected


def test_kernels_are_described_where_there_is_no_triton():
    pytest.importorskip("sphinx", reason="the extra [book] is not installed")
    command = [sys.executable, "-c", WITHOUT_TRITON]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    kernels = [name for name in MODULES if name.startswith("minitransformer.kernels.")]
    assert result.stdout.split() == kernels, result.stderr


def public(name):
    """The public functions, classes and methods of a module."""
    for node in named(tree_of(name).body):
        yield node
        if isinstance(node, ast.ClassDef):
            yield from named(node.body)


def tree_of(name):
    """A module as Python reads it."""
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def named(body):
    """The public functions and classes of a body."""
    kinds = ast.FunctionDef | ast.ClassDef
    return [x for x in body if isinstance(x, kinds) and not x.name.startswith("_")]


def refuses(function):
    """Whether a function itself raises a ValueError or TypeError."""
    return any(
        isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and ast.unparse(node.exc.func) in ("ValueError", "TypeError")
        for node in ast.walk(function)
    )


def methods(class_):
    """The public methods of a class, and how it is made and called."""
    made = ("__init__", "__call__")
    functions = [x for x in class_.body if isinstance(x, ast.FunctionDef)]
    return [x for x in functions if not x.name.startswith("_") or x.name in made]


def has_arrays(function):
    """Whether a function takes or returns arrays, other than in a mapping."""
    arguments = [x for x in ast.walk(function.args) if isinstance(x, ast.arg)]
    kinds = [x.annotation for x in arguments] + [function.returns]
    return any(ARRAY.search(ast.unparse(bare(kind))) for kind in kinds if kind)


def bare(annotation):
    """An annotation without what stands in mappings and functions."""
    for node in ast.walk(annotation):
        if isinstance(node, ast.Subscript):
            outer = ast.unparse(node.value).rpartition(".")[2]
            if outer in ("dict", "Mapping", "Callable"):
                node.slice = ast.Constant(None)
    return annotation
