"""Typical wrong answers to the exercises of lesson 7.6, each with its message."""

from functools import partial

from . import bank
from .bank import WrongAnswer

NAME = "7_6_reading_a_roofline"
changed = partial(bank.changed, NAME)

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="least_seconds",
        slip="adds the two times",
        source=changed(
            "least_seconds",
            "max(operations / product, count / copy)",
            "operations / product + count / copy",
        ),
        message="can they not overlap?",
    ),
    WrongAnswer(
        exercise="least_seconds",
        slip="takes the shorter time",
        source=changed("least_seconds", "max(", "min("),
        message="few bytes: 0.1, not 2",
    ),
    WrongAnswer(
        exercise="least_seconds",
        slip="looks at arithmetic alone",
        source=changed(
            "least_seconds",
            "max(operations / product, count / copy)",
            "operations / product",
        ),
        message="Who waits for whom?",
    ),
    WrongAnswer(
        exercise="decode_intensity",
        slip="forgets the values",
        source=changed("decode_intensity", "2 * 2 * batch", "2 * batch"),
        message="and the product with the values?",
    ),
    WrongAnswer(
        exercise="decode_intensity",
        slip="counts keys and values alone",
        source=changed("decode_intensity", "2 * heads + 2", "2"),
        message="who reads the query, who writes the output?",
    ),
    WrongAnswer(
        exercise="decode_intensity",
        slip="forgets the bytes",
        source=changed("decode_intensity", "(numbers * itemsize)", "numbers"),
        message="in two bytes: 1.5, not 48 / 64",
    ),
    WrongAnswer(
        exercise="decode_intensity",
        slip="lets all sequences share their keys",
        source=changed("decode_intensity", "numbers = batch *", "numbers ="),
        message="Do they share their keys?",
    ),
    WrongAnswer(
        exercise="decode_intensity",
        slip="gives each head keys of its own",
        source=changed(
            "decode_intensity", "2 * kv_heads * kv_len", "2 * heads * kv_len"
        ),
        message="Whose keys?",
    ),
    WrongAnswer(
        exercise="batch_for",
        slip="counts the weights alone",
        source=changed("batch_for", "batch * k + k * n + batch * n", "k * n"),
        message="You said 1, not 2",
    ),
    WrongAnswer(
        exercise="batch_for",
        slip="returns the batch before",
        source=changed("batch_for", "return batch\n", "return batch - 1\n"),
        message="enough for 0.4. You said 0",
    ),
    WrongAnswer(
        exercise="batch_for",
        slip="gives up late, with the last batch it tried",
        source=changed("batch_for", "return 0", "return 1000"),
        message="never has 3. You said 1000, not 0",
    ),
)


class TestTheExercises(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS
