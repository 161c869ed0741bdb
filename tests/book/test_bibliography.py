"""The bibliography knows each paper that the ledger has or a lesson cites."""

import json
import re

import pytest

from minitransformer import papers
from minitransformer.course.environment import ROOT

pytest.importorskip("sphinx", reason="the extra [book] is not installed")
EXTENSION = "bibliography"
ARXIV = "https://arxiv.org/abs/"


@pytest.fixture(scope="module")
def entries(extension):
    return extension.read(ROOT)


def test_a_paper_of_the_ledger_stands_as_the_ledger_has_it(entries):
    for paper in papers.load():
        entry = entries[f"{ARXIV}{paper.arxiv}"]
        told = (entry.authors, entry.title, entry.year)
        assert told == (paper.authors, paper.title, paper.year)
        assert paper in entry.built


def test_every_link_of_a_lesson_to_arxiv_or_to_a_doi_is_known(entries):
    known = set()
    for path in ROOT.glob("lessons/**/[0-9]*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = "".join("".join(c["source"]) for c in cells if "outputs" not in c)
        links = set(re.findall(r"\((https?://[^)]*(?:arxiv|doi)\.org[^)]*)\)", text))
        assert {link for link in links if path not in entries[link].lessons} == set()
        known |= links
    assert len(known) > 80


def test_every_entry_names_authors_title_and_year(entries):
    for entry in entries.values():
        assert re.fullmatch(r"\w[\w .,&-]+", entry.authors), entry
        assert re.search("[A-Za-z]{3}", entry.title), entry
        assert 1900 < entry.year < 2100, entry


def test_papers_are_in_the_order_of_their_first_authors_family_names(entries):
    firsts = {entry.order[0] for entry in entries.values()}
    assert {"boer", "michel", "racioppo", "vaswani"} <= firsts


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        (
            f"- Gu & Dao, [Mamba]({ARXIV}2312.00752) (2023): selective copy.",
            ("Gu & Dao", "Mamba", 2023),
        ),
        (
            f"- Zhang et al. (2023). [H2O: Heavy\n  Hitters]({ARXIV}2306.14048).",
            ("Zhang et al.", "H2O: Heavy Hitters", 2023),
        ),
        (
            f"- P. Michel, O. Levy and G. Neubig, [Heads]({ARXIV}1905.10650) (2019).",
            ("P. Michel, O. Levy and G. Neubig", "Heads", 2019),
        ),
        (
            "- Hong & Kung, [Game](https://doi.org/10.1145/80.82) (1981): no order.",
            ("Hong & Kung", "Game", 1981),
        ),
        (f"Adam (Kingma, [1412.6980]({ARXIV}1412.6980)) divides.", ("", "", 2014)),
    ],
)
def test_a_citation_is_read_as_it_is_written(extension, text, entry):
    (found,) = extension.citations(text)
    assert (found.authors, found.title, found.year) == entry


def test_a_line_may_cite_several_papers(extension):
    line = (
        f"- Jo Risan, *Data* (1978); Peter Ng, [MDL]({ARXIV}math/0406077) (2004), and\n"
        f"  Chen et al., [Fast]({ARXIV}2302.01318) (2023) and [More]({ARXIV}2302.01319)"
    )
    found = [(entry.authors, entry.title) for entry in extension.citations(line)]
    chen = "Chen et al."
    assert found == [("Peter Ng", "MDL"), (chen, "Fast"), (chen, "More")]
