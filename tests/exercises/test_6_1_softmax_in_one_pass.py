"""Typical wrong answers to the exercises of lesson 6.1, each with its message."""

import re
from functools import partial

from minitransformer.course import grade

from . import bank
from .bank import WrongAnswer

NAME = "6_1_softmax_in_one_pass"
changed = partial(bank.changed, NAME)

SUBTRACTS = """
def window_attention(scores, values, size):
    total, mixed, rows = 0.0, np.zeros(values.shape[1]), []
    powers = np.exp(scores - scores.max())
    for i, power in enumerate(powers):
        total, mixed = total + power, mixed + power * values[i]
        if i >= size:
            old = i - size
            total, mixed = total - powers[old], mixed - powers[old] * values[old]
        with np.errstate(invalid="ignore", divide="ignore"):
            rows.append(mixed / total)
    return np.array(rows)
"""
AFRESH = """
def window_attention(scores, values, size):
    rows = []
    for i in range(len(scores)):
        window = (-math.inf, 0.0, np.zeros(values.shape[1]))
        for j in range(max(0, i + 1 - size), i + 1):
            window = join(window, (float(scores[j]), 1.0, values[j]))
        rows.append(window[2] / window[1])
    return np.array(rows)
"""

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="normalizer",
        slip="does not mend the old total",
        source=changed("normalizer", "total * math.exp(peak - higher)", "total"),
        message="what became of the old total?",
    ),
    WrongAnswer(
        exercise="normalizer",
        slip="mends the wrong way round",
        source=changed(
            "normalizer",
            "math.exp(peak - higher)",
            "(math.exp(higher - peak) if peak > -math.inf else 0.0)",
        ),
        message="what became of the old total?",
    ),
    WrongAnswer(
        exercise="normalizer",
        slip="forgets the total when the peak rises",
        source=changed(
            "normalizer", "total * math.exp(peak - higher)", "total * (peak == higher)"
        ),
        message="which way round is m - m'?",
    ),
    WrongAnswer(
        exercise="normalizer",
        slip="counts each score as one",
        source=changed("normalizer", "math.exp(score - higher)", "1.0"),
        message="in which base is the new one?",
    ),
    WrongAnswer(
        exercise="normalizer",
        slip="subtracts nothing",
        source=changed(
            "normalizer",
            "math.exp(peak - higher) + math.exp(score - higher)",
            "1 + math.exp(score)",
        ),
        message="Is each of them e to 0?",
    ),
    WrongAnswer(
        exercise="normalizer",
        slip="begins with the peak 0",
        source=changed(
            "normalizer", "peak, total = -math.inf, 0.0", "peak, total = 0.0, 0.0"
        ),
        message="what is the peak of no score?",
    ),
    WrongAnswer(
        exercise="normalizer",
        slip="subtracts minus infinity from itself",
        source=changed("normalizer", "if higher > -math.inf:", "if True:"),
        message="what is -inf minus -inf?",
    ),
    WrongAnswer(
        exercise="combine",
        slip="adds without a common base",
        source=changed(
            "combine",
            "np.exp(a[0] - base), np.exp(b[0] - base)",
            "1.0, 1.0",
        ),
        message="In which base is it added?",
    ),
    WrongAnswer(
        exercise="combine",
        slip="mends the first alone",
        source=changed("combine", "np.exp(b[0] - base)", "1.0"),
        message="the second one has the lower peak",
    ),
    WrongAnswer(
        exercise="combine",
        slip="forgets to mend the mixture",
        source=changed("combine", "share_a * a[2] + share_b * b[2]", "a[2] + b[2]"),
        message="is the mixture mended like the total?",
    ),
    WrongAnswer(
        exercise="combine",
        slip="divides at once",
        source=changed(
            "combine",
            "share_a * a[2] + share_b * b[2]",
            "(share_a * a[2] + share_b * b[2]) / (share_a * a[1] + share_b * b[1])",
        ),
        message="was something divided?",
    ),
    WrongAnswer(
        exercise="combine",
        slip="takes the mean of the totals",
        source=changed(
            "combine",
            "share_a * a[1] + share_b * b[1]",
            "(share_a * a[1] + share_b * b[1]) / 2",
        ),
        message="are they added?",
    ),
    WrongAnswer(
        exercise="combine",
        slip="adds the peaks",
        source=changed("combine", "return peak,", "return a[0] + b[0] + 1,"),
        message="is it their maximum?",
    ),
    WrongAnswer(
        exercise="combine",
        slip="subtracts minus infinity from itself",
        source=changed("combine", "0.0 if peak == -np.inf else peak", "peak"),
        message="nothing and nothing gave nan",
    ),
    WrongAnswer(
        exercise="prefix_attention",
        slip="forgets to mend the mixture",
        source=changed("prefix_attention", "shrink * mixed + weight", "mixed + weight"),
        message="What is mended when the peak rises?",
    ),
    WrongAnswer(
        exercise="prefix_attention",
        slip="goes on with the divided mixture",
        source=changed(
            "prefix_attention",
            "rows.append(mixed / total)",
            "mixed = mixed / total\n        rows.append(mixed)",
        ),
        message="What is mended when the peak rises?",
    ),
    WrongAnswer(
        exercise="prefix_attention",
        slip="does not divide",
        source=changed(
            "prefix_attention", "rows.append(mixed / total)", "rows.append(mixed)"
        ),
        message="is it divided?",
    ),
    WrongAnswer(
        exercise="prefix_attention",
        slip="subtracts the peak of the whole row",
        source="""
def prefix_attention(scores, values):
    powers = np.exp(scores - scores.max())[:, None]
    with np.errstate(invalid="ignore"):
        return np.cumsum(powers * values, axis=0) / np.cumsum(powers, axis=0)
""",
        message="is not the peak of the first one",
    ),
    WrongAnswer(
        exercise="prefix_attention",
        slip="lets every key see all keys",
        source="""
def prefix_attention(scores, values):
    return np.repeat((softmax(scores) @ values)[None], len(scores), axis=0)
""",
        message="whom does the first key see?",
    ),
    WrongAnswer(
        exercise="prefix_attention",
        slip="divides by the total of all",
        source="""
def prefix_attention(scores, values):
    return softmax(scores)[:, None] * values
""",
        message="whom does the first key see?",
    ),
    WrongAnswer(
        exercise="window_attention",
        slip="subtracts what leaves",
        source=SUBTRACTS,
        message="Can what was rounded away come back by a subtraction?",
    ),
    WrongAnswer(
        exercise="window_attention",
        slip="adds up each window afresh",
        source=AFRESH,
        message="Your code was stopped",
    ),
    WrongAnswer(
        exercise="window_attention",
        slip="never drops a key",
        source=changed("window_attention", "== size:", "== -1:"),
        message="did 2 leave?",
    ),
    WrongAnswer(
        exercise="window_attention",
        slip="drops the newest of the old keys",
        source=changed("window_attention", "reversed(back)", "back"),
        message="did 2 leave?",
    ),
    WrongAnswer(
        exercise="window_attention",
        slip="makes the window one too wide",
        source=changed(
            "window_attention", "len(back) == size:", "len(back) == size + 1:"
        ),
        message="did 2 leave?",
    ),
    WrongAnswer(
        exercise="window_attention",
        slip="keeps the sum of the back when it is turned over",
        source=changed("window_attention", "back, back_sum = [], nothing", "back = []"),
        message="did 2 leave?",
    ),
    WrongAnswer(
        exercise="window_attention",
        slip="looks before the new key is in",
        source="""
def window_attention(scores, values, size):
    spans = [slice(max(0, i - size), max(i, 1)) for i in range(len(scores))]
    return np.array([softmax(scores[span]) @ values[span] for span in spans])
""",
        message="is 4 in already?",
    ),
)


class TestTheExercises(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS


def test_the_snippet_at_the_end_shows_a_root():
    notebook = grade.read(bank.solution_of(NAME))
    names = {}
    for cell in notebook.cells:
        if grade.role(cell) in ("given", "answer"):
            exec(cell.source, names)
    snippet = re.search("```python\n(.*?)```", notebook.cells[-1].source, re.S)[1]
    spreads = {}
    exec(
        snippet, names | {"print": lambda size, spread: spreads.update({size: spread})}
    )
    # means over 100 times as many numbers; the long ones differ in few windows
    assert spreads[100] > 4 * spreads[10_000]
