"""The map and the cards of one part, read from the lessons themselves.

What a lesson needs is what it links to under "You need"; nothing is listed twice.
"""

import json
import re
from dataclasses import dataclass
from html import escape
from itertools import combinations, permutations
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from exercises import title

START = "0_start_here"
COLUMN, ROW, WIDTH, HEIGHT = 76, 84, 60, 40
BOX = '<rect x="{}" y="{}" width="{}" height="{}" rx="8" class="{}"/>'
LABEL = '<text x="{}" y="{}">{}</text>'
LINE = '<path d="M{} {} C{} {} {} {} {} {}"/>'


@dataclass
class Lesson:
    """What the book tells of a lesson before it is opened."""

    path: Path
    title: str
    question: str
    minutes: int
    needs: list[str]

    @property
    def number(self):
        """The number that readers know it by."""
        return number(self.path.stem)


class PartMap(SphinxDirective):
    """The lessons of the part whose number is the argument."""

    required_arguments = 1

    def run(self):
        """Draw the map, write the cards as Markdown and have them parsed."""
        self.env.note_reread()
        root = Path(self.env.srcdir)
        course = read(root)
        part = [name for name in course if name.startswith(f"{self.arguments[0]}_")]
        cards = "\n".join(card(course, name, root) for name in part)
        text = f"::::{{grid}} 1 1 2 2\n:gutter: 3\n\n{cards}\n::::"
        return [
            nodes.raw("", draw(course, part), format="html"),
            *self.parse_text_to_nodes(text),
        ]


def read(root):
    """Return name -> lesson, in reading order."""
    paths = sorted((root / "lessons").rglob("*.ipynb"), key=lambda path: path.stem)
    paths = [path for path in paths if ".ipynb_checkpoints" not in path.parts]
    return {path.stem: lesson(path) for path in paths}


def lesson(path):
    """Read one lesson."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = [c for c in notebook["cells"] if c["cell_type"] == "markdown"]
    text = "\n\n".join("".join(cell["source"]) for cell in cells)
    needs = re.search(r"\*\*You need\*\*(.*?)(\n\n|\Z)", text, re.DOTALL)
    return Lesson(
        path=path,
        title=title(notebook),
        question=" ".join(re.search(r"\*\*(.+?)\*\*", text, re.DOTALL)[1].split()),
        minutes=notebook["metadata"]["minitransformer"]["minutes"],
        needs=re.findall(r"\]\((?:[^)]*/)?(\d_\w+)\.ipynb\)", needs[1]),
    )


def number(name):
    """Return the number that readers know a lesson by, such as ``3.1``."""
    return "Start" if name == START else ".".join(name.split("_")[:2])


def card(course, name, root):
    """Return the card of one lesson, as Markdown."""
    about = course[name]
    place = about.path.relative_to(root).with_suffix("").as_posix()
    later = [other.number for other in course.values() if name in other.needs]
    leads = f" · leads to {', '.join(later)}" if later else ""
    return f""":::{{grid-item-card}} {about.title}
:link: /{place}
:link-type: doc
{about.question}

*{about.minutes} minutes · builds on {", ".join(map(number, about.needs))}{leads}*
:::"""


def behind(course, name):
    """Return all that a lesson builds on, through other lessons too."""
    needs = course[name].needs
    return {*needs}.union(*(behind(course, need) for need in needs))


def direct(course, name):
    """Return what a lesson needs, less what it has by way of another of its needs."""
    needs = course[name].needs
    return [n for n in needs if not any(n in behind(course, other) for other in needs)]


def levels(course, part):
    """Return rows of names: a lesson after its needs, one of another part just above.

    Names are in reading order as far as lines between rows then do not cross.
    """
    lines = [(need, name) for name in part for need in direct(course, name)]
    level = {}
    for name in part:  # in reading order: what a lesson needs stands before it
        above = (level.get(need, 0) for need in direct(course, name))
        level[name] = 1 + max(above)
    for need in {need for need, _ in lines} - {*part}:
        level[need] = min(level[name] for start, name in lines if start == need) - 1
    depths = range(1 + max(level.values()))
    rows = [sorted(name for name in level if level[name] == depth) for depth in depths]
    for i in [*depths, *depths]:
        orders = permutations(rows[i])
        rows[i] = min(
            orders, key=lambda o: crossings([*rows[:i], o, *rows[i + 1 :]], lines)
        )
    return rows


def crossings(rows, lines):
    """Count the pairs of lines that cross between two rows."""
    place = {
        name: (depth, i) for depth, row in enumerate(rows) for i, name in enumerate(row)
    }
    ends = [(*place[need], *place[name]) for need, name in lines]
    return sum(
        (a, b) == (c, d) and (u - x) * (v - y) < 0
        for (a, u, b, v), (c, x, d, y) in combinations(ends, 2)
    )


def draw(course, part):
    """Return the map of a part as SVG whose colors follow the page."""
    rows = levels(course, part)
    width = COLUMN * max(map(len, rows))
    middle = {
        name: (width / 2 + COLUMN * (i - (len(row) - 1) / 2), ROW * depth + HEIGHT / 2)
        for depth, row in enumerate(rows)
        for i, name in enumerate(row)
    }
    shapes = []
    for name in part:
        x, y = middle[name]
        for need in direct(course, name):
            u, v = middle[need]
            v, end = v + HEIGHT / 2, y - HEIGHT / 2
            half = (v + end) / 2
            shapes.append(LINE.format(u, v, u, half, x, half, x, end))
    for name, (x, y) in middle.items():
        kind = "inside" if name in part else "outside"
        box = (x - WIDTH / 2, y - HEIGHT / 2 + 1, WIDTH, HEIGHT - 2, kind)
        shapes += [BOX.format(*box), LABEL.format(x, y + 5, number(name))]
    words = "; ".join(
        f"{number(name)} builds on {', '.join(map(number, course[name].needs))}"
        for name in part
    )
    height = ROW * (len(rows) - 1) + HEIGHT
    return (
        f'<svg class="part-map" role="img" aria-label="{escape(words)}." '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f"{''.join(shapes)}</svg>"
    )


def setup(app):
    """Register with Sphinx."""
    app.add_directive("part-map", PartMap)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
