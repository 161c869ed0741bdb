"""The report counts what it says, shows typical messages, and asks for nothing."""

import csv
import io
import re

from minitransformer.course import batch, marksheet
from minitransformer.course.grade import Mark


def marks(first, second, message=""):
    return [Mark("one_check", first, 2, message), Mark("two_check", second, 3)]


CLASS = {
    "ada": marks(2, 3),
    "bob": marks(0, 3, "got [1, 2.5] of 3: did you <skip>?"),
    "cyd": marks(0, 0, "got [] of 3: did you <skip>?"),
    "dan": marks(0, 3, "got [7] of 12: did you <skip>?"),
    "eve": marks(0, 3, "NameError: one is not defined"),
}


def test_points_are_counted():
    assert marksheet.histogram([2, 0, 0.5, 0]) == [(0, 2), (0.5, 1), (2, 1)]
    assert marksheet.totals(CLASS) == {"ada": 5, "bob": 3, "cyd": 0, "dan": 3, "eve": 3}


def test_messages_that_differ_in_values_alone_are_one():
    found = marksheet.frequent(marksheet.by_exercise(CLASS)["one"])
    assert found == [
        (3, "got [1, 2.5] of 3: did you <skip>?"),
        (1, "NameError: one is not defined"),
    ]


def test_values_of_many_kinds_are_one():
    texts = ["(1, 2) {3: -4e-5} nan", "((7,), 8) {[9]: True} 1.5"]
    own = [Mark("a_check", 0, 1, text) for text in texts]
    assert [count for count, _ in marksheet.frequent(own)] == [2]


def test_the_report_in_the_terminal():
    lines = marksheet.as_text(CLASS).splitlines()
    assert lines[0] == "5 submissions, on average 2.8 of 5 points."
    begin = lines.index("one, 2 points")
    assert lines[begin + 1].split() == ["0", "#" * 40, "4"]
    assert lines[begin + 2].split() == ["2", "#" * 10, "1"]
    assert lines[begin + 3] == "     3 x got [1, 2.5] of 3: did you <skip>?"
    assert lines[-1].split() == ["5", "#" * 13, "1"]


def test_the_page_is_whole_escaped_and_asks_nothing_of_the_network():
    page = marksheet.as_html("9_9 <tiny>", CLASS)
    assert "<h1>9_9 &lt;tiny&gt;</h1>" in page
    assert "did you &lt;skip&gt;?" in page
    assert "<td>0 points, 4 students</td>" in page
    assert 'style="width: 25.0%"' in page
    assert not re.search(r"<script|<link|src=|href=|url\(|@import", page)


def test_what_was_not_graded_is_said():
    late = CLASS | {"fay": marks(0, 0, f"{batch.UNGRADED}: its grader ended.")}
    assert marksheet.to_look_at(late) == ["fay"]
    assert "Not graded, look yourself: fay." in marksheet.as_text(late)
    assert "Not graded" not in marksheet.as_text(CLASS)


def test_the_table_has_a_row_a_student():
    file = io.StringIO()
    marksheet.write_csv(dict(reversed(CLASS.items())), file)
    file.seek(0)
    header, *rows = csv.reader(file)
    assert header == ["student", "one", "two", "total", "max"]
    assert rows[0] == ["ada", "2", "3", "5", "5"]
    assert [row[0] for row in rows] == sorted(CLASS)
