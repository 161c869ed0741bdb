import shutil

import nbformat
import pytest

from minitransformer.course import release
from minitransformer.course.environment import ROOT


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """The exercises as they are made from solutions/ right now."""
    root = tmp_path_factory.mktemp("course")
    shutil.copytree(ROOT / "solutions", root / "solutions")
    release.release(release.exercise_sets(root), root)
    return root / "exercises"


def files(folder):
    paths = [p for p in folder.rglob("*") if p.is_file() and ".ipynb_ch" not in str(p)]
    return {path.relative_to(folder): path.read_bytes() for path in paths}


def test_exercises_are_what_the_solutions_make(fresh):
    assert files(fresh) == files(ROOT / "exercises")


@pytest.mark.parametrize("name", release.exercise_sets())
def test_no_solution_and_no_hidden_check_is_released(fresh, name):
    notebook = nbformat.read(fresh / name / f"{name}.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells)
    assert "BEGIN SOLUTION" not in text
    assert "HIDDEN" not in text
    assert text.count("raise NotImplementedError") >= 3


@pytest.mark.parametrize("name", release.exercise_sets())
def test_the_metadata_describe_the_exercises(name):
    path = ROOT / "solutions" / name / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    about = notebook.metadata["minitransformer"]
    assert about["lesson"] == name
    answers = [
        cell.metadata["nbgrader"]["grade_id"]
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("solution")
    ]
    assert [exercise["id"] for exercise in about["exercises"]] == answers
    for exercise in about["exercises"]:
        assert exercise["title"]
        assert 1 <= exercise["difficulty"] <= 5
        assert exercise["minutes"] > 0


def test_a_set_is_chosen_by_its_beginning():
    assert release.chosen_set("1_1") == "1_1_byte_pair_encoding"
    for unknown in ("9", "1_1_by"):
        with pytest.raises(
            ValueError, match=f"no single exercise set begins '{unknown}'"
        ):
            release.chosen_set(unknown)


@pytest.mark.parametrize("name", release.exercise_sets())
def test_nbgrader_validates_the_solution_and_not_the_stub(name):
    from nbgrader.validator import Validator

    solution = ROOT / "solutions" / name / f"{name}.ipynb"
    exercise = ROOT / "exercises" / name / f"{name}.ipynb"
    assert "failed" not in Validator().validate(str(solution))
    failed = Validator().validate(str(exercise))["failed"]
    checks = [
        cell
        for cell in nbformat.read(exercise, as_version=4).cells
        if cell.metadata.get("nbgrader", {}).get("grade")
    ]
    assert len([f for f in failed if "NotImplementedError" in f["error"]]) >= len(
        checks
    )
