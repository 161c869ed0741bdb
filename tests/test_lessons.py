"""Every lesson is made as lessons are made; that its outputs reproduce, nbval tests."""

import re
import statistics

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from minitransformer.course.environment import ROOT
from minitransformer.course.execute import lessons

TAGS = {"nbval-ignore-output", "raises-exception"}
PARTS = ("**You will**", "**You need**", "## Try to break it", "## Summary")
MORE_PARTS = ("## Exercises", "## Further reading")


def code_lines(cell):
    lines = [line.strip() for line in cell.source.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def has_image(cell):
    kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
    return any(kind.startswith("image/") for kind in kinds)


def faults(notebook, numbered=True):
    """Yield what is wrong with a lesson, one sentence each."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    text = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    about = notebook.metadata.get("minitransformer", {})
    if not {"module", "minutes", "budget_seconds"} <= about.keys():
        yield "the metadata lack module, minutes or budget_seconds"
    elif not 0 < about["budget_seconds"] <= 60:
        yield "the budget is not between 0 and 60 seconds"
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "the kernel is not python3"
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        yield "the cells were not run once each from top to bottom"
    sizes = [len(code_lines(cell)) for cell in code]
    if sizes and statistics.median(sizes) > 6:
        yield "the median code cell has more than 6 lines"
    if sizes and max(sizes) > 25:
        yield "a code cell has more than 25 lines"
    if sum(has_image(cell) for cell in code) < 2:
        yield "there are fewer than two figures"
    words = "\n\n".join(cell.source for cell in text)
    parts = (*PARTS, *MORE_PARTS, *(["## The package says the same"] * numbered))
    for part in parts:
        if part not in words:
            yield f"{part!r} is missing"
    if len(re.findall(r"^# ", words, flags=re.MULTILINE)) != 1:
        yield "there is not exactly one title"
    for cell in text:
        if len(cell.source.split()) > 150:
            yield f"a text cell has more than 150 words: {cell.source[:40]}"
    for cell in code:
        yield from faults_of_code(cell)


def faults_of_code(cell):
    source, tags = cell.source, set(cell.metadata.get("tags", []))
    if re.search(r"^\s*[!%]|pip install", source, flags=re.MULTILINE):
        yield f"a cell leaves Python: {source[:40]}"
    if any(len(line) > 88 for line in source.splitlines()):
        yield f"a line of code is too long for a page: {source[:40]}"
    if not tags <= TAGS:
        yield f"unknown tags {tags - TAGS}"
    if "nbval-ignore-output" in tags and "second" not in source:
        yield f"an output is not compared though it is no time: {source[:40]}"
    alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
    if has_image(cell) and len(alt) < 20:
        yield f"a figure has no description: {source[:40]}"
    if "plot." in source.splitlines()[-1] and not has_image(cell):
        yield f"a figure was not stored: {source[:40]}"
    for output in cell.outputs:
        if output.output_type == "error" and "raises-exception" not in tags:
            yield f"a cell failed: {source[:40]}"
        if output.get("name") == "stderr":
            yield f"a cell warns: {source[:40]}"
        if any("widget" in kind for kind in output.get("data", {})):
            yield f"a widget was stored: {source[:40]}"
        if re.search(r"(?<!\w)/(home|root|work|tmp|Users)/", str(output)):
            yield f"an output names a path of one machine: {source[:40]}"


@pytest.mark.parametrize("path", lessons(), ids=lambda path: path.stem)
def test_the_lesson_is_made_as_lessons_are_made(path):
    notebook = nbformat.read(path, as_version=4)
    assert list(faults(notebook, numbered=not path.stem.startswith("0"))) == []


@pytest.mark.parametrize("path", lessons(), ids=lambda path: path.stem)
def test_relative_links_lead_to_files(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#\s]+)\)", cell.source):
                if "://" not in target:
                    assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", lessons(), ids=lambda path: path.stem)
def test_the_exercises_of_a_lesson_are_listed_as_they_are(path):
    solution = ROOT / "solutions" / path.stem / f"{path.stem}.ipynb"
    about = nbformat.read(solution, as_version=4).metadata["minitransformer"]
    rows = [
        f"| {e['title']} | {e['difficulty']} of 5 | {e['minutes']} |"
        for e in about["exercises"]
    ]
    lesson = nbformat.read(path, as_version=4)
    text = "\n".join(cell.source for cell in lesson.cells)
    listed = [line for line in text.splitlines() if re.search(r"\| \d of 5 \|", line)]
    assert listed == rows


def good_lesson():
    """A lesson without a fault."""
    figure = new_output("display_data", data={"image/png": "aGk="})
    described = {"mystnb": {"image": {"alt": "a description of what is to be seen"}}}
    cells = [new_markdown_cell("# Title"), new_markdown_cell("\n".join(PARTS))]
    cells.append(new_markdown_cell("\n".join(MORE_PARTS)))
    cells.append(new_markdown_cell("## The package says the same"))
    for count in (1, 2):
        cell = new_code_cell("plot.bars({})", metadata=described, outputs=[figure])
        cell.execution_count = count
        cells.append(cell)
    about = {"module": None, "minutes": 5, "budget_seconds": 5}
    kernel = {"name": "python3", "display_name": "Python 3"}
    return new_notebook(
        cells=cells, metadata={"minitransformer": about, "kernelspec": kernel}
    )


def test_a_good_lesson_has_no_fault():
    assert list(faults(good_lesson())) == []


def on_code(**changes):
    def change(notebook):
        notebook.cells[-1].update(changes)

    return change


def on_metadata(**changes):
    def change(notebook):
        notebook.metadata["minitransformer"].update(changes)

    return change


def say(text):
    def change(notebook):
        notebook.cells[0].source += text

    return change


def tagged(*tags):
    def change(notebook):
        notebook.cells[-1].metadata["tags"] = list(tags)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (on_metadata(budget_seconds=99), "the budget is not between"),
        (lambda notebook: notebook.metadata.pop("minitransformer"), "metadata lack"),
        (lambda notebook: notebook.metadata.pop("kernelspec"), "kernel is not"),
        (on_code(execution_count=7), "not run once each"),
        (on_code(execution_count=None), "not run once each"),
        (on_code(outputs=[]), "fewer than two figures"),
        (on_code(outputs=[]), "a figure was not stored"),
        (on_code(source="x = 1\n" * 26), "more than 25 lines"),
        (on_code(source="x = 1\n" * 20), "the median code cell"),
        (on_code(source="!ls\nplot.bars({})"), "leaves Python"),
        (on_code(source="%time 1\nplot.bars({})"), "leaves Python"),
        (on_code(source="x = '" + "a" * 90 + "'\nplot.bars({})"), "too long"),
        (on_code(metadata={}), "has no description"),
        (on_code(outputs=[new_output("error", ename="E")]), "a cell failed"),
        (on_code(outputs=[new_output("stream", name="stderr")]), "a cell warns"),
        (
            on_code(outputs=[new_output("stream", text="in /home/me/x")]),
            "a path of one machine",
        ),
        (
            on_code(
                outputs=[
                    new_output("display_data", data={"application/vnd.widget": "1"})
                ]
            ),
            "a widget was stored",
        ),
        (tagged("NBVAL_SKIP"), "unknown tags"),
        (tagged("nbval-ignore-output"), "though it is no time"),
        (say("\n\n# Second title"), "not exactly one title"),
        (say(" word" * 200), "more than 150 words"),
        (lambda notebook: notebook.cells.pop(1), "'## Summary' is missing"),
        (lambda notebook: notebook.cells.pop(3), "says the same' is missing"),
    ],
)
def test_each_fault_is_found(change, message):
    notebook = good_lesson()
    change(notebook)
    assert any(message in fault for fault in faults(notebook)), list(faults(notebook))
