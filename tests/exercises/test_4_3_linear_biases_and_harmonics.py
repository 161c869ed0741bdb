"""Typical wrong answers to the exercises of lesson 4.3, each with its message."""

from functools import partial

from . import bank
from .bank import WrongAnswer

NAME = "4_3_linear_biases_and_harmonics"
changed = partial(bank.changed, NAME)

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="biased_weights",
        slip="lets a query see the future",
        source=changed(
            "biased_weights", "(distance >= 0) & (kv_pos >= 0)", "kv_pos >= 0"
        ),
        message="a query sees a key of its future",
    ),
    WrongAnswer(
        exercise="biased_weights",
        slip="has no bias",
        source=changed("biased_weights", "scores - slope * distance", "scores"),
        message="no bias yet?",
    ),
    WrongAnswer(
        exercise="biased_weights",
        slip="adds the distance",
        source=changed("biased_weights", "scores - slope", "scores + slope"),
        message="Which sign has the bias?",
    ),
    WrongAnswer(
        exercise="biased_weights",
        slip="takes the index for the position",
        source=changed(
            "biased_weights",
            "scores - slope * distance",
            "scores + slope * np.arange(len(kv_pos))",
        ),
        message="Index, or position?",
    ),
    WrongAnswer(
        exercise="biased_weights",
        slip="sees an empty slot",
        source=changed("biased_weights", " & (kv_pos >= 0)", ""),
        message="does somebody see an empty slot?",
    ),
    WrongAnswer(
        exercise="biased_weights",
        slip="overflows",
        source=changed(
            "biased_weights", "biased - biased.max(axis=1, keepdims=True)", "biased"
        ),
        message="can you shift before you exp?",
    ),
    WrongAnswer(
        exercise="biased_weights",
        slip="normalizes the columns",
        source=changed(
            "biased_weights",
            "weights / weights.sum(axis=1, keepdims=True)",
            "weights / weights.sum(axis=0, keepdims=True)",
        ),
        message="does each row sum to one?",
    ),
    WrongAnswer(
        exercise="head_slopes",
        slip="counts heads from 0",
        source=changed(
            "head_slopes",
            "/ power) for h in range(1, power + 1)",
            "/ power) for h in range(power)",
        ),
        message="does h start from 0?",
    ),
    WrongAnswer(
        exercise="head_slopes",
        slip="uses the formula for any number",
        source="""
def head_slopes(num_heads):
    return [2 ** (-8 * h / num_heads) for h in range(1, num_heads + 1)]
""",
        message="is 3 a power of two?",
    ),
    WrongAnswer(
        exercise="head_slopes",
        slip="fills up with slopes it has",
        source=changed("head_slopes", "higher[0::2]", "higher[1::2]"),
        message="which ones are new?",
    ),
    WrongAnswer(
        exercise="head_slopes",
        slip="sorts the slopes",
        source=changed(
            "head_slopes",
            "lower + higher[0::2][: num_heads - power]",
            "sorted(lower + higher[0::2][: num_heads - power], reverse=True)",
        ),
        message="is the order of the heads kept?",
    ),
    WrongAnswer(
        exercise="head_slopes",
        slip="returns the slopes of the power above",
        source=changed(
            "head_slopes", "lower + higher[0::2][: num_heads - power]", "higher"
        ),
        message="eight heads, 16 slopes",
    ),
    WrongAnswer(
        exercise="keys_needed",
        slip="returns an index",
        source=changed("keys_needed", " + 1", ""),
        message="an index, or a number of keys?",
    ),
    WrongAnswer(
        exercise="keys_needed",
        slip="wants more than the share",
        source=changed("keys_needed", ">= share", "> share"),
        message="is that at least 0.5?",
    ),
    WrongAnswer(
        exercise="keys_needed",
        slip="takes the bias for a normalized one",
        source=changed(
            "keys_needed",
            "np.cumsum(weights / weights.sum())",
            "np.cumsum(np.exp(log_prior))",
        ),
        message="do you normalize?",
    ),
    WrongAnswer(
        exercise="keys_needed",
        slip="takes the heaviest keys first",
        source=changed(
            "keys_needed",
            "np.cumsum(weights / weights.sum())",
            "np.cumsum(np.sort(weights)[::-1] / weights.sum())",
        ),
        message="the heaviest, or the nearest?",
    ),
    WrongAnswer(
        exercise="keys_needed",
        slip="overflows",
        source=changed("keys_needed", "log_prior - log_prior.max()", "log_prior"),
        message="can you shift before you exp?",
    ),
    WrongAnswer(
        exercise="t5_buckets",
        slip="uses the logarithm for near distances, too",
        source=changed(
            "t5_buckets",
            "np.where(distance < exact, distance, np.minimum(far, num_buckets - 1))",
            "np.clip(far, 0, num_buckets - 1)",
        ),
        message="the near distances have one bucket each",
    ),
    WrongAnswer(
        exercise="t5_buckets",
        slip="rounds",
        source=changed("t5_buckets", "np.floor", "np.round"),
        message="do you round, or cut off?",
    ),
    WrongAnswer(
        exercise="t5_buckets",
        slip="has no last bucket",
        source=changed("t5_buckets", "np.minimum(far, num_buckets - 1)", "far"),
        message="the last bucket is 31",
    ),
    WrongAnswer(
        exercise="t5_buckets",
        slip="takes the usual sizes for granted",
        source=changed("t5_buckets", "math.log(max_distance / exact)", "math.log(8)"),
        message="Is a 16 or 128 fixed?",
    ),
    WrongAnswer(
        exercise="t5_buckets",
        slip="flattens",
        source=changed(
            "t5_buckets",
            "ratio = np.log(np.maximum(distance, 1)",
            "distance = distance.ravel()\n    ratio = np.log(np.maximum(distance, 1)",
        ),
        message="a matrix of distances gives (4,): is its shape kept?",
    ),
    WrongAnswer(
        exercise="biased_means",
        slip="has no bias",
        source=changed("biased_means", "faded = peak - slope", "faded = peak"),
        message="no bias yet?",
    ),
    WrongAnswer(
        exercise="biased_means",
        slip="does not let the denominator fade",
        source="""
def biased_means(scores, values, slope):
    total, weight, means = 0.0, 0.0, []
    for s, v in zip(scores, values):
        total = math.exp(-slope) * total + math.exp(s) * v
        weight = weight + math.exp(s)
        means.append(total / weight)
    return means
""",
        message="but what is their sum?",
    ),
    WrongAnswer(
        exercise="biased_means",
        slip="forgets the scores",
        source=changed(
            "biased_means", "scores.tolist(), values", "(0 * scores).tolist(), values"
        ),
        message="a score of log 2 makes up for one step",
    ),
    WrongAnswer(
        exercise="biased_means",
        slip="overflows",
        source="""
def biased_means(scores, values, slope):
    total, weight, means = 0.0, 0.0, []
    for s, v in zip(scores, values):
        total = math.exp(-slope) * total + np.exp(s) * v
        weight = math.exp(-slope) * weight + np.exp(s)
        means.append(total / weight)
    return means
""",
        message="Can you keep a running maximum?",
    ),
    WrongAnswer(
        exercise="biased_means",
        slip="starts the maximum from 0",
        source=changed(
            "biased_means", "-math.inf, 0.0, 0.0, []", "0.0, *np.zeros(2), []"
        ),
        message="What was the maximum at first?",
    ),
    WrongAnswer(
        exercise="biased_means",
        slip="keeps a window of the past",
        source="""
def biased_means(scores, values, slope):
    means = []
    for i in range(len(scores)):
        past = slice(max(0, i - 20), i + 1)
        bias = slope * np.arange(len(scores))[past]
        w = np.exp(scores[past] + bias - (scores[past] + bias).max())
        means.append(w @ values[past] / w.sum())
    return means
""",
        message="slope 0",
    ),
    WrongAnswer(
        exercise="biased_means",
        slip="sums over the past",
        source="""
def biased_means(scores, values, slope):
    means, places = [], np.arange(len(scores))
    for i in range(len(scores)):
        biased = scores[: i + 1] + slope * places[: i + 1]
        w = np.exp(biased - biased.max())
        means.append(w @ values[: i + 1] / w.sum())
    return means
""",
        message="Your code was stopped",
    ),
)


class TestTheExercises(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS
