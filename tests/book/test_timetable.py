"""The calendars hold every lesson once, in order, in weeks as even as can be."""

import importlib.util
import itertools

import pytest

from minitransformer.course.environment import ROOT
from minitransformer.course.release import exercise_sets

EXTENSION = ROOT / "book" / "_ext" / "timetable.py"
specification = importlib.util.spec_from_file_location("timetable", EXTENSION)
timetable = importlib.util.module_from_spec(specification)
specification.loader.exec_module(timetable)


def unit(minutes):
    return timetable.Unit(f"of {minutes}", "lessons/x.ipynb", minutes, 0, 1, 1)


@pytest.fixture(scope="module")
def course():
    return timetable.units(ROOT)


def test_every_lesson_has_its_exercises(course):
    assert len(course) == len(exercise_sets())
    for each in course:
        assert (ROOT / each.path).is_file()
        assert min(each.reading, each.practice, each.exercises, each.points) > 0


@pytest.mark.parametrize("count", [1, 8, 14, 31])
def test_a_calendar_holds_every_lesson_once_in_order(course, count):
    weeks = timetable.weeks(course, count)
    assert len(weeks) == count
    assert list(itertools.chain(*weeks)) == course
    assert all(weeks)


def test_weeks_are_as_even_as_can_be():
    course = [unit(minutes) for minutes in (5, 1, 1, 3, 4, 2)]
    weeks = timetable.weeks(course, 3)
    assert [[each.minutes for each in week] for week in weeks] == [
        [5],
        [1, 1, 3],
        [4, 2],
    ]


def test_the_calendars_of_the_handbook_are_bearable(course):
    """No week has twice the work of another, in either calendar."""
    for count in (8, 14):
        loads = [
            sum(u.minutes for u in week) for week in timetable.weeks(course, count)
        ]
        assert max(loads) < 2 * min(loads)


def test_tables_state_hours_and_sums(course):
    table = timetable.calendar([unit(100), unit(80)], 1).splitlines()
    links = "[of 100](/lessons/x.ipynb)<br>[of 80](/lessons/x.ipynb)"
    assert table[2] == f"| 1 | {links} | 3 |"
    last = timetable.times([unit(100), unit(80)]).splitlines()[-1]
    assert last == "| All | 180 | 2 | 0 | 2 |"
