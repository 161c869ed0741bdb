"""The heads of the house model on one sentence, computed when the book is built."""

from functools import cache

import torch
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from minitransformer.lens import heads
from minitransformer.models import load_pretrained
from minitransformer.plot import attention_explorer
from minitransformer.training.data import wikipedia

LENGTH = 128
HABITS = {
    "the token before": lambda weights, ids: heads.to_previous(weights),
    "itself": lambda weights, ids: heads.to_itself(weights),
    "what followed the same token earlier": heads.to_what_followed,
    "the first token": lambda weights, ids: heads.to_first(weights),
}


class HouseExplorer(SphinxDirective):
    """The argument, read by the house model: all its heads, to point at."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self):
        """Put the page into a frame."""
        self.env.note_reread()
        page = explorer(" ".join(self.arguments[0].split()))
        return [nodes.raw("", page._repr_html_(), format="html")]


class HouseHabits(SphinxDirective):
    """A table: the head that has each habit most, on other texts and on this one."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self):
        """Measure, write Markdown and have it parsed."""
        self.env.note_reread()
        sentence = " ".join(self.arguments[0].split())
        return self.parse_text_to_nodes(table(sentence))


def read(model, ids):
    """Return the weights ``[num_layers, H, L, L]`` of a text ``[L]``."""
    return heads.attention_weights(model, ids[None])[:, 0]


def scores(weights, ids):
    """Return habit -> its score in each head ``[num_layers, H]``."""
    return {name: habit(weights, ids) for name, habit in HABITS.items()}


def even(ids):
    """Return habit -> the score of a head that looks at all it may see evenly."""
    causal = torch.ones(len(ids), len(ids)).tril()
    return scores(causal / causal.sum(dim=1, keepdim=True), ids)


@cache
def house():
    """Load the model once."""
    return load_pretrained("house")


@cache
def elsewhere():
    """Return means over articles the model was not trained on.

    Habit -> its score in each head, and habit -> that of a head that looks evenly.
    """
    model, tokenizer, _ = house()
    texts = [tokenizer.encode(text[: 8 * LENGTH]).ids for text in wikipedia().test]
    texts = [torch.tensor(ids[:LENGTH]) for ids in texts]
    found = [scores(read(model, ids), ids) for ids in texts]
    plain = [even(ids) for ids in texts]
    mean = {name: sum(f[name] for f in found) / len(found) for name in HABITS}
    return mean, {name: sum(p[name] for p in plain) / len(plain) for name in HABITS}


def explorer(sentence):
    """Return the page, opened at the head that most continues what it has seen."""
    model, tokenizer, _ = house()
    ids = torch.tensor(tokenizer.encode(sentence).ids)
    weights = read(model, ids)
    habit = "what followed the same token earlier"
    layer, head = best(elsewhere()[0][habit])
    pieces = [tokenizer.decode([int(i)]) for i in ids]
    again = [i for i in range(len(ids)) if ids[i] in ids[:i]]
    token = max(again, key=lambda i: float(weights[layer, head, i].max()))
    title = "The house model reads a sentence"
    start = {"layer": layer, "head": head, "token": token}
    return attention_explorer(pieces, weights, title=title, **start)


def best(score):
    """Return the layer and the head with the highest score."""
    return divmod(int(score.argmax()), score.shape[1])


def table(sentence):
    """Return the table of habits, as Markdown."""
    model, tokenizer, _ = house()
    ids = torch.tensor(tokenizer.encode(sentence).ids)
    here, evenly = scores(read(model, ids), ids), even(ids)
    there, plain = elsewhere()
    rows = [
        "| it looks at | head | on the articles | on this sentence |",
        "|:--|:--|:--|:--|",
    ]
    for name in HABITS:
        layer, head = best(there[name])
        articles = measured(there[name][layer, head], plain[name])
        cells = f"{articles} | {measured(here[name][layer, head], evenly[name])}"
        rows.append(f"| {name} | layer {layer}, head {head} | {cells} |")
    return "\n".join(rows)


def measured(score, evenly):
    """Return a score beside that of a head that looks evenly, in percent."""
    text = f"{100 * float(score):.0f}~% (even:~{100 * float(evenly):.0f}~%)"
    return text.replace("~", "\N{NO-BREAK SPACE}")


def setup(app):
    """Register with Sphinx."""
    app.add_directive("house-explorer", HouseExplorer)
    app.add_directive("house-habits", HouseHabits)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
