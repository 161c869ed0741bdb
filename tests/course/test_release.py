import nbformat
import pytest

from minitransformer.course import release

from . import tiny


def test_sets_are_those_of_the_solutions_folder(tmp_path):
    tiny.make_course(tmp_path)
    assert release.exercise_sets(tmp_path) == [tiny.NAME]
    assert release.chosen_set("9", tmp_path) == tiny.NAME


def test_releasing_twice_gives_the_same_bytes(tmp_path):
    tiny.make_course(tmp_path)
    path = tmp_path / "exercises" / tiny.NAME / f"{tiny.NAME}.ipynb"
    release.release([tiny.NAME], tmp_path)
    first = path.read_bytes()
    release.release([tiny.NAME], tmp_path)
    assert path.read_bytes() == first


def test_the_released_stub_fails_loudly(tmp_path):
    tiny.make_course(tmp_path)
    release.release([tiny.NAME], tmp_path)
    path = tmp_path / "exercises" / tiny.NAME / f"{tiny.NAME}.ipynb"
    sources = [cell.source for cell in nbformat.read(path, as_version=4).cells]
    assert 'raise NotImplementedError("your turn")' in sources[2]
    assert "another number" not in "".join(sources)


def test_what_nbgrader_cannot_release_is_an_error(tmp_path):
    notebook = tiny.solution_notebook()
    notebook.cells[2].metadata["nbgrader"]["grade_id"] = "double_check"
    path = tmp_path / "solutions" / tiny.NAME / f"{tiny.NAME}.ipynb"
    tiny.write(notebook, path)
    with pytest.raises(RuntimeError, match="9_9_tiny cannot be released"):
        release.release([tiny.NAME], tmp_path)


def test_an_unknown_set_is_an_error_at_the_shell(capsys):
    assert release.main(["9_9"]) == 1
    assert "no single exercise set begins '9_9'" in capsys.readouterr().out
