"""Typical wrong answers to the exercises of lesson 7.5, each with its message."""

from functools import partial

from . import bank
from .bank import WrongAnswer

NAME = "7_5_linear_and_low_bit"
changed = partial(bank.changed, NAME)

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="join",
        slip="keeps the first part only",
        source=changed("join", " + second\n", "\n"),
        message="Are both in?",
    ),
    WrongAnswer(
        exercise="join",
        slip="fades both states",
        source=changed("join", "* first + second", "* (first + second)"),
        message="Who fades the second once more?",
    ),
    WrongAnswer(
        exercise="join",
        slip="fades by the first part's length",
        source=changed("join", "**second_length", "**first_length"),
        message="Which steps?",
    ),
    WrongAnswer(
        exercise="join",
        slip="fades once a part, not once a token",
        source=changed("join", "decay**second_length", "decay"),
        message="How often?",
    ),
    WrongAnswer(
        exercise="int8_scores",
        slip="multiplies in eight bits",
        source=changed(
            "int8_scores",
            "np.rint(query / q_step), np.rint(key / k_step)",
            "(np.rint(x).astype(np.int8) for x in (query / q_step, key / k_step))",
        ),
        message="not 16129. 8 bits?",
    ),
    WrongAnswer(
        exercise="int8_scores",
        slip="forgets the steps",
        source=changed("int8_scores", " * q_step * k_step", ""),
        message="are the steps in it?",
    ),
    WrongAnswer(
        exercise="int8_scores",
        slip="does not scale the scores",
        source=changed("int8_scores", " / np.sqrt(query.shape[1])", ""),
        message="where is sqrt(E)?",
    ),
    WrongAnswer(
        exercise="int8_scores",
        slip="cuts off instead of rounding",
        source=changed("int8_scores", "np.rint(query", "np.trunc(query"),
        message="do you round to the nearest, or cut off?",
    ),
    WrongAnswer(
        exercise="int8_scores",
        slip="leaves the mean in the keys",
        source=changed("int8_scores", "    key = key - key.mean(axis=0)\n", ""),
        message="Which mean?",
    ),
    WrongAnswer(
        exercise="in_blocks",
        slip="looks ahead inside a block",
        source=changed("in_blocks", "gap >= 0", "gap < 99"),
        message="Who sees the future?",
    ),
    WrongAnswer(
        exercise="in_blocks",
        slip="does not fade inside a block",
        source=changed("in_blocks", "decay ** np.abs(gap)", "1.0"),
        message="Fades inside a block?",
    ),
    WrongAnswer(
        exercise="in_blocks",
        slip="attends within blocks only",
        source=changed("in_blocks", " + before * (q @ state)", ""),
        message="Does the second read the state?",
    ),
    WrongAnswer(
        exercise="in_blocks",
        slip="reads the state one step too fresh",
        source=changed("in_blocks", "(i[:, None] + 1)", "i[:, None]"),
        message="8 ends a block",
    ),
    WrongAnswer(
        exercise="in_blocks",
        slip="takes in all keys of a block as if they were new",
        source=changed("in_blocks", "(left * k).T", "k.T"),
        message="Age in its own block?",
    ),
    WrongAnswer(
        exercise="in_blocks",
        slip="lets nothing fade from block to block",
        source=changed("in_blocks", "decay ** len(q) * state", "state"),
        message="Does the state fade?",
    ),
    WrongAnswer(
        exercise="in_blocks",
        slip="takes a power for each token of the text",
        source=changed(
            "in_blocks",
            "decay ** np.abs(gap)",
            "decay ** (start + i[:, None]) * decay ** -(start + 1.0 * i)",
        ),
        message="Which power became so large?",
    ),
    WrongAnswer(
        exercise="dvalue",
        slip="walks forward",
        source=changed("dvalue", "reversed(range(len(query)))", "range(len(query))"),
        message="Which way do you walk?",
    ),
    WrongAnswer(
        exercise="dvalue",
        slip="fades what has just come in",
        source=changed("dvalue", "key[t] @ state", "decay * key[t] @ state"),
        message="Who fades before its turn?",
    ),
    WrongAnswer(
        exercise="dvalue",
        slip="exchanges queries and keys",
        source=changed("dvalue", "np.outer(query[t]", "np.outer(key[t]").replace(
            "key[t] @ state", "query[t] @ state"
        ),
        message="who reads what?",
    ),
)


class TestTheExercises(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS
