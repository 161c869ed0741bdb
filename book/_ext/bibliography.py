"""The bibliography: the papers of the ledger, and what else the lessons read on with.

The ledger says all of its papers; the others are read off the lists of further reading,
where a paper stands as "authors, [title](address) (year)". Lessons link to papers
directly, as JupyterLab opens them; in the book such a link leads to the paper's entry.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from docutils import nodes
from parts import number
from sphinx.addnodes import pending_xref
from sphinx.util.docutils import SphinxDirective

from minitransformer import papers

PAPER = r"https://(?:arxiv\.org/abs/(?:\d{4}\.\d{4,5}|[a-z]+/\d{7})|doi\.org/10\.\S+)"
LINK = re.compile(rf"\[([^\]]+)\]\(({PAPER})\)")
BARE = re.compile(r"(arXiv )?\d{4}\.\d{4,5}")  # a title that only repeats the address


@dataclass
class Entry:
    """A paper: its address, what is known of it, and the lessons that cite it."""

    address: str
    authors: str = ""
    title: str = ""
    year: int = 0
    built: list[papers.Paper] = field(default_factory=list)
    lessons: list[Path] = field(default_factory=list)

    @property
    def order(self):
        """Sort by the family name of the first author, then by year and title."""
        first = re.split(r",| & | and | et al", self.authors)[0]
        return first.split()[-1].casefold(), self.year, self.title


class Bibliography(SphinxDirective):
    """All papers, by first author."""

    def run(self):
        """Write Markdown and have it parsed."""
        self.env.note_reread()
        root = Path(self.env.srcdir)
        entries = sorted(read(root).values(), key=lambda entry: entry.order)
        items = "\n\n".join(item(entry, root) for entry in entries)
        return self.parse_text_to_nodes(f":::{{container}} references\n{items}\n:::")


def read(root):
    """Return address -> entry, of the ledger and of the lessons below a folder."""
    entries = {}
    for paper in papers.load():
        address = f"https://arxiv.org/abs/{paper.arxiv}"
        known = entries.setdefault(address, Entry(address))
        known.authors, known.title, known.year = paper.authors, paper.title, paper.year
        known.built.append(paper)
    for path in sorted(root.glob("lessons/**/[0-9]*.ipynb"), key=lambda p: p.stem):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                for cited in citations("".join(cell["source"])):
                    note(entries.setdefault(cited.address, cited), cited, path)
    return entries


def note(known, cited, path):
    """Add to an entry that a lesson cites it, and what the lesson tells of it."""
    if path not in known.lessons:
        known.lessons.append(path)
    if not known.built:
        known.authors = max(known.authors, cited.authors, key=len)
        known.title = max(known.title, cited.title, key=len)


def citations(text):
    """Return an entry for each link to a paper in a lesson's text."""
    found = []
    for line in re.split(r"\n\n|\n(?=- )", text):
        end, authors = 0, ""
        for link in LINK.finditer(line):
            before = line[end : link.start()] if line.startswith("- ") else ""
            authors = writers(before) or authors
            title = "" if BARE.fullmatch(link[1]) else " ".join(link[1].split())
            found.append(Entry(link[2], authors, title, year_of(link[2], line)))
            end = link.end()
    return found


def writers(before):
    """Return the authors in the text before a title, if it names any."""
    named = re.sub(r"\(\d{4}\)[.:]?|\*[^*]+\*", "", before)
    last = re.split(r"; |, and ", " ".join(named.split()))[-1]
    return last.strip("-, ") if any(map(str.isupper, last)) else ""


def year_of(address, line):
    """Return the year in an arXiv address, or else in the line that cites it, or 0."""
    if stamp := re.search(r"arxiv\.org/abs/(?:[a-z]+/)?(\d\d)", address):
        return (1900 if stamp[1] > "90" else 2000) + int(stamp[1])
    written = re.search(r"\((\d{4})\)", line)
    return int(written[1]) if written else 0


def label(address):
    """Return the anchor of a paper on the page."""
    return "paper-" + re.sub(r"[^a-z0-9]+", "-", name(address).lower())


def name(address):
    """Return an address as it is cited, such as ``arXiv 1706.03762``."""
    identifier = re.sub(r"https://(arxiv|doi)\.org/(abs/)?", "", address)
    kind = "arXiv" if "arxiv" in address else "DOI"
    return f"{kind}\N{NO-BREAK SPACE}{identifier}"


def item(entry, root):
    """Return the entry of one paper, as Markdown."""
    cited = ", ".join(
        f"[{number(path.stem)}](/{path.relative_to(root).as_posix()})"
        for path in entry.lessons
    )
    built = ", ".join(f"[{paper.verdict}](#atlas-{paper.key})" for paper in entry.built)
    told = [f"cited in {cited}"] * bool(cited) + [f"our run: {built}"] * bool(built)
    return f"""({label(entry.address)})=
**{entry.title}**\\
{entry.authors}, {entry.year}. [{name(entry.address)}]({entry.address})\\
{" · ".join(told)}"""


def lead_to_the_page(app, doctree):
    """Turn a lesson's links to papers into links to their entries."""
    if not app.env.docname.startswith("lessons/"):
        return
    for link in list(doctree.findall(nodes.reference)):
        if re.fullmatch(PAPER, link.get("refuri", "")):
            link.replace_self(
                pending_xref(
                    "",
                    nodes.inline("", "", *link.children),
                    refdomain="std",
                    reftype="ref",
                    refexplicit=True,
                    reftarget=label(link["refuri"]),
                    refdoc=app.env.docname,
                    refwarn=True,
                )
            )


def setup(app):
    """Register with Sphinx."""
    app.add_directive("bibliography", Bibliography)
    app.connect("doctree-read", lead_to_the_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
