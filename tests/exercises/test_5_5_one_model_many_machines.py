"""Typical wrong answers to the exercises of lesson 5.5, each with its message."""

import re
from functools import partial

import numpy as np
import pytest
import torch

from minitransformer.course import grade
from minitransformer.training import parallel

from . import bank
from .bank import WrongAnswer

NAME = "5_5_one_model_many_machines"
changed = partial(bank.changed, NAME)

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="rows_of",
        slip="deals the rows like cards",
        source=changed(
            "rows_of",
            "range(rank * each, (rank + 1) * each)",
            "range(rank, batch, size)",
        ),
        message="takes the *first* rows",
    ),
    WrongAnswer(
        exercise="rows_of",
        slip="gives all rows to all",
        source=changed(
            "rows_of", "range(rank * each, (rank + 1) * each)", "range(batch)"
        ),
        message="is every row there, once?",
    ),
    WrongAnswer(
        exercise="rows_of",
        slip="begins with the last process",
        source=changed(
            "rows_of",
            "range(rank * each, (rank + 1) * each)",
            "range((size - 1 - rank) * each, (size - rank) * each)",
        ),
        message="who takes the first rows?",
    ),
    WrongAnswer(
        exercise="rows_of",
        slip="drops what is left over",
        source=changed("rows_of", "if batch % size:", "if False:"),
        message="And the seventh row?",
    ),
    WrongAnswer(
        exercise="combine",
        slip="adds up",
        source="""
def combine(gradients, counts):
    return gradients.sum(axis=0)
""",
        message="a sum. And the mean?",
    ),
    WrongAnswer(
        exercise="combine",
        slip="takes the mean of means",
        source="""
def combine(gradients, counts):
    return gradients.mean(axis=0)
""",
        message="does one target weigh as much as three?",
    ),
    WrongAnswer(
        exercise="combine",
        slip="multiplies nan by zero",
        source="""
def combine(gradients, counts):
    return np.asarray(counts) @ gradients / np.sum(counts)
""",
        message="what is 0 times nan?",
    ),
    WrongAnswer(
        exercise="combine",
        slip="lets who has nothing count one",
        source="""
def combine(gradients, counts):
    counts = np.maximum(counts, 1)
    return counts @ np.nan_to_num(gradients) / counts.sum()
""",
        message="has no say",
    ),
    WrongAnswer(
        exercise="tokens_to_hide",
        slip="sends everything twice, however many there are",
        source=changed("tokens_to_hide", " * (size - 1) / size", ""),
        message="Does each send all of it, twice?",
    ),
    WrongAnswer(
        exercise="tokens_to_hide",
        slip="counts half of the ring",
        source=changed("tokens_to_hide", "2 * (size - 1)", "(size - 1)"),
        message="a ring has two halves",
    ),
    WrongAnswer(
        exercise="tokens_to_hide",
        slip="divides by the speed",
        source=changed("tokens_to_hide", "sending * speed / 6", "sending * 6 / speed"),
        message="More tokens, or fewer?",
    ),
    WrongAnswer(
        exercise="tokens_to_hide",
        slip="takes numbers for bytes",
        source=changed("tokens_to_hide", " * width / bandwidth", " / bandwidth"),
        message="four bytes at four bytes a second?",
    ),
    WrongAnswer(
        exercise="tokens_to_hide",
        slip="always says what two say",
        source=changed("tokens_to_hide", "(size - 1) / size", "min(size - 1, 1) / 2"),
        message="four processes send",
    ),
    WrongAnswer(
        exercise="one_round",
        slip="replaces from the start",
        source=changed(
            "one_round", "held[to, chunk] + message if adding else message", "message"
        ),
        message="Is it added to 10?",
    ),
    WrongAnswer(
        exercise="one_round",
        slip="adds to the end",
        source=changed("one_round", " if adding else message", ""),
        message="is anything added?",
    ),
    WrongAnswer(
        exercise="one_round",
        slip="always sends the chunk of its own number",
        source=changed("one_round", "(rank - turn if adding", "(rank if adding"),
        message="what does process 0 send in round 1?",
    ),
    WrongAnswer(
        exercise="one_round",
        slip="keeps the message to itself",
        source=changed("one_round", "to = (rank + 1) % size", "to = rank"),
        message="Is it added to 10?",
    ),
    WrongAnswer(
        exercise="one_round",
        slip="begins the second half a chunk early",
        source=changed("one_round", "rank + 1 - (turn", "rank - (turn"),
        message="all the same sum?",
    ),
)


class TestTheExercises(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS


def answers():
    """The names that the solution defines."""
    names = {}
    for cell in grade.read(bank.solution_of(NAME)).cells:
        if grade.role(cell) in ("given", "answer"):
            exec(cell.source, names)
    return names


def test_the_rows_are_those_of_the_package():
    for rank in range(3):
        wanted = parallel.share(torch.arange(12), parallel.World("ddp", rank, 3))
        assert answers()["rows_of"](rank, 3, 12) == wanted.tolist()


def test_the_tokens_are_where_both_take_as_long():
    tokens = answers()["tokens_to_hide"](1e14, 1e10, 8, 4)
    sending = parallel.all_reduce_seconds(4 * 1e6, 8, delay=0.0, bandwidth=1e10)
    assert 6 * 1e6 * tokens / 1e14 == pytest.approx(sending)


def test_all_rounds_are_the_ring_of_the_package():
    held = np.random.default_rng(0).normal(size=(4, 4, 2))
    wanted, _ = parallel.naive_ring_all_reduce(held.reshape(4, 8))
    for turn in range(6):
        held = answers()["one_round"](held, turn)
    np.testing.assert_allclose(held.reshape(4, 8), wanted, atol=1e-12)


def test_the_snippet_at_the_end_agrees(capsys):
    last = grade.read(bank.solution_of(NAME)).cells[-1].source
    exec(re.search("```python\n(.*?)```", last, re.S)[1], answers())
    assert float(capsys.readouterr().out.split()[0]) < 1e-12
