"""The map of a part shows what builds on what, without a tangle."""

import pytest

from minitransformer.course.environment import ROOT

pytest.importorskip("sphinx", reason="the extra [book] is not installed")
EXTENSION = "parts"


@pytest.fixture(scope="module")
def course(extension):
    return extension.read(ROOT)


def small(extension, **needs):
    """Return a course of lessons that are known by what they need alone."""
    return {
        name: extension.Lesson(None, name, "", 0, list(before))
        for name, before in needs.items()
    }


def test_what_another_way_already_leads_to_has_no_line(extension):
    course = small(extension, a="", b="a", c="b", d="acb")
    assert extension.behind(course, "d") == {"a", "b", "c"}
    assert extension.direct(course, "d") == ["c"]


def test_lessons_stand_in_rows_below_what_they_need(extension):
    course = small(extension, a="", b="", c="a", d="c", e="bd")
    assert extension.levels(course, ["c", "d", "e"]) == [
        ("a",),
        ("c",),
        ("b", "d"),
        ("e",),
    ]


def test_a_row_is_turned_until_no_lines_cross(extension):
    course = small(extension, a="", b="a", c="a", d="c", e="b")
    rows = extension.levels(course, ["b", "c", "d", "e"])
    assert rows == [("a",), ("c", "b"), ("d", "e")]
    lines = [("b", "e"), ("c", "d")]
    assert extension.crossings(rows, lines) == 0
    assert extension.crossings([("b", "c"), ("d", "e")], lines) == 1


@pytest.mark.parametrize("part", range(1, 8))
def test_no_lines_cross_in_the_map_of_a_part(extension, course, part):
    names = [name for name in course if name.startswith(f"{part}_")]
    lines = [(need, name) for name in names for need in extension.direct(course, name)]
    assert len(lines) >= len(names)
    assert extension.crossings(extension.levels(course, names), lines) == 0
