"""The reference has every module, and public names say what they refuse."""

import ast
import re

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


def public(name):
    """The public functions, classes and methods of a module."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    for node in named(tree.body):
        yield node
        if isinstance(node, ast.ClassDef):
            yield from named(node.body)


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
