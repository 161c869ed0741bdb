import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell

from minitransformer.course import grade

from . import tiny


@pytest.fixture
def graded(tmp_path):
    solution = tiny.make_course(tmp_path)

    def run(notebook):
        submission = tiny.write(notebook, tmp_path / "handed in.ipynb")
        marks = grade.grade(solution, submission, seconds=2)
        return {mark.check: mark for mark in marks}

    return run


def test_a_wrong_answer_loses_its_own_points_and_says_why(graded):
    marks = graded(tiny.submission_notebook(double="def double(x): return x"))
    assert marks["double_check"] == grade.Mark(
        "double_check", 0, 2, "double(1) should be 2: did you multiply?"
    )
    assert marks["triple_check"].points == 3


def test_a_cell_that_is_given_may_import_at_leisure(tmp_path):
    notebook = tiny.solution_notebook()
    (given,) = (cell for cell in notebook.cells if grade.role(cell) == "given")
    given.source += "\nimport time\ntime.sleep(1.2)"
    path = tiny.write(notebook, tmp_path / "solution.ipynb")
    marks = grade.grade(path, path, seconds=1)
    assert [mark.points for mark in marks] == [2, 3]


def test_an_answer_by_heart_fails_the_hidden_check(graded):
    marks = graded(tiny.submission_notebook(double="def double(x): return 2"))
    assert marks["double_check"].message == "another number gives something else"


def test_an_exception_is_shown_with_its_line(graded):
    marks = graded(tiny.submission_notebook(double="def double(x):\n    return y"))
    message = "NameError: name 'y' is not defined (line 2 of your cell)"
    assert message in marks["double_check"].message


def test_a_syntax_error_is_named_where_the_answer_is_missed(graded):
    marks = graded(tiny.submission_notebook(double="def double(x) return x"))
    assert "double is not defined" in marks["double_check"].message
    assert "SyntaxError" in marks["double_check"].message


@pytest.mark.parametrize(
    ("double", "message"),
    [
        (
            "def double(x):\n    raise NotImplementedError('your turn')",
            "Not answered yet",
        ),
        ("def double(x):\n    return [][x]", "Your code raised IndexError: list index"),
        ("def double(x):\n    return 'ab'", "The check cannot use what you return: "),
        ("class Own: pass\ndef double(x): return Own()", "The check cannot use what"),
    ],
)
def test_an_error_is_said_to_be_whose_it_is(tmp_path, double, message):
    notebook = tiny.solution_notebook()
    (check,) = (cell for cell in notebook.cells if cell.id == "double_check")
    check.source = "assert double(1) or True\n7 + double(1)"
    solution = tiny.write(notebook, tmp_path / "solution.ipynb")
    submission = tiny.submission_notebook(double=double)
    first, _ = grade.grade(solution, tiny.write(submission, tmp_path / "own.ipynb"))
    assert first.message.startswith(message)


def test_an_answer_may_use_cells_and_imports_of_its_own(graded):
    marks = graded(
        tiny.submission_notebook(
            first="import math\nTWO = 2\n%time 1\n!ls",
            double="def double(x): return math.prod([TWO, x])",
        )
    )
    assert marks["double_check"].points == 2


def test_a_cell_in_another_language_is_left_out():
    assert grade.without_magics("%%bash\nrm x") == ""
    assert grade.without_magics("x = 1\n%time y\n!ls\nz = 2") == "x = 1\n\n\nz = 2"


def test_a_check_without_a_message_does_not_show_its_source(tmp_path):
    notebook = tiny.solution_notebook()
    notebook.cells[3].source = "assert double(4) == 8"
    solution = tiny.write(notebook, tmp_path / "solution.ipynb")
    wrong = tiny.submission_notebook(double="def double(x): return 0")
    submission = tiny.write(wrong, tmp_path / "handed in.ipynb")
    first, _ = grade.grade(solution, submission)
    assert first.message == "A check failed that has no message."


def test_long_messages_are_cut(graded):
    source = "def double(x): raise ValueError('x' * 9999)"
    marks = graded(tiny.submission_notebook(double=source))
    assert len(marks["double_check"].message) == grade.LONGEST_MESSAGE


def test_roles_are_read_off_the_metadata():
    roles = [grade.role(cell) for cell in tiny.solution_notebook().cells]
    assert roles == ["other", "given", "answer", "check", "answer", "check"]
    assert grade.role(new_code_cell("x")) == "other"
    locked = {"nbgrader": {"locked": True, "grade": False, "solution": False}}
    assert grade.role(new_markdown_cell("x", metadata=locked)) == "other"


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("assert f(x) == 1", {"f", "x"}),
        ("for i in range(3):\n    y = g(i)\n    print(y)", {"g"}),
        ("import math\nh(math.pi)", {"h"}),
        ("def local(a, b=1):\n    return k(a, b)\nlocal(1)", {"k"}),
        ("try:\n    f()\nexcept ValueError as error:\n    str(error)", {"f"}),
        ("[q for q in p]", {"p"}),
        ("class A:\n    pass\nA()", set()),
        ("from os import path as here\nhere", set()),
    ],
)
def test_free_names_are_those_a_check_does_not_make(source, names):
    assert grade.free_names(source) == names


def test_marks_are_saved_whole_and_only_for_what_they_depend_on(tmp_path):
    path = tmp_path / "marks" / "ada.json"
    marks = [grade.Mark("a_check", 1.0, 2.0, "why")]
    grade.save_marks(path, marks, "version 1")
    assert grade.load_marks(path, "version 1") == marks
    assert grade.load_marks(path) == marks
    assert grade.load_marks(path, "version 2") is None
    path.write_text('{"marks": [')
    assert grade.load_marks(path) is None
    assert grade.load_marks(tmp_path / "nobody.json") is None


def test_a_fingerprint_changes_with_each_file(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("a")
    two.write_text("b")
    before = grade.fingerprint(one, two)
    two.write_text("c")
    assert grade.fingerprint(one, two) != before
