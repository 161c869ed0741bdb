"""The ledger of papers is complete, well formed and points at things that exist."""

import importlib
import json
import re
from pathlib import Path

import pytest

from minitransformer import papers

ROOT = Path(papers.__file__).parents[1]
ENTRY = {
    "key": "gage1994",
    "title": "A New Algorithm for Data Compression",
    "authors": "Philip Gage",
    "year": 1994,
    "arxiv": "1234.56789",
    "family": "T",
    "module": "minitransformer.tokenization.bpe",
    "lesson": "1_1_byte_pair_encoding",
    "claim": "Pairs can be merged.",
    "paper_figure": "half the size",
    "our_figure": "half the size",
    "verdict": "reproduced",
    "caveat": "none known",
}


def write(path, *entries):
    path.write_text(
        "\n".join(
            "[[paper]]\n" + "\n".join(f"{k} = {v!r}" for k, v in entry.items())
            for entry in entries
        )
    )
    return path


def test_an_entry_comes_back_as_it_was_written(tmp_path):
    second = ENTRY | {"key": "other", "verdict": "not at this scale"}
    ledger = write(tmp_path / "papers.toml", ENTRY, second)
    assert papers.load(ledger) == [papers.Paper(**ENTRY), papers.Paper(**second)]


def test_an_empty_ledger_holds_no_paper(tmp_path):
    assert papers.load(write(tmp_path / "papers.toml")) == []


@pytest.mark.parametrize("name", ENTRY)
def test_a_missing_field_is_named(tmp_path, name):
    entry = {key: value for key, value in ENTRY.items() if key != name}
    with pytest.raises(ValueError, match=rf"paper 1 .*lacks {name}$"):
        papers.load(write(tmp_path / "papers.toml", entry))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verdict": "yes"}, "verdict is 'yes', needs one of reproduced, partly"),
        ({"family": "Q"}, "family is 'Q', needs one of T, V"),
        ({"arxiv": "1508.079"}, "arxiv is '1508.079', needs a form like 1508.07909"),
        ({"arxiv": "1508.07909v5"}, "arxiv is '1508.07909v5'"),
        ({"key": "Gage 1994"}, "key is 'Gage 1994', needs a form like"),
        ({"year": "1994"}, "year is '1994', needs a number"),
        ({"title": 7}, "title is 7, needs a text"),
        ({"our_figure": ""}, "our_figure is '', needs a text"),
        ({"venue": "C Users Journal"}, "venue is no field of a paper"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_wanted(tmp_path, change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        papers.load(write(tmp_path / "papers.toml", ENTRY | change))


def test_a_key_used_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"paper 2 \(gage1994\): key is used twice"):
        papers.load(write(tmp_path / "papers.toml", ENTRY, ENTRY))


def test_what_is_not_toml_is_refused_with_the_name_of_the_file(tmp_path):
    ledger = tmp_path / "ledger.toml"
    ledger.write_text("[[paper]")
    with pytest.raises(ValueError, match=r"ledger\.toml is not TOML"):
        papers.load(ledger)


@pytest.mark.parametrize("text", ["[papers]", 'paper = "one"', "paper = [1]"])
def test_anything_but_papers_is_refused(tmp_path, text):
    ledger = tmp_path / "papers.toml"
    ledger.write_text(text)
    with pytest.raises(ValueError, match=r"needs \[\[paper\]\] entries and nothing"):
        papers.load(ledger)


@pytest.mark.parametrize("paper", papers.load(), ids=lambda paper: paper.key)
def test_module_and_lesson_of_a_paper_exist(paper):
    module = importlib.import_module(paper.module)
    assert paper.arxiv in module.__doc__, "the module cites the paper"
    assert len(list(ROOT.glob(f"lessons/*/{paper.lesson}.ipynb"))) == 1


@pytest.mark.parametrize("paper", papers.load(), ids=lambda paper: paper.key)
def test_our_figures_are_what_the_lesson_printed(paper):
    (lesson,) = ROOT.glob(f"lessons/*/{paper.lesson}.ipynb")
    cells = json.loads(lesson.read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    printed = "".join(line for output in outputs for line in output.get("text", ()))
    figures = re.findall(r"\d+\.\d+", paper.our_figure)
    assert figures
    assert [figure for figure in figures if figure not in printed] == []
