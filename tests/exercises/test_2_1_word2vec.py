"""Typical wrong answers to the exercises of lesson 2.1, each with its message."""

from functools import partial

from . import bank
from .bank import WrongAnswer

NAME = "2_1_word2vec"
changed = partial(bank.changed, NAME)

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="pmi",
        slip="counts bits",
        source=changed("pmi", "np.log(", "np.log2("),
        message="is ln meant?",
    ),
    WrongAnswer(
        exercise="pmi",
        slip="forgets that there is a total",
        source=changed("pmi", "count * count.sum()", "count"),
        message="what would chance alone give?",
    ),
    WrongAnswer(
        exercise="pmi",
        slip="takes the row's share twice",
        source=changed(
            "pmi",
            "count.sum(axis=0, keepdims=True)",
            "count.sum(axis=1, keepdims=True).T",
        ),
        message="the share of the row, and that of the column?",
    ),
    WrongAnswer(
        exercise="pmi",
        slip="adds one so that no count is zero",
        source=changed(
            "pmi", "with np", "count = np.maximum(count, 1e-9)\n    with np"
        ),
        message="what is ln 0?",
    ),
    WrongAnswer(
        exercise="step",
        slip="climbs",
        source="""
def step(V, U, i, j, noise, rate):
    new_V, new_U = V.copy(), U.copy()
    for word, truth in [(j, 1.0), *((n, 0.0) for n in noise)]:
        error = truth - 1 / (1 + np.exp(-V[i] @ U[word]))
        new_V[i] -= rate * error * U[word]
        new_U[word] -= rate * error * V[i]
    return new_V, new_U
""",
        message="nearer, or away?",
    ),
    WrongAnswer(
        exercise="step",
        slip="forgets the sigmoid",
        source=changed("step", "1 / (1 + np.exp(-V[i] @ U[word]))", "V[i] @ U[word]"),
        message="Is the step their difference?",
    ),
    WrongAnswer(
        exercise="step",
        slip="treats noise as true",
        source=changed("step", "(n, 0.0)", "(n, 1.0)"),
        message="u of a noise word went to",
    ),
    WrongAnswer(
        exercise="step",
        slip="writes a repeated noise word once",
        source="""
def step(V, U, i, j, noise, rate):
    new_V, new_U = V.copy(), U.copy()
    rows = np.array([j, *noise], dtype=int)
    error = 1 / (1 + np.exp(-U[rows] @ V[i])) - (np.arange(len(rows)) == 0)
    new_V[i] -= rate * error @ U[rows]
    new_U[rows] -= rate * error[:, None] * V[i]
    return new_V, new_U
""",
        message="2 is there twice. Counted twice?",
    ),
    WrongAnswer(
        exercise="step",
        slip="moves only the output vectors",
        source=changed("step", "new_V[i] -= rate * error * U[word]", "pass"),
        message="does it follow u?",
    ),
    WrongAnswer(
        exercise="step",
        slip="uses the new v for u",
        source=changed("step", "error * V[i]", "error * new_V[i]"),
        message="do you use the old one?",
    ),
    WrongAnswer(
        exercise="step",
        slip="moves u without the rate",
        source=changed("step", "new_V[i] -= rate * error", "new_V[i] -= error"),
        message="half the rate should halve the step",
    ),
    WrongAnswer(
        exercise="add_to_rows",
        slip="lets the last update win",
        source="""
def add_to_rows(table, rows, updates):
    result = table.copy()
    result[rows] += updates
    return result
""",
        message="where are the others?",
    ),
    WrongAnswer(
        exercise="add_to_rows",
        slip="groups before it sorts",
        source=changed("add_to_rows", 'np.argsort(rows, kind="stable")', "slice(None)"),
        message="do repeats count that lie apart?",
    ),
    WrongAnswer(
        exercise="add_to_rows",
        slip="replaces what was there",
        source=changed(
            "add_to_rows", "result[grouped[starts]] +=", "result[grouped[starts]] ="
        ),
        message="do you add or replace?",
    ),
    WrongAnswer(
        exercise="add_to_rows",
        slip="sorts the rows and not the updates",
        source=changed("add_to_rows", "updates[order]", "updates"),
        message="did sorting mix them up?",
    ),
    WrongAnswer(
        exercise="add_to_rows",
        slip="cannot do nothing",
        source=changed("add_to_rows", "if len(rows):", "if True:"),
        message="index",  # NumPy says so
    ),
    WrongAnswer(
        exercise="analogy",
        slip="never leaves anything out",
        source=changed("analogy", "if leave_out:", "if False:"),
        message="did you leave the given words out?",
    ),
    WrongAnswer(
        exercise="analogy",
        slip="always leaves them out",
        source=changed("analogy", "if leave_out:", "if True:"),
        message="may c be the answer here?",
    ),
    WrongAnswer(
        exercise="analogy",
        slip="goes the other way",
        source=changed("analogy", "unit[b] - unit[a]", "unit[a] - unit[b]"),
        message="is it b - a + c?",
    ),
    WrongAnswer(
        exercise="analogy",
        slip="compares by dot product",
        source=changed("analogy", "cosines = unit @", "cosines = vectors @"),
        message="cosine or dot product?",
    ),
    WrongAnswer(
        exercise="analogy",
        slip="subtracts vectors of any length",
        source=changed(
            "analogy",
            "(unit[b] - unit[a] + unit[c])",
            "(vectors[b] - vectors[a] + vectors[c])",
        ),
        message="with lengths divided out before?",
    ),
    WrongAnswer(
        exercise="codes",
        slip="reaches the heavier one by 0",
        source=changed("codes", '(node, "0"), (node, "1")', '(node, "1"), (node, "0")'),
        message="is the lighter one reached by 0?",
    ),
    WrongAnswer(
        exercise="codes",
        slip="goes by place",
        source=changed(
            "codes", "(light, left), (heavy, right) =", "first, second ="
        ).replace(
            "        above[left]",
            "        (light, left), (heavy, right) = sorted(\n"
            "            (first, second), key=lambda pair: pair[1]\n        )\n"
            "        above[left]",
        ),
        message="by weight, or by place?",
    ),
    WrongAnswer(
        exercise="codes",
        slip="writes the way from the leaf",
        source=changed("codes", "way = turn + way", "way = way + turn"),
        message="from the root, or the leaf?",
    ),
    WrongAnswer(
        exercise="codes",
        slip="takes the younger of equals",
        source=changed("codes", "(count, word) for", "(count, -word) for")
        .replace("(light, left), (heavy, right)", "(light, l), (heavy, r)")
        .replace(
            "above[left], above[right]",
            "left, right = abs(l), abs(r)\n        above[left], above[right]",
        )
        .replace("(light + heavy, node)", "(light + heavy, -node)"),
        message="is the older one lighter?",
    ),
    WrongAnswer(
        exercise="codes",
        slip="makes a chain",
        source="""
def codes(counts):
    first, *order = sorted(range(len(counts)), key=lambda word: (counts[word], word))
    ways, group, weight = [""] * len(counts), [first], counts[first]
    for word in order:
        word_is_lighter = (counts[word], -len(group)) < (weight, -1)
        for w in group:
            ways[w] = "01"[word_is_lighter] + ways[w]
        ways[word] = "10"[word_is_lighter]
        group, weight = [*group, word], weight + counts[word]
    return ways
""",
        message="chain or tree?",
    ),
)


class TestTheExercises(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS
