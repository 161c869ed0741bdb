"""Every recipe of the book runs as it stands, is short, and prints what it says."""

import contextlib
import io
import re

import pytest

from minitransformer.course.environment import ROOT

PAGE = (ROOT / "book" / "recipes.md").read_text(encoding="utf-8")
SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
RECIPE = re.compile(
    r"\n(?P<when>When .+?)\n\n```python\n(?P<code>.+?)```\n\n"
    r"```text\n(?P<shown>.+?)```\n+",
    re.DOTALL,
)
SECTIONS = dict(SECTION.findall(PAGE))


def lines_of(code):
    """What stands in a recipe beside imports and empty lines."""
    imports = ("import ", "from ")
    return [x for x in code.splitlines() if x and not x.startswith(imports)]


def printed_by(code):
    """Run code in a namespace of its own; return what it prints."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(compile(code, "recipe", "exec"), {"__name__": "recipe"})
    return shown.getvalue()


def test_there_are_at_least_ten_recipes():
    assert len(SECTIONS) >= 10


@pytest.mark.parametrize("title", SECTIONS)
def test_a_recipe_is_a_purpose_ten_lines_and_what_they_print(title):
    recipe = RECIPE.fullmatch(SECTIONS[title])
    assert recipe, "needs: When ..., a block of python, a block of text"
    assert len(lines_of(recipe["code"])) <= 10
    assert max(map(len, recipe["code"].splitlines())) <= 88


@pytest.mark.parametrize("title", SECTIONS)
def test_a_recipe_prints_what_stands_under_it(title, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "kernels" in SECTIONS[title]:
        pytest.importorskip("triton")
    recipe = RECIPE.fullmatch(SECTIONS[title])
    assert printed_by(recipe["code"]) == recipe["shown"]
