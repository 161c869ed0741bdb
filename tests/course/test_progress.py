"""What a learner has done is kept, and the way from here is said."""

import os

import pytest

from minitransformer.course import check, grade, progress
from minitransformer.course.grade import Mark

from . import tiny

DONE = [Mark("double_check", 2, 2), Mark("triple_check", 3, 3)]
HALF = [Mark("double_check", 2, 2), Mark("triple_check", 0, 3, "by three?")]


@pytest.fixture
def course(tmp_path):
    """Two sets of two exercises each, nothing done."""
    for name in ("1_1_tiny", "1_2_small"):
        path = tmp_path / "solutions" / name / f"{name}.ipynb"
        tiny.write(tiny.solution_notebook(), path)
    return tmp_path


def test_at_first_all_is_open_and_the_first_exercise_is_next(course):
    sets = progress.standings(course)
    assert [(s.points, s.possible) for s in sets] == [(0, 5), (0, 5)]
    assert progress.advice(sets, course).splitlines() == [
        "Next: Tiny, double (1 minutes)",
        "      exercises/1_1_tiny/1_1_tiny.ipynb",
        "      python3 -m minitransformer check 1_1",
    ]


def test_a_row_shows_the_points_that_are_done_of_those_there_are(course):
    progress.save("1_1_tiny", HALF, "", course)
    first, second, _, whole = progress.overview(progress.standings(course)).splitlines()
    assert first.split() == ["Tiny", "########............", "2", "of", "5", "points"]
    assert second.split()[1:] == ["." * 20, "0", "of", "5", "points"]
    assert whole.endswith("   2 of  10 points")
    assert whole.startswith("The whole course")


@pytest.mark.parametrize(("points", "filled"), [(0, 0), (1, 1), (470, 19), (471, 20)])
def test_a_bar_is_full_only_when_all_is_done(points, filled):
    assert progress.bar(points, 471).count("#") == filled


def test_the_way_goes_on_from_the_set_that_was_checked_last(course):
    progress.save("1_2_small", HALF, "", course)
    (open_exercise,) = [s.open_exercise for s in progress.standings(course)][1:]
    assert open_exercise == "triple (1 minutes)"
    assert "check 1_2" in progress.advice(progress.standings(course), course)
    progress.save("1_2_small", DONE, "", course)
    assert "check 1_1" in progress.advice(progress.standings(course), course)
    progress.save("1_1_tiny", DONE, "", course)
    sets = progress.standings(course)
    assert progress.advice(sets, course) == "All exercises are done."


def test_the_last_check_counts_and_a_new_exercise_is_open(course):
    progress.save("1_1_tiny", DONE, "", course)
    progress.save("1_1_tiny", HALF, "", course)
    assert progress.standing("1_1_tiny", course).points == 2
    progress.save("1_1_tiny", [DONE[1], Mark("gone_check", 9, 9)], "", course)
    assert progress.standing("1_1_tiny", course).points == 3
    assert progress.standing("1_1_tiny", course).open_exercise == "double (1 minutes)"


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\xff\x00",
        b'{"depends_on": "", "marks": [{"check": "double_ch',
        b'{"marks": []}',
        b'{"depends_on": "", "marks": [{"check": "a", "points": "2", "possible": 2}]}',
        b'{"depends_on": "", "marks": [{"check": "a", "points": NaN, "possible": 2}]}',
    ],
)
def test_a_damaged_file_is_said_and_kept(course, capsys, damaged):
    progress.save("1_2_small", DONE, "", course)
    path = progress.file_of("1_1_tiny", course)
    for _ in range(2):
        path.write_bytes(damaged)
        assert [s.points for s in progress.standings(course)] == [0, 5]
        assert "1_1_tiny cannot be read. It is kept as" in capsys.readouterr().out
    path.write_bytes(damaged)
    progress.save("1_1_tiny", DONE, "", course)
    assert [s.points for s in progress.standings(course)] == [5, 5]
    copies = sorted(path.parent.glob("1_1_tiny.damaged-*"))
    assert [copy.read_bytes() for copy in copies] == [damaged] * 3


def test_a_check_is_stored_and_shown(course, monkeypatch, capsys):
    monkeypatch.setattr(check, "ROOT", course)
    own = course / "exercises" / "1_1_tiny" / "1_1_tiny.ipynb"
    tiny.write(tiny.submission_notebook(triple="def triple(x): return x"), own)
    assert check.main(["1_1"]) == 1
    shown = capsys.readouterr().out
    assert "2 of 5 points" in shown
    assert "2 of  10 points" in shown
    assert "Next: Tiny, triple" in shown
    assert check.main([]) == 1
    assert capsys.readouterr().out.count("\n") == 8
    tiny.write(tiny.submission_notebook(), own)
    assert check.main(["1_1"]) == 0
    assert "5 of  10 points" in capsys.readouterr().out
    progress.save("1_2_small", DONE, "", course)
    assert check.main([]) == 0


def test_where_nothing_can_be_stored_the_check_is_still_shown(
    course, monkeypatch, capsys
):
    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(check, "ROOT", course)
    monkeypatch.setattr(grade, "save_marks", full)
    solution = course / "solutions" / "1_1_tiny" / "1_1_tiny.ipynb"
    assert check.main(["1_1", str(solution)]) == 0
    shown = capsys.readouterr().out
    assert "cannot be stored" in shown
    assert "5 of 5 points" in shown
