import pytest

from minitransformer.course import check, progress
from minitransformer.course.environment import ROOT
from minitransformer.course.grade import Mark

SET = "0_start_here"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Leave the progress of whoever runs the tests alone."""
    monkeypatch.setattr(progress, "file_of", lambda name, _: tmp_path / f"{name}.json")


def test_the_report_says_what_is_done_and_what_to_do():
    marks = [Mark("merge_check", 0, 3, "did you skip?"), Mark("train_check", 4, 4)]
    assert check.report(marks).splitlines() == [
        "open  merge                0 of 3 points",
        "      did you skip?",
        "done  train                4 of 4 points",
        "",
        "4 of 7 points",
    ]


def test_an_untouched_notebook_leaves_all_to_do(capsys):
    assert check.main(["0"]) == 1
    shown = capsys.readouterr().out
    assert "0 of 7 points" in shown
    assert "your turn" in shown


def test_a_notebook_elsewhere_can_be_checked(capsys):
    solution = ROOT / "solutions" / SET / f"{SET}.ipynb"
    assert check.main(["0", str(solution)]) == 0
    assert "7 of 7 points" in capsys.readouterr().out


def test_a_missing_notebook_is_said(capsys):
    assert check.main(["0", "nowhere.ipynb"]) == 2
    assert "no notebook nowhere.ipynb" in capsys.readouterr().out


def test_a_set_that_is_not_there_is_answered_with_those_that_are(capsys):
    with pytest.raises(SystemExit):
        check.main(["9_9"])
    said = capsys.readouterr().err
    assert "no single exercise set begins '9_9': 0_start_here, 1_1_byte" in said
