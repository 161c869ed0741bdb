import csv
import re
import zipfile

import nbformat
import pytest
from nbformat.v4 import new_markdown_cell

from minitransformer.course import classroom, grade, release

from . import tiny

WRONG = "def double(x):\n    # <script>alert('hello')</script>\n    return x"


@pytest.fixture(scope="module")
def school(tmp_path_factory):
    """A course that is released, with two submissions, graded, with feedback."""
    root = tmp_path_factory.mktemp("school")
    tiny.make_course(root)
    release.release([tiny.NAME], root)
    tiny.hand_in(root, "ada", tiny.submission_notebook())
    bad = tiny.submission_notebook(double=WRONG)
    bad.cells.append(new_markdown_cell("<script>alert('markdown')</script>"))
    tiny.hand_in(root, "bob", bad)
    for _ in classroom.grade_all(tiny.NAME, root, seconds=2):
        pass
    pages = {
        student: classroom.write_feedback(tiny.NAME, student, root)
        for student in ("ada", "bob")
    }
    return root, pages


@pytest.fixture
def at_school(school, monkeypatch):
    """The commands, run for that course instead of ours."""
    root, _ = school
    monkeypatch.setattr(classroom, "ROOT", root)
    return root


def test_marks_are_in_the_gradebook_of_nbgrader(school):
    root, _ = school
    rows = {row["student"]: row for row in classroom.table(root)}
    expected = {"student": "bob", "set": tiny.NAME, "points": "3", "of": "5"}
    assert rows["bob"] == expected
    assert rows["ada"]["points"] == "5"


def test_feedback_says_in_plain_words_what_happened(school):
    _, pages = school
    page = pages["bob"].read_text()
    assert "0 of 2 points: double(1) should be 2: did you multiply?" in page
    assert "3 of 3 points: All checks pass, the hidden ones too." in page


def test_feedback_asks_nothing_of_the_network_and_runs_nothing(school):
    _, pages = school
    for path in pages.values():
        page = path.read_text()
        assert "<script" not in page.lower()
        assert not re.search(r"""(src|href)=["'](https?:)?//""", page)
        assert "@import" not in page


def test_feedback_shows_the_answer_but_nothing_that_came_with_it(school):
    _, pages = school
    page = pages["bob"].read_text()
    assert "alert" in page  # as text, in the answer's cell
    assert "markdown" not in re.sub(r"<style.*?</style>", "", page, flags=re.DOTALL)


def test_feedback_does_not_show_hidden_checks(school):
    _, pages = school
    for path in pages.values():
        assert "randrange" not in path.read_text()


def test_feedback_before_grading_is_refused(school):
    root, _ = school
    with pytest.raises(ValueError, match="nobody has no marks"):
        classroom.write_feedback(tiny.NAME, "nobody", root)


def test_grading_goes_on_where_it_was(tmp_path):
    tiny.make_course(tmp_path)
    tiny.hand_in(tmp_path, "ada", tiny.submission_notebook())
    tiny.hand_in(tmp_path, "bob", tiny.submission_notebook(double=WRONG))
    batch = classroom.grade_all(tiny.NAME, tmp_path, seconds=2)
    assert next(batch)[0] == "ada"
    batch.close()  # as if it had been killed after the first

    again = list(classroom.grade_all(tiny.NAME, tmp_path, seconds=2))
    assert [(student, is_new) for student, _, is_new in again] == [
        ("ada", False),
        ("bob", True),
    ]
    tiny.hand_in(tmp_path, "bob", tiny.submission_notebook())
    third = list(classroom.grade_all(tiny.NAME, tmp_path, seconds=2))
    assert [is_new for _, _, is_new in third] == [False, True]
    assert sum(mark.points for mark in third[1][1]) == 5


@pytest.mark.parametrize(
    ("path", "student"),
    [
        ("ada/9_9_tiny.ipynb", "ada"),
        ("ada lovelace/x/9_9_tiny.ipynb", "ada-lovelace"),
        ("bob_9_9_tiny.ipynb", "bob"),
        ("cyd.ipynb", "cyd"),
        ("../evil/x.ipynb", "unnamed"),
    ],
)
def test_a_student_is_known_by_folder_or_file_name(path, student):
    from pathlib import Path

    assert classroom.student_of(Path(path)) == student


def test_submissions_are_taken_from_a_folder_or_a_zip_file(tmp_path):
    inbox = tmp_path / "inbox"
    tiny.write(tiny.submission_notebook(), inbox / "ada" / "anything.ipynb")
    tiny.write(tiny.submission_notebook(), inbox / "bob_tiny.ipynb")
    tiny.write(tiny.submission_notebook(), inbox / ".ipynb_checkpoints" / "c.ipynb")
    (inbox / "notes.txt").write_text("not a notebook")
    assert classroom.collect(tiny.NAME, inbox, tmp_path) == ["ada", "bob"]
    assert set(classroom.submissions(tiny.NAME, tmp_path)) == {"ada", "bob"}

    archive = tmp_path / "inbox.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(inbox / "bob_tiny.ipynb", "cyd/tiny.ipynb")
        file.write(inbox / "bob_tiny.ipynb", "../../outside/tiny.ipynb")
    assert "cyd" in classroom.collect(tiny.NAME, archive, tmp_path)
    assert not (tmp_path.parent / "outside").exists()


def test_an_empty_inbox_is_said(tmp_path):
    (tmp_path / "inbox").mkdir()
    with pytest.raises(ValueError, match="holds no notebook"):
        classroom.collect(tiny.NAME, tmp_path / "inbox", tmp_path)
    with pytest.raises(ValueError, match="neither a folder nor a zip file"):
        classroom.collect(tiny.NAME, tmp_path / "nowhere", tmp_path)


def test_the_commands_do_all_this_from_the_shell(at_school, tmp_path, capsys):
    inbox = tmp_path / "inbox"
    tiny.write(tiny.submission_notebook(), inbox / "eve" / "tiny.ipynb")
    assert classroom.collect_main(["9_9", str(inbox)]) == 0
    assert classroom.grade_main(["9_9"]) == 0
    assert classroom.feedback_main(["9_9"]) == 0
    report = tmp_path / "marks.csv"
    assert classroom.grades_main(["--csv", str(report)]) == 0
    with report.open(newline="") as file:
        rows = {row["student"]: row["points"] for row in csv.DictReader(file)}
    assert rows == {"ada": "5", "bob": "3", "eve": "5"}
    shown = capsys.readouterr().out
    assert "1 submissions: eve" in shown
    assert "3 submissions, 1 of them graded in" in shown
    page = at_school / ".grading" / "reports" / f"{tiny.NAME}.html"
    assert f"Report: {page}" in shown
    assert "3 submissions, on average 4.3 of 5 points" in page.read_text()
    assert classroom.grades_main([]) == 0
    assert "eve,9_9_tiny,5,5" in capsys.readouterr().out
    assert classroom.grades_main(["9_9"]) == 0
    assert "bob,0,3,3,5" in capsys.readouterr().out
    assert classroom.collect_main(["9_9", str(tmp_path / "nowhere")]) == 1


@pytest.mark.parametrize("option", ["--workers=0", "--seconds=0"])
def test_no_worker_and_no_time_are_refused(at_school, capsys, option):
    with pytest.raises(SystemExit):
        classroom.grade_main(["9_9", option])
    assert "--workers must be 1 or more" in capsys.readouterr().err


def test_a_set_without_submissions_is_said(tmp_path, capsys):
    tiny.make_course(tmp_path)
    assert classroom.grade_and_report(tiny.NAME, 1, 2, tmp_path) == 1
    assert "There are no submissions" in capsys.readouterr().out


def test_a_submission_that_is_no_notebook_still_gets_feedback(tmp_path):
    tiny.make_course(tmp_path)
    release.release([tiny.NAME], tmp_path)
    tiny.hand_in(tmp_path, "ada", b"nothing")
    list(classroom.grade_all(tiny.NAME, tmp_path))
    page = classroom.write_feedback(tiny.NAME, "ada", tmp_path)
    assert "cannot be read as a notebook" in page.read_text()


def test_the_marked_notebook_is_the_released_one_with_the_answers(school):
    root, _ = school
    path = root / ".grading" / "autograded" / "bob" / tiny.NAME / f"{tiny.NAME}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    answers = [c.source for c in notebook.cells if grade.role(c) == "answer"]
    assert answers == [WRONG, tiny.TRIPLE]
