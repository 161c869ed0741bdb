"""Calendars of the course and the time it takes, made from the notebooks' metadata."""

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

from sphinx.util.docutils import SphinxDirective


class Unit(NamedTuple):
    """A lesson with its exercises: title, path, minutes of each, exercises, points."""

    title: str
    path: str
    reading: int
    practice: int
    exercises: int
    points: int

    @property
    def minutes(self):
        """What both take together."""
        return self.reading + self.practice


def units(root):
    """Return all lessons with their exercises, in order."""
    found = []
    for path in sorted(root.glob("exercises/*/*.ipynb")):
        practice = json.loads(path.read_text(encoding="utf-8"))
        (lesson,) = root.glob(f"lessons/**/{path.stem}.ipynb")
        reading = json.loads(lesson.read_text(encoding="utf-8"))
        exercises = practice["metadata"]["minitransformer"]["exercises"]
        checks = (c["metadata"].get("nbgrader", {}) for c in practice["cells"])
        found.append(
            Unit(
                "".join(reading["cells"][0]["source"])
                .splitlines()[0]
                .removeprefix("# "),
                lesson.relative_to(root).as_posix(),
                reading["metadata"]["minitransformer"]["minutes"],
                sum(exercise["minutes"] for exercise in exercises),
                len(exercises),
                sum(check.get("points", 0) for check in checks),
            )
        )
    return found


def weeks(course, count):
    """Cut a course into ``count`` weeks whose loads are as equal as they can be."""

    @cache
    def cut(begin, left):
        """Return the least sum of squares, and where the weeks from here on end."""
        if left == 1:
            return sum(each.minutes for each in course[begin:]) ** 2, (len(course),)
        options = []
        for end in range(begin + 1, len(course) - left + 2):
            load = sum(each.minutes for each in course[begin:end])
            rest, ends = cut(end, left - 1)
            options.append((load**2 + rest, (end, *ends)))
        return min(options)

    _, ends = cut(0, count)
    return [course[a:b] for a, b in zip((0, *ends), ends, strict=False)]


def hours(minutes):
    """Return minutes as hours, rounded to the nearest half."""
    return f"{round(minutes / 30) / 2:g}"


def link(unit):
    """Return a link to a lesson."""
    return f"[{unit.title}](/{unit.path})"


def row(*cells):
    """Return a row of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def calendar(course, count):
    """Return a calendar of ``count`` weeks, as Markdown."""
    lines = [row("Week", "Lessons and their exercises", "Hours"), "|--:|:--|--:|"]
    for number, week in enumerate(weeks(course, count), start=1):
        total = sum(each.minutes for each in week)
        lines.append(row(number, "<br>".join(map(link, week)), hours(total)))
    return "\n".join(lines)


def times(course):
    """Return what each lesson and its exercises take, as Markdown."""
    head = row("Lesson", "Minutes", "Exercises", "Their minutes", "Points")
    lines = [head, "|:--|--:|--:|--:|--:|"]
    for each in course:
        numbers = (each.reading, each.exercises, each.practice, each.points)
        lines.append(row(link(each), *numbers))
    sums = (sum(each[i] for each in course) for i in (2, 4, 3, 5))
    return "\n".join([*lines, row("All", *sums)])


class Calendar(SphinxDirective):
    """A calendar of so many weeks."""

    required_arguments = 1

    def run(self):
        """Write Markdown and have it parsed."""
        self.env.note_reread()
        course = units(Path(self.env.srcdir))
        return self.parse_text_to_nodes(calendar(course, int(self.arguments[0])))


class Times(SphinxDirective):
    """What each lesson takes."""

    def run(self):
        """Write Markdown and have it parsed."""
        self.env.note_reread()
        return self.parse_text_to_nodes(times(units(Path(self.env.srcdir))))


def setup(app):
    """Register with Sphinx."""
    app.add_directive("calendar", Calendar)
    app.add_directive("lesson-times", Times)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
