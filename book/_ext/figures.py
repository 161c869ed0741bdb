"""Figures that are computed when the book is built."""

import os
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from minitransformer import data, plot
from minitransformer.tokenization import pretokenize
from minitransformer.tokenization.bpe import BPE

INK = {"light": plot.INK, "dark": "#d5daea"}


class TokenFigure(SphinxDirective):
    """The argument, cut into words, characters, bytes and tokens; with text below."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self):
        """Draw the figure twice, once for each color scheme."""
        folder = Path(self.env.app.doctreedir).parent / "figures"
        folder.mkdir(exist_ok=True)
        rows = cut(self.arguments[0])
        figure = nodes.figure(classes=["hero"])
        pictures = nodes.container()
        for scheme in INK:
            path = folder / f"tokens-{scheme}.svg"
            draw(rows, scheme, path)
            here = Path(self.env.doc2path(self.env.docname)).parent
            pictures += nodes.image(
                uri=Path(os.path.relpath(path, here)).as_posix(),
                alt=describe(self.arguments[0], rows),
                classes=[f"only-{scheme}", "dark-light"],
            )
        # A legend, not a caption: captions are numbered, and this is the only one.
        text = self.parse_text_to_nodes("\n".join(self.content))
        figure += [pictures, nodes.legend("", *text)]
        return [figure]


def cut(sentence):
    """Return unit -> pieces of the sentence, each piece as (label, bytes)."""
    articles = [article.text for article in data.wikipedia_articles()]
    tokenizer = BPE.train_from_iterator(articles, vocab_size=8192)
    tokens = [tokenizer.token_bytes(i) for i in tokenizer.encode(sentence).ids]
    words = pretokenize.split(sentence)
    return {
        "words": [(word, len(word.encode())) for word in words],
        "characters": [(letter, len(letter.encode())) for letter in sentence],
        "bytes": [(f"{byte:02x}", 1) for byte in sentence.encode()],
        "tokens": [(token.decode(), len(token)) for token in tokens],
    }


def draw(rows, scheme, path):
    """Draw one strip for each unit, all as long as the sentence."""
    strips = {f"{len(pieces)} {unit}": pieces for unit, pieces in rows.items()}
    colors = {"ytick.color": INK[scheme], "ytick.labelcolor": INK[scheme]}
    with plt.rc_context({**colors, "svg.hashsalt": "course"}):
        figure, ax = plt.subplots(figsize=(6.0, 1.9))
        labels = {name: [label for label, _ in strips[name]] for name in strips}
        widths = {name: [size for _, size in strips[name]] for name in strips}
        plot.token_strip(labels, widths=widths, ax=ax)
        figure.savefig(path, transparent=True, metadata={"Date": None})
        plt.close(figure)


def describe(sentence, rows):
    """Say in words what the figure shows."""
    tokens = ", ".join(label.strip() for label, _ in rows["tokens"])
    counts = ", ".join(f"{len(pieces)} {unit}" for unit, pieces in rows.items())
    return f"“{sentence}” cut four ways: {counts}. The tokens are: {tokens}."


def setup(app):
    """Register with Sphinx."""
    app.add_directive("token-figure", TokenFigure)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
