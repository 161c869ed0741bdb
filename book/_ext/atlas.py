"""The atlas of papers: one table a family, made from the ledger."""

from pathlib import Path

from sphinx.util.docutils import SphinxDirective

from minitransformer import papers


class Atlas(SphinxDirective):
    """All papers of the ledger, by family."""

    def run(self):
        """Write Markdown and have it parsed."""
        self.env.note_reread()
        ledger = papers.load()
        text = "\n\n".join(
            family(name, [paper for paper in ledger if paper.family == code])
            for code, name in papers.FAMILIES.items()
            if any(paper.family == code for paper in ledger)
        )
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def family(name, ledger):
    """Return the section of one family, as Markdown."""
    rows = "\n".join(map(row, ledger))
    return f"""## {name}

::::{{list-table}}
:header-rows: 1
:class: atlas

* - Paper
  - Claim
  - The paper measured
  - Our run measured
  - Verdict
{rows}
::::"""


def row(paper):
    """Return the row of one paper, as Markdown."""
    verdict = paper.verdict.replace(" ", "-")
    return f"""* - (atlas-{paper.key})=
    [{paper.title}](https://arxiv.org/abs/{paper.arxiv})

    {paper.authors}, {paper.year}. arXiv {paper.arxiv}

    [Lesson](/{lesson(paper)}) · [`{paper.module.split(".")[-1]}`](#{paper.module})
  - {paper.claim}
  - {paper.paper_figure}
  - {paper.our_figure}
  - [{paper.verdict}]{{.verdict .{verdict}}}

    {paper.caveat}"""


def lesson(paper):
    """Return the path of a paper's lesson in the repository."""
    root = Path(papers.__file__).parents[1]
    (path,) = root.glob(f"lessons/**/{paper.lesson}.ipynb")
    return path.relative_to(root).as_posix()


def setup(app):
    """Register with Sphinx."""
    app.add_directive("atlas", Atlas)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
