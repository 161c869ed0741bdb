"""Typical wrong answers to the exercises of lesson 3.4, each with its message."""

import re
from functools import partial

from minitransformer.course import grade

from . import bank
from .bank import WrongAnswer

NAME = "3_4_sparse_distributed_memory"
changed = partial(bank.changed, NAME)

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="cosine_at",
        slip="counts a wrong sign once",
        source=changed("cosine_at", "1 - 2 * distance / n", "1 - distance / n"),
        message="by how much does one wrong sign count?",
    ),
    WrongAnswer(
        exercise="cosine_at",
        slip="turns the direction around",
        source=changed("cosine_at", "1 - 2 * distance / n", "2 * distance / n - 1"),
        message="do they point the same way?",
    ),
    WrongAnswer(
        exercise="cosine_at",
        slip="divides without the rest",
        source=changed("cosine_at", "2 * distance / n", "2 * distance // n"),
        message="did you divide whole numbers as such?",
    ),
    WrongAnswer(
        exercise="memory_read",
        slip="takes a ball without its rim when it writes",
        source=changed("memory_read", "/ 2 <= radius  # [r, m]", "/ 2 < radius"),
        message="Is the ball without its rim?",
    ),
    WrongAnswer(
        exercise="memory_read",
        slip="lets a later value replace an earlier one",
        source="""
def memory_read(locations, keys, values, query, radius):
    held = {}
    for i, x in enumerate(locations):
        for k, v in zip(keys, values):
            if (x != k).sum() <= radius:
                held[i] = v
    near = [v for i, v in held.items() if (locations[i] != query).sum() <= radius]
    return np.mean(near, axis=0) if near else np.zeros(values.shape[1])
""",
        message="was one overwritten?",
    ),
    WrongAnswer(
        exercise="memory_read",
        slip="divides by the number of locations read",
        source=changed("memory_read", "total = counts.sum()", "total = active.sum()"),
        message="how many values is that?",
    ),
    WrongAnswer(
        exercise="memory_read",
        slip="reads all locations",
        source=changed("memory_read", "@ query) / 2 <= radius", "@ query) / 2 <= n"),
        message="do you read near the query only?",
    ),
    WrongAnswer(
        exercise="memory_read",
        slip="divides by nothing",
        source=changed("memory_read", "max(total, 1)", "total"),
        message="what is 0 / 0?",
    ),
    WrongAnswer(
        exercise="memory_read",
        slip="averages each location before it adds them up",
        source="""
def memory_read(locations, keys, values, query, radius):
    means = []
    for x in locations:
        held = [v for k, v in zip(keys, values) if (x != k).sum() <= radius]
        if held and (x != query).sum() <= radius:
            means.append(np.mean(held, axis=0))
    return np.mean(means, axis=0) if means else np.zeros(values.shape[1])
""",
        message="does each value count as often as read?",
    ),
    WrongAnswer(
        exercise="overlap",
        slip="leaves out the rim",
        source=changed(
            "overlap",
            "wrong + first <= radius and wrong + second <= radius",
            "wrong + first < radius and wrong + second < radius",
        ),
        message="a corner and its three neighbors",
    ),
    WrongAnswer(
        exercise="overlap",
        slip="asks for one ball only",
        source=changed(
            "overlap",
            "wrong + first <= radius and wrong + second <= radius",
            "wrong + first <= radius",
        ),
        message="is every vector in BOTH balls?",
    ),
    WrongAnswer(
        exercise="overlap",
        slip="asks for either ball",
        source=changed("overlap", "<= radius and", "<= radius or"),
        message="is every vector in BOTH balls?",
    ),
    WrongAnswer(
        exercise="overlap",
        slip="leaves the signs that the centers share all right",
        source="""
def overlap(n, radius, distance):
    ways = [math.comb(distance, k) for k in range(distance + 1)]
    near = [w for k, w in enumerate(ways) if max(k, distance - k) <= radius]
    return sum(near) if distance else sum(math.comb(n, k) for k in range(radius + 1))
""",
        message="in how many ways are the shared signs wrong?",
    ),
    WrongAnswer(
        exercise="overlap",
        slip="counts with floats",
        source=changed("overlap", "return count", "return float(count)"),
        message="did you leave whole numbers?",
    ),
    WrongAnswer(
        exercise="overlap",
        slip="goes through floats on the way",
        source=changed("overlap", "return count", "return int(float(count))"),
        message="is it exact?",
    ),
    WrongAnswer(
        exercise="beta",
        slip="fits over the distance",
        source=changed("beta", "1 - 2 * v / n for v", "float(v) for v"),
        message="weights grow with the cosine",
    ),
    WrongAnswer(
        exercise="beta",
        slip="takes the logarithm to the base two",
        source=changed("beta", "math.log(", "math.log2("),
        message="Is the log natural?",
    ),
    WrongAnswer(
        exercise="beta",
        slip="divides the covariance by k - 1 and the variance by k",
        source=changed(
            "beta",
            "return float(x @ (y - y.mean()) / (x @ x))",
            "return float(np.cov(x, y)[0, 1] / np.var(x))",
        ),
        message="divided by the same number?",
    ),
    WrongAnswer(
        exercise="beta",
        slip="draws the line through the origin",
        source=changed("beta", "    x -= x.mean()\n", "").replace("y - y.mean()", "y"),
        message="has your line an intercept?",
    ),
    WrongAnswer(
        exercise="beta",
        slip="takes the logarithm of zero",
        source=changed("beta", " if counts[v] > 0", ""),
        message="math domain error",
    ),
    WrongAnswer(
        exercise="beta",
        slip="counts a zero as a very small weight",
        source=changed("beta", " if counts[v] > 0", "").replace(
            "math.log(counts[v])", "math.log(counts[v] or 1e-9)"
        ),
        message="what becomes of the zeros?",
    ),
    WrongAnswer(
        exercise="beta",
        slip="gives NumPy numbers that are too large for it",
        source=changed(
            "beta",
            "np.array([math.log(counts[v]) for v in kept])",
            "np.log(np.array([float(counts[v]) for v in kept]))",
        ),
        message="too large to convert to float",
    ),
    WrongAnswer(
        exercise="beta",
        slip="looks at the two ends only",
        source="""
def beta(counts):
    n = len(counts) - 1
    kept = [v for v in range(n + 1) if counts[v] > 0]
    fall = math.log(counts[kept[0]]) - math.log(counts[kept[-1]])
    return fall * n / 2 / (kept[-1] - kept[0]) if kept[-1] != 2 else fall * n
""",
        message="do all points count alike?",
    ),
    WrongAnswer(
        exercise="memory_attention",
        slip="counts a wrong sign twice",
        source=changed("memory_attention", "unit_key.T) / 2", "unit_key.T)"),
        message="is a wrong sign one of distance, or two?",
    ),
    WrongAnswer(
        exercise="memory_attention",
        slip="does not divide by the sum",
        source=changed("memory_attention", " / np.where(total > 0, total, 1)", ""),
        message="do the weights add up to 1?",
    ),
    WrongAnswer(
        exercise="memory_attention",
        slip="leaves the keys as long as they are",
        source=changed(
            "memory_attention",
            "key / np.linalg.norm(key, axis=1, keepdims=True)",
            "key / np.sqrt(key.shape[1])",
        ),
        message="does only its direction count?",
    ),
    WrongAnswer(
        exercise="memory_attention",
        slip="leaves the queries as long as they are",
        source=changed(
            "memory_attention",
            "query / np.linalg.norm(query, axis=1, keepdims=True)",
            "query / np.sqrt(query.shape[1])",
        ),
        message="does its length matter?",
    ),
    WrongAnswer(
        exercise="memory_attention",
        slip="rounds to whole distances",
        source=changed(
            "memory_attention", "np.interp(distance,", "np.interp(np.rint(distance),"
        ),
        message="what lies between distances 0 and 1?",
    ),
    WrongAnswer(
        exercise="memory_attention",
        slip="goes on with the last weight",
        source=changed("memory_attention", "-np.inf, logs)", "logs, logs)"),
        message="does it weigh nothing at all?",
    ),
    WrongAnswer(
        exercise="memory_attention",
        slip="divides zero by zero",
        source=changed("memory_attention", "np.where(total > 0, total, 1)", "total"),
        message="no key in reach gave nan",
    ),
    WrongAnswer(
        exercise="memory_attention",
        slip="does not subtract the greatest log weight",
        source=changed(
            "memory_attention", "logs - np.where(np.isfinite(peak), peak, 0)", "logs"
        ),
        message="is exp(-5000) a weight?",
    ),
)


class TestTheExercises(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS


def test_the_snippet_at_the_end_cleans_all_patterns():
    notebook = grade.read(bank.solution_of(NAME))
    names = {}
    for cell in notebook.cells:
        if grade.role(cell) in ("given", "answer"):
            exec(cell.source, names)
    exec(re.search("```python\n(.*?)```", notebook.cells[-1].source, re.S)[1], names)
    assert (names["noisy"] == names["patterns"]).all()
