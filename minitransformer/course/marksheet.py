"""What a class did in a set: histograms, frequent messages, a table for a platform."""

import csv
import re
from collections import Counter, defaultdict
from html import escape
from typing import IO

from minitransformer.course.batch import UNGRADED
from minitransformer.course.grade import Mark

Marks = dict[str, list[Mark]]  # of each student
WIDTH = 40  # characters of the longest bar
MESSAGES = 5  # an exercise
VALUE = re.compile(r"[-+]?\d[\w.]*(e[-+]\d+)?|\b(True|False|None|nan|inf)\b")
VALUES = re.compile(r"[\[({]*#[\[\](){},:# ]*[\])}]+|\[\]|\(\)|\{\}")
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
:root {{ color-scheme: light dark }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: auto; padding: 1rem }}
table {{ border-collapse: collapse; width: 100% }}
td {{ padding: .1rem .5rem; text-align: right; white-space: nowrap }}
td:last-child {{ width: 100%; text-align: left; white-space: normal }}
div {{ background: #4878b0; height: 1rem }}
</style></head><body><h1>{title}</h1><p>{summary}</p>
{body}
</body></html>
"""  # noqa: E501


def by_exercise(marks: Marks) -> dict[str, list[Mark]]:
    """Return the marks of all students for each exercise."""
    found = defaultdict(list)
    for own in marks.values():
        for mark in own:
            found[mark.check.removesuffix("_check")].append(mark)
    return dict(found)


def totals(marks: Marks) -> dict[str, float]:
    """Return the points of each student."""
    return {student: sum(m.points for m in own) for student, own in marks.items()}


def histogram(points: list[float]) -> list[tuple[float, int]]:
    """Return how many have each number of points that occurs."""
    return sorted(Counter(points).items())


def frequent(marks: list[Mark]) -> list[tuple[int, str]]:
    """Return the most frequent messages, how often each came and one of its wordings.

    Messages that differ in their values alone count as one.
    """
    alike = defaultdict(list)
    for mark in marks:
        if mark.message:
            alike[VALUES.sub("#", VALUE.sub("#", mark.message))].append(mark.message)
    found = sorted((-len(each), min(each)) for each in alike.values())
    return [(-count, message) for count, message in found[:MESSAGES]]


def to_look_at(marks: Marks) -> list[str]:
    """Return the students whose submission was not graded: a person must look."""
    return [
        student
        for student, own in marks.items()
        if any(mark.message.startswith(UNGRADED) for mark in own)
    ]


def summary(marks: Marks) -> str:
    """Return what a teacher asks first, in a line or two."""
    most = sum(mark.possible for mark in next(iter(marks.values()), []))
    mean = sum(totals(marks).values()) / len(marks) if marks else 0
    text = f"{len(marks)} submissions, on average {mean:.1f} of {most:g} points."
    names = to_look_at(marks)
    return f"{text} Not graded, look yourself: {', '.join(names)}." if names else text


def as_text(marks: Marks) -> str:
    """Return the report for a terminal."""

    def bars(points: list[float]) -> list[str]:
        rows = histogram(points)
        unit = max(count for _, count in rows) / WIDTH
        return [f"{p:6g} {'#' * round(n / unit):{WIDTH}} {n}" for p, n in rows]

    lines = [summary(marks)]
    for exercise, own in by_exercise(marks).items():
        lines += ["", f"{exercise}, {own[0].possible:g} points"]
        lines += bars([mark.points for mark in own])
        lines += [f"{count:6} x {message}" for count, message in frequent(own)]
    return "\n".join([*lines, "", "Total", *bars([*totals(marks).values()])])


def as_html(title: str, marks: Marks) -> str:
    """Return the report as a page that needs nothing else."""

    def table(rows: list[tuple[str, str]]) -> str:
        cells = (f"<tr><td>{first}</td><td>{last}</td></tr>" for first, last in rows)
        return f"<table>{''.join(cells)}</table>"

    def bars(points: list[float]) -> str:
        rows = histogram(points)
        share = 100 / max(count for _, count in rows)
        bar = '<div style="width: {:.1f}%"></div>'
        return table(
            [(f"{p:g} points, {n} students", bar.format(n * share)) for p, n in rows]
        )

    parts = []
    for exercise, own in by_exercise(marks).items():
        parts.append(f"<h2>{escape(exercise)}, {own[0].possible:g} points</h2>")
        parts.append(bars([mark.points for mark in own]))
        messages = [(f"{count} ×", escape(text)) for count, text in frequent(own)]
        parts.append(table(messages) if messages else "")
    parts += ["<h2>Total</h2>", bars([*totals(marks).values()])]
    return PAGE.format(
        title=escape(title), summary=escape(summary(marks)), body="\n".join(parts)
    )


def write_csv(marks: Marks, file: IO[str]) -> None:
    """Write a row a student: id, points of each exercise, total, and the most."""
    writer = csv.writer(file)
    writer.writerow(["student", *by_exercise(marks), "total", "max"])
    for student, own in sorted(marks.items()):
        points = [mark.points for mark in own]
        most = sum(mark.possible for mark in own)
        writer.writerow([student, *(f"{p:g}" for p in [*points, sum(points), most])])
