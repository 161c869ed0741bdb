"""Lessons are run in reading order, and stored the same way each time."""

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from minitransformer.course import execute


def write(path, *sources):
    """Write a notebook that was never run."""
    cells = [new_markdown_cell("# Title", id="text")]
    for number, source in enumerate(sources):
        cells.append(new_code_cell(source, id=f"code{number}"))
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)
    return path


def stored(path):
    """The code cells of a notebook."""
    notebook = nbformat.read(path, as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_lessons_come_in_reading_order_and_checkpoints_not_at_all(tmp_path):
    for name in (
        "10_last/10_1_x",
        "2_part/2_10_x",
        "2_part/2_9_x",
        "0_start",
        "2_part/.ipynb_checkpoints/2_9_x-checkpoint",
        "drafts/notes",
    ):
        write(tmp_path / "lessons" / f"{name}.ipynb")
    names = [path.stem for path in execute.lessons(tmp_path)]
    assert names == ["0_start", "2_9_x", "2_10_x", "10_1_x"]


def test_no_lessons_are_an_empty_list(tmp_path):
    assert execute.lessons(tmp_path) == []


def test_running_twice_stores_the_same_bytes(tmp_path):
    path = write(
        tmp_path / "1_x.ipynb",
        "for number in range(3):\n    print(number, flush=True)",
        "{'b': 1, 'a': 2}",
        "from IPython.display import display\ndisplay('picture')\nprint('text')",
    )
    execute.execute(path)
    first = path.read_bytes()
    cells = stored(path)
    assert [cell.execution_count for cell in cells] == [1, 2, 3]
    assert [output.text for output in cells[0].outputs] == ["0\n1\n2\n"]
    assert b'"execution"' not in first
    execute.execute(path)
    assert path.read_bytes() == first


def test_old_outputs_times_and_widgets_are_left_out(tmp_path):
    path = write(tmp_path / "1_x.ipynb", "print('new')")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="old")]
    notebook.cells[1].metadata["execution"] = {"iopub.status.busy": "2020-01-01"}
    notebook.metadata["widgets"] = {"state": {}}
    nbformat.write(notebook, path)
    execute.execute(path)
    (cell,) = stored(path)
    assert [output.text for output in cell.outputs] == ["new\n"]
    assert cell.metadata == {}
    metadata = nbformat.read(path, as_version=4).metadata
    assert "widgets" not in metadata
    assert metadata["language_info"] == {"name": "python"}


def test_a_lesson_runs_in_its_own_folder(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "beside.txt").write_text("found")
    path = write(tmp_path / "deep" / "1_x.ipynb", "print(open('beside.txt').read())")
    execute.execute(path)
    assert stored(path)[0].outputs[0].text == "found\n"


def test_a_failing_cell_raises_and_leaves_the_file_as_it_was(tmp_path):
    path = write(tmp_path / "1_x.ipynb", "print(1)", "1 / 0", "print(2)")
    before = path.read_bytes()
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        execute.execute(path)
    assert path.read_bytes() == before


def test_an_expected_error_is_stored(tmp_path):
    path = write(tmp_path / "1_x.ipynb", "1 / 0", "print('went on')")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].metadata["tags"] = ["raises-exception"]
    nbformat.write(notebook, path)
    execute.execute(path)
    first, second = stored(path)
    assert first.outputs[0].ename == "ZeroDivisionError"
    assert second.outputs[0].text == "went on\n"


def test_a_dry_run_stores_nothing(tmp_path):
    path = write(tmp_path / "1_x.ipynb", "print(1)")
    before = path.read_bytes()
    execute.execute(path, store=False)
    assert path.read_bytes() == before


@pytest.fixture
def three(monkeypatch, tmp_path):
    """Three lessons that are not run; note which would be, and whether to store."""
    names = ("1_1_bytes", "1_10_late", "2_1_vectors")
    paths = [tmp_path / f"{name}.ipynb" for name in names]
    runs = []

    def run(path, *, store):
        runs.append((path.stem, store))
        if path.stem == "1_10_late":
            raise ValueError("it broke")

    monkeypatch.setattr(execute, "lessons", lambda: paths)
    monkeypatch.setattr(execute, "execute", run)
    return runs


@pytest.mark.parametrize(
    ("arguments", "chosen"),
    [
        (["1_1"], ["1_1_bytes"]),
        (["2_1_vectors", "1_1"], ["1_1_bytes", "2_1_vectors"]),
        (["2"], ["2_1_vectors"]),
    ],
)
def test_lessons_are_chosen_by_number_or_name(three, arguments, chosen):
    assert execute.main(arguments) == 0
    assert three == [(name, True) for name in chosen]


def test_one_broken_lesson_is_told_and_the_others_run(three, capsys):
    assert execute.main(["--dry-run"]) == 1
    names = ["1_1_bytes", "1_10_late", "2_1_vectors"]
    assert three == [(name, False) for name in names]
    assert "1_10_late ... failed\nit broke" in capsys.readouterr().out


def test_a_lesson_that_is_not_there_is_named(three, capsys):
    assert execute.main(["9_9"]) == 2
    assert three == []
    assert "There is no such lesson: 9_9" in capsys.readouterr().out
