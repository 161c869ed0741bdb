"""Typical wrong answers to the exercises of lesson 0, each with its message."""

from functools import partial

from . import bank
from .bank import WrongAnswer

NAME = "0_start_here"
changed = partial(bank.changed, NAME)

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="softmax",
        slip="divides without taking powers of e",
        source="""
def softmax(scores):
    return scores / scores.sum(axis=-1, keepdims=True)
""",
        message="did you take exp?",
    ),
    WrongAnswer(
        exercise="softmax",
        slip="works along the first axis",
        source="""
def softmax(scores):
    powers = np.exp(scores - scores.max(axis=0))
    return powers / powers.sum(axis=0)
""",
        message="should it not be the rows?",
    ),
    WrongAnswer(
        exercise="softmax",
        slip="loses the axis it works along",
        source="""
def softmax(scores):
    powers = np.exp(scores - scores.max())
    return powers / powers.sum(axis=-1)
""",
        message="is each divided by its own sum?",
    ),
    WrongAnswer(
        exercise="softmax",
        slip="divides everything by one sum",
        source="""
def softmax(scores):
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()
""",
        message="is each divided by its own sum?",
    ),
    WrongAnswer(
        exercise="softmax",
        slip="lets large scores overflow",
        source=changed("softmax", " - scores.max(axis=-1, keepdims=True)", ""),
        message="can exp(1000) be avoided?",
    ),
    WrongAnswer(
        exercise="softmax",
        slip="subtracts one maximum from all rows",
        source=changed("softmax", ".max(axis=-1, keepdims=True)", ".max()"),
        message="has each row its own max?",
    ),
    WrongAnswer(
        exercise="head_scores",
        slip="puts the keys before the queries",
        source=changed("head_scores", "->bhqk", "->bhkq"),
        message="Which comes first?",
    ),
    WrongAnswer(
        exercise="head_scores",
        slip="adds up the heads",
        source=changed("head_scores", "->bhqk", "->bqk"),
        message="which letters belong in the result?",
    ),
    WrongAnswer(
        exercise="head_scores",
        slip="lets a query meet the keys of all heads",
        source=changed("head_scores", "bhke", "bgke"),
        message="does it meet the keys of other heads?",
    ),
    WrongAnswer(
        exercise="head_scores",
        slip="reshapes where it should transpose",
        source="""
def head_scores(query, key):
    b, h, s, e = key.shape
    return query @ key.reshape(b, h, e, s)
""",
        message="is [b, h, q, k] query q times key k?",
    ),
    WrongAnswer(
        exercise="head_scores",
        slip="turns all axes around",
        source="""
def head_scores(query, key):
    return query @ key.T
""",
        message="matmul",
    ),
    WrongAnswer(
        exercise="masked_average",
        slip="returns the weights it averages with",
        source="""
def masked_average(weights, values, mask):
    left = weights * mask
    return left / left.sum(axis=-1, keepdims=True)
""",
        message="is there one vector for each query?",
    ),
    WrongAnswer(
        exercise="masked_average",
        slip="leaves out what the mask admits",
        source=changed("masked_average", "mask, weights, 0.0", "mask, 0.0, weights"),
        message="Is it False that you leave out?",
    ),
    WrongAnswer(
        exercise="masked_average",
        slip="does not scale what is left",
        source="""
def masked_average(weights, values, mask):
    return np.where(mask, weights, 0.0) @ values
""",
        message="do the weights left add up to 1?",
    ),
    WrongAnswer(
        exercise="masked_average",
        slip="scales before it masks",
        source="""
def masked_average(weights, values, mask):
    scaled = weights / weights.sum(axis=-1, keepdims=True)
    return np.where(mask, scaled, 0.0) @ values
""",
        message="do the weights left add up to 1?",
    ),
    WrongAnswer(
        exercise="masked_average",
        slip="divides every row by the sum of the first",
        source=changed(
            "masked_average",
            "admitted.sum(axis=-1, keepdims=True)",
            "admitted[0].sum()",
        ),
        message="has each row its own sum?",
    ),
    WrongAnswer(
        exercise="masked_average",
        slip="divides zero by zero",
        source=changed("masked_average", "np.where(total == 0, 1.0, total)", "total"),
        message="where no key is left?",
    ),
    WrongAnswer(
        exercise="masked_average",
        slip="falls back to all keys in an empty row",
        source="""
def masked_average(weights, values, mask):
    left = np.where(mask | ~mask.any(axis=-1, keepdims=True), weights, 0.0)
    return left / left.sum(axis=-1, keepdims=True) @ values
""",
        message="a query that sees no key gets zeros, does yours?",
    ),
    WrongAnswer(
        exercise="masked_average",
        slip="adds a small number to the sum",
        source=changed(
            "masked_average", "np.where(total == 0, 1.0, total)", "(total + 1e-9)"
        ),
        message="do you add to the sum?",
    ),
)


class TestTheExercises(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS
