"""A copy is found behind new names, comments and layout; one's own work is not."""

import pytest

from minitransformer.course import alike, classroom, release

from . import tiny

LONG = """def double(x):
    total = 0
    for step in range(2):
        if step >= 0 and total == total:
            total = total + x
        else:
            raise ValueError("no")
    return total
"""
COPY = '''def double(value):
    """My own idea."""
    s = 0  # the sum
    extra = 1

    for i in range(2):
        if i >= 0 and s == s:
            s = s + value
        else:
            raise ValueError("no")
    return s
'''
OWN = """def double(x):
    def twice(f, start):
        return f(f(start))
    added = []
    while len(added) < 2:
        added.append(twice(lambda y: y, x))
    return sum(added) if added else None
"""


@pytest.fixture
def school(tmp_path, monkeypatch):
    tiny.make_course(tmp_path)
    answers = {"ada": LONG, "bob": COPY, "cyd": OWN, "dan": "def double(x) return"}
    for student, double in answers.items():
        tiny.hand_in(tmp_path, student, tiny.submission_notebook(double=double))
    tiny.hand_in(tmp_path, "eve", b"nothing")
    monkeypatch.setattr(alike, "ROOT", tmp_path)
    return tmp_path


def test_names_comments_and_layout_do_not_count():
    source = "def f(a):\n    return a + 1 if a == 2 else g(a)"
    moved = (
        'def h(b):  # mine\n    """Say."""\n\n    return b + 1 if b == 2 else g(\n b)'
    )
    assert alike.runs(moved) == alike.runs(source) != set()
    assert alike.runs(source) != alike.runs(source.replace("a + 1", "1 + a"))


def test_what_is_no_python_has_no_runs():
    assert alike.runs("def f(:\n  '''") == set()


def test_a_copy_comes_first_and_own_work_last(school):
    pairs = alike.alike(classroom.submissions(tiny.NAME, school))
    assert pairs[0][1:] == ("ada", "bob")
    assert pairs[0][0] > 0.7
    assert max(share for share, *names in pairs if "cyd" in names) < 0.1


def test_what_all_have_in_common_is_no_copy(school):
    for student in ("fay", "gus", "hal"):
        tiny.hand_in(school, student, tiny.submission_notebook(double=LONG))
    pairs = alike.alike(classroom.submissions(tiny.NAME, school))
    assert ("fay", "gus") not in [pair[1:] for pair in pairs]


def test_the_command_lists_pairs_and_judges_nobody(school, capsys):
    assert alike.main(["9_9"]) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.split()[1:] == ["ada", "bob"]
    assert last == "1 pairs of 5 submissions. Alike is not copied."
    assert alike.main(["9_9", "--share", "1.1"]) == 0
    assert capsys.readouterr().out.startswith("0 pairs")


def test_the_solution_takes_part(school, capsys):
    solution = school / "solutions" / tiny.NAME / f"{tiny.NAME}.ipynb"
    notebook = tiny.solution_notebook()
    (answer,) = (cell for cell in notebook.cells if cell.id == "double")
    answer.source = COPY
    tiny.write(notebook, solution)
    assert release.chosen_set("9_9", school) == tiny.NAME
    alike.main(["9_9"])
    assert alike.SOLUTION in capsys.readouterr().out
