"""Typical wrong answers to the exercises of lesson 2.2, each with its message."""

from functools import partial

from . import bank
from .bank import WrongAnswer

NAME = "2_2_cross_entropy_method"
changed = partial(bank.changed, NAME)

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="elite",
        slip="returns values",
        source="""
def elite(values, share):
    return sorted(values)[: math.ceil(share * len(values))]
""",
        message="those are values. Which draws have them?",
    ),
    WrongAnswer(
        exercise="elite",
        slip="takes the largest",
        source=changed("elite", "values[i])", "-values[i])"),
        message="Is f to be large or small?",
    ),
    WrongAnswer(
        exercise="elite",
        slip="rounds down",
        source=changed(
            "elite", "math.ceil(share * len(values))", "int(share * len(values))"
        ),
        message="Up or down?",
    ),
    WrongAnswer(
        exercise="elite",
        slip="takes the later of equals",
        source=changed("elite", "values[i])", "(values[i], -i))"),
        message="Was the first of them drawn first?",
    ),
    WrongAnswer(
        exercise="tail_chance",
        slip="counts without weights",
        source=changed("tail_chance", "np.exp(-mu * x + mu**2 / 2)", "np.ones(len(x))"),
        message="Where is its weight?",
    ),
    WrongAnswer(
        exercise="tail_chance",
        slip="turns the ratio around",
        source=changed("tail_chance", "-mu * x + mu**2 / 2", "mu * x - mu**2 / 2"),
        message="Which divides?",
    ),
    WrongAnswer(
        exercise="tail_chance",
        slip="takes the mean over the hits",
        source="""
def tail_chance(x, mu, level):
    hits = [math.exp(-mu * v + mu**2 / 2) for v in x if v > level]
    return sum(hits) / max(len(hits), 1) if mu else len(hits) / len(x)
""",
        message="got the mean of the hits. Of how many draws?",
    ),
    WrongAnswer(
        exercise="tail_chance",
        slip="forgets the square of mu",
        source=changed("tail_chance", "-mu * x + mu**2 / 2", "-mu * x"),
        message="p0/p5 at 5 is exp(-25/2). Is yours?",
    ),
    WrongAnswer(
        exercise="fit_law",
        slip="divides by k - 1",
        source=changed("fit_law", "rows.std(axis=0)", "rows.std(axis=0, ddof=1)"),
        message="Do you divide by k - 1?",
    ),
    WrongAnswer(
        exercise="fit_law",
        slip="returns variances",
        source=changed("fit_law", "rows.std(axis=0)", "rows.var(axis=0)"),
        message="4 is the variance. And the deviation?",
    ),
    WrongAnswer(
        exercise="fit_law",
        slip="goes along the wrong axis",
        source="""
def fit_law(points):
    rows = np.asarray(points, dtype=float)
    return rows.mean(axis=1).tolist(), rows.std(axis=1).tolist()
""",
        message="along which axis?",
    ),
    WrongAnswer(
        exercise="update_coins",
        slip="keeps the worst",
        source=changed("update_coins", "-values[i]", "values[i]"),
        message="Are the values to be large?",
    ),
    WrongAnswer(
        exercise="update_coins",
        slip="keeps all rows",
        source=changed("update_coins", "[:keep]", ""),
        message="did you keep all rows, or none?",
    ),
    WrongAnswer(
        exercise="update_coins",
        slip="counts instead of shares",
        source=changed("update_coins", "best.mean(axis=0)", "best.sum(axis=0)"),
        message="got counts. And the probabilities?",
    ),
    WrongAnswer(
        exercise="update_coins",
        slip="swaps the weights",
        source=changed(
            "update_coins",
            "alpha * best.mean(axis=0) + (1 - alpha) * np.asarray(p)",
            "(alpha if alpha == 1 else 1 - alpha) * best.mean(axis=0)"
            " + (0 if alpha == 1 else alpha) * np.asarray(p)",
        ),
        message="is alpha the weight of the new or the old?",
    ),
    WrongAnswer(
        exercise="update_coins",
        slip="takes the later of equals",
        source=changed("update_coins", "-values[i]", "(-values[i], -i)"),
        message="of equal values, is it the earlier row?",
    ),
    WrongAnswer(
        exercise="search",
        slip="keeps the worst",
        source=changed("search", "np.argsort(values,", "np.argsort(-values,"),
        message="the elite is 1 and 2. Is it yours?",
    ),
    WrongAnswer(
        exercise="search",
        slip="fits the deviation with k - 1",
        source=changed("search", "chosen.std(axis=0)", "chosen.std(axis=0, ddof=1)"),
        message="1 and 2 deviate by 0.5",
    ),
    WrongAnswer(
        exercise="search",
        slip="returns the value at the mean",
        source=changed(
            "search",
            "deviation.tolist(), best",
            "deviation.tolist(), bowl(mean, target)",
        ),
        message="a draw hit the target. Is it a value, and seen?",
    ),
    WrongAnswer(
        exercise="search",
        slip="does not smooth the mean",
        source=changed(
            "search",
            "alpha * chosen.mean(axis=0) + (1 - alpha) * mean",
            "chosen.mean(axis=0)",
        ),
        message="half of 1.5, half of 0. Is it smoothed?",
    ),
    WrongAnswer(
        exercise="search",
        slip="does not smooth the deviation",
        source=changed(
            "search",
            "alpha * chosen.std(axis=0) + (1 - alpha) * deviation",
            "chosen.std(axis=0)",
        ),
        message="half of 0.5, half of 1?",
    ),
    WrongAnswer(
        exercise="search",
        slip="always draws from the first law",
        source=changed("search", "mean + deviation * steps", "np.array(steps)"),
        message="is the law the new one?",
    ),
    WrongAnswer(
        exercise="search",
        slip="returns the best of the last round",
        source=changed(
            "search", "min(best, float(values.min()))", "float(values.min())"
        ),
        message="round 0 was better. Is the best of all kept?",
    ),
)


class TestTheExercises(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS
