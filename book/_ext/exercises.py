"""The table of exercises, made from the metadata of the exercise notebooks.

Also: a link from a lesson to an exercise notebook opens it in JupyterLab; in the book
it leads to its place on the exercises page.
"""

import json
from pathlib import Path

from sphinx.addnodes import pending_xref
from sphinx.util.docutils import SphinxDirective

PAGE = "book/exercises"
DOTS = '<span role="img" aria-label="{0} of 5">{1}</span>'


class ExerciseTable(SphinxDirective):
    """One section for each lesson that has exercises."""

    def run(self):
        """Write Markdown and have it parsed."""
        self.env.note_reread()
        root = Path(self.env.srcdir)
        notebooks = sorted(root.glob("exercises/*/*.ipynb"))
        text = "\n\n".join(section(root, path) for path in notebooks)
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def section(root, path):
    """Return the section of one exercise notebook, as Markdown."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    about = notebook["metadata"]["minitransformer"]
    (lesson,) = root.glob(f"lessons/**/{about['lesson']}.ipynb")
    exercises = about["exercises"]
    minutes = sum(exercise["minutes"] for exercise in exercises)
    rows = [
        f"| {number} | {exercise['title']} | {dots(exercise['difficulty'])} "
        f"| {exercise['minutes']} |"
        for number, exercise in enumerate(exercises, start=1)
    ]
    return "\n".join(
        [
            f"({label(path)})=",
            f"## {title(json.loads(lesson.read_text(encoding='utf-8')))}",
            "",
            f"{len(exercises)} exercises, about {minutes} minutes. "
            f"[Download the notebook](path:/{path.relative_to(root)}), "
            f"or first [read the lesson](/{lesson.relative_to(root)}).",
            "",
            "| | Exercise | Difficulty | Minutes |",
            "|--:|:--|:--|--:|",
            *rows,
        ]
    )


def dots(difficulty):
    """Return a difficulty from 1 to 5 as dots that a screen reader can say."""
    return DOTS.format(difficulty, "●" * difficulty + "○" * (5 - difficulty))


def title(notebook):
    """Return the text of a notebook's first heading."""
    cells = (c for c in notebook["cells"] if c["cell_type"] == "markdown")
    lines = (line for cell in cells for line in "".join(cell["source"]).splitlines())
    return next(line for line in lines if line.startswith("# ")).removeprefix("# ")


def label(path):
    """Return the anchor of an exercise notebook on the exercises page."""
    return f"exercises-{path.stem.replace('_', '-')}"


def lead_to_the_page(app, doctree):
    """Turn links to exercise notebooks into links to the exercises page."""
    for link in list(doctree.findall(pending_xref)):
        target = Path(link["reftarget"])
        if link["reftype"] == "myst" and target.parts[:1] == ("exercises",):
            label_link = pending_xref(
                "",
                *link.children,
                refdomain="std",
                reftype="ref",
                refexplicit=True,
                reftarget=label(target),
                refdoc=link["refdoc"],
                refwarn=True,
            )
            link.replace_self(label_link)


def setup(app):
    """Register with Sphinx."""
    app.add_directive("exercise-table", ExerciseTable)
    app.connect("doctree-read", lead_to_the_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
