"""Typical wrong answers to the exercises of lesson 7.4, each with its message."""

from functools import partial

import pytest

from . import bank
from .bank import WrongAnswer

pytest.importorskip("triton")

NAME = "7_4_flash_backward"
changed = partial(bank.changed, NAME)

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="delta",
        slip="sums one of the two",
        source=changed("delta", "out * dout", "out"),
        message="What is summed, over what?",
    ),
    WrongAnswer(
        exercise="delta",
        slip="gives all programs the same rows",
        source=changed("delta", "tl.program_id(0) * 4 + tl", "tl"),
        message="rows 4 and 5 were not written: whose are they?",
    ),
    WrongAnswer(
        exercise="delta",
        slip="stores without a mask",
        source=changed(
            "delta", "tl.sum(out * dout, 1), row < rows)", "tl.sum(out * dout, 1))"
        ),
        message="Mask the store?",
    ),
    WrongAnswer(
        exercise="softmax_back",
        slip="takes the softmax of the block",
        source=changed("softmax_back", "torch.exp(s - lse[:, None])", "s.softmax(1)"),
        message="you divided by two",
    ),
    WrongAnswer(
        exercise="softmax_back",
        slip="forgets the lse",
        source=changed("softmax_back", "s - lse[:, None]", "s"),
        message="one of four keys: weight 1.0",
    ),
    WrongAnswer(
        exercise="softmax_back",
        slip="subtracts delta after the product",
        source=changed(
            "softmax_back",
            "p * (dout @ v.mT - delta[:, None])",
            "p * (dout @ v.mT) - delta[:, None]",
        ),
        message="What does p multiply?",
    ),
    WrongAnswer(
        exercise="softmax_back",
        slip="does not weigh",
        source=changed("softmax_back", "p * (dout", "(dout"),
        message="not 1/4 x 2",
    ),
    WrongAnswer(
        exercise="queries",
        slip="forgets the scale of the derivative",
        source=changed("queries", "dq * 0.25", "dq"),
        message="four times too large: the scale?",
    ),
    WrongAnswer(
        exercise="queries",
        slip="forgets delta",
        source=changed(
            "queries", "(tl.dot(do, v.T) - delta[:, None])", "tl.dot(do, v.T)"
        ),
        message="query 0 sees one key and cannot change: dq is not 0",
    ),
    WrongAnswer(
        exercise="queries",
        slip="forgets the mask",
        source=changed(
            "queries",
            "n + tl.arange(0, 4)[None, :] <= rows[:, None]",
            "n + tl.arange(0, 4)[None, :] >= 0",
        ),
        message="query 0 sees one key and cannot change: dq is not 0",
    ),
    WrongAnswer(
        exercise="queries",
        slip="keeps only the last block",
        source=changed("queries", "dq += tl.dot(ds, k)", "dq = tl.dot(ds, k)"),
        message="is each added to the last?",
    ),
    WrongAnswer(
        exercise="queries",
        slip="reads all keys",
        source=changed("queries", "range(0, start + 4, 4)", "range(0, length, 4)"),
        message="who reads the future?",
    ),
    WrongAnswer(
        exercise="keys",
        slip="turns the mask around",
        source=changed(
            "keys", "start + i <= rows[None, :]", "start + i >= rows[None, :]"
        ),
        message="one head: dv. Who sees which keys?",
    ),
    WrongAnswer(
        exercise="keys",
        slip="forgets the scale of the derivative",
        source=changed("keys", "dk * 0.25", "dk"),
        message="dk four times too large: scale?",
    ),
    WrongAnswer(
        exercise="keys",
        slip="forgets delta",
        source=changed("keys", "(tl.dot(v, do.T) - delta[None, :])", "tl.dot(v, do.T)"),
        message="dv is right and dk wrong: what is dS?",
    ),
    WrongAnswer(
        exercise="keys",
        slip="walks over all queries",
        source=changed("keys", "range(start, length, 4)", "range(0, length, 4)"),
        message="who sees nothing?",
    ),
    WrongAnswer(
        exercise="keys",
        slip="takes the first head only",
        source=changed("keys", "(h * length + n + i) * 16", "(n + i) * 16"),
        message="two heads: dv. Are both summed, each once?",
    ),
    WrongAnswer(
        exercise="keys",
        slip="takes delta of the first head",
        source=changed("keys", "delta_ptr + h * length + rows", "delta_ptr + rows"),
        message="two heads: dk. Whose lse and delta?",
    ),
)


class TestTheExercises(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS
