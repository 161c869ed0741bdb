"""Typical wrong answers to the exercises of lesson 4.4, each with its message."""

import re
from functools import partial

import numpy as np
import pytest
import torch

from minitransformer.course import grade
from minitransformer.positions import contextual, fourier, rotary
from minitransformer.training import tasks

from . import bank
from .bank import WrongAnswer

NAME = "4_4_length_generalisation"
changed = partial(bank.changed, NAME)

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="stop_unseen",
        slip="drops the pairs instead of stopping them",
        source="""
def stop_unseen(freqs, train_len):
    return freqs[freqs * train_len >= 2 * np.pi]
""",
        message="does a pair that stands still lose its place?",
    ),
    WrongAnswer(
        exercise="stop_unseen",
        slip="stops the fast pairs",
        source=changed("stop_unseen", ">=", "<"),
        message="Why stop it?",
    ),
    WrongAnswer(
        exercise="stop_unseen",
        slip="is content with half a turn",
        source=changed("stop_unseen", "2 * np.pi", "np.pi"),
        message="How long is the whole circle?",
    ),
    WrongAnswer(
        exercise="stop_unseen",
        slip="stops nothing",
        source=changed("stop_unseen", ">= 2 * np.pi", ">= 0"),
        message="Was all of the circle seen?",
    ),
    WrongAnswer(
        exercise="stop_unseen",
        slip="has the length of the lesson built in",
        source=changed("stop_unseen", "* train_len", "* 64"),
        message="does a longer text not show more?",
    ),
    WrongAnswer(
        exercise="answers",
        slip="answers where the bit stands, one place late",
        source=changed(
            "answers",
            "[written if order == 3 else -100, -100]",
            "[-100, written if order == 3 else -100]",
        ),
        message="Who says it, and when?",
    ),
    WrongAnswer(
        exercise="answers",
        slip="gives one answer for a pair",
        source=changed("answers", "else -100, -100]", "else -100]"),
        message="Is there one for each?",
    ),
    WrongAnswer(
        exercise="answers",
        slip="answers at every order",
        source=changed("answers", "written if order == 3 else -100", "written"),
        message="is anything asked at w or at its bit?",
    ),
    WrongAnswer(
        exercise="answers",
        slip="remembers what was to be ignored",
        source=changed("answers", "order == 2", "order in (2, 4)"),
        message="Does i write?",
    ),
    WrongAnswer(
        exercise="answers",
        slip="keeps the first bit",
        source=changed("answers", "order == 2", "order == 2 and written is None"),
        message="Which bit was written *last*?",
    ),
    WrongAnswer(
        exercise="answers",
        slip="copies the bit after r",
        source=changed("answers", "[written if", "[bit if"),
        message="Did you copy it?",
    ),
    WrongAnswer(
        exercise="answers",
        slip="writes what was read",
        source="""
def answers(ids):
    written, out = None, []
    for order, bit in zip(ids[::2], ids[1::2]):
        if order == 2:
            written = bit
        out += [written if order == 3 else -100, -100]
        if order == 3:
            written = bit
    return out
""",
        message="Does r write?",
    ),
    WrongAnswer(
        exercise="judge",
        slip="walks along the seeds",
        source=changed("judge", "zip(a.T, b.T", "zip(a, b"),
        message="Is there a word for each length?",
    ),
    WrongAnswer(
        exercise="judge",
        slip="takes the lower for the winner",
        source=changed("judge", "x.min() > y.max()", "x.max() < y.min()"),
        message="all seeds of a are above all of b. Who wins?",
    ),
    WrongAnswer(
        exercise="judge",
        slip="knows only one winner",
        source=changed("judge", "y.min() > x.max()", "False"),
        message="all seeds of b are above all of a. Who wins?",
    ),
    WrongAnswer(
        exercise="judge",
        slip="compares the means",
        source=changed("judge", "x.min() > y.max()", "x.mean() > y.mean()"),
        message="Is 0.4 above 0.5?",
    ),
    WrongAnswer(
        exercise="judge",
        slip="compares seed with seed",
        source=changed("judge", "x.min() > y.max()", "(x > y[: len(x)]).all()"),
        message="Is 0.4 above 0.5?",
    ),
    WrongAnswer(
        exercise="judge",
        slip="lets a tie win",
        source=changed("judge", "x.min() > y.max()", "x.min() >= y.max()"),
        message="Is a tie a win?",
    ),
    WrongAnswer(
        exercise="judge",
        slip="leaves nan open",
        source=changed("judge", "np.isnan(x).any() or np.isnan(y).any()", "False"),
        message="nan in a gave open",
    ),
    WrongAnswer(
        exercise="judge",
        slip="looks for nan in one of the two",
        source=changed("judge", " or np.isnan(y).any()", ""),
        message="nan in b gave open",
    ),
    WrongAnswer(
        exercise="judge",
        slip="leaves out the last seeds of the longer",
        source=changed(
            "judge", "for x, y in", "for x, y in ((p[:2], q[:2]) for p, q in"
        ).replace("strict=True):", "strict=True)):"),
        message="Was each compared with each?",
    ),
    WrongAnswer(
        exercise="counted",
        slip="counts keys that come later",
        source=changed("counted", "    gates = np.tril(gates)\n", ""),
        message="Which keys may it see?",
    ),
    WrongAnswer(
        exercise="counted",
        slip="leaves out the query's own gate",
        source=changed("counted", "np.tril(gates)", "np.tril(gates, -1)"),
        message="Is its own gate in the sum?",
    ),
    WrongAnswer(
        exercise="counted",
        slip="counts from the front",
        source=changed(
            "counted",
            "np.cumsum(gates[:, ::-1], axis=1)[:, ::-1]",
            "np.cumsum(gates, axis=1)",
        ),
        message="Where does it start?",
    ),
    WrongAnswer(
        exercise="counted",
        slip="returns the gates, not their sums",
        source=changed(
            "counted", "np.cumsum(gates[:, ::-1], axis=1)[:, ::-1]", "gates"
        ),
        message="are all gates in it?",
    ),
    WrongAnswer(
        exercise="counted",
        slip="leaves the sums at later keys",
        source="""
def counted(query, key):
    gates = np.tril(1 / (1 + np.exp(-query @ key.T / np.sqrt(query.shape[1]))))
    sums = np.cumsum(gates, axis=1)
    return sums[:, -1:] - sums + gates + np.triu(sums, 1)
""",
        message="Should it not be 0?",
    ),
    WrongAnswer(
        exercise="counted",
        slip="forgets the root of E",
        source=changed("counted", " / np.sqrt(query.shape[1])", ""),
        message="Is it scaled?",
    ),
    WrongAnswer(
        exercise="counted",
        slip="divides by E, not by its root",
        source=changed("counted", "np.sqrt(query.shape[1])", "query.shape[1]"),
        message="Is it scaled?",
    ),
    WrongAnswer(
        exercise="counted",
        slip="lets keys open gates for queries",
        source=changed("counted", "query @ key.T", "key @ query.T"),
        message="Whose gates?",
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


@pytest.mark.parametrize("length", [8, 64, 1000])
def test_the_stopped_pairs_are_those_that_the_package_drops(length):
    freqs = rotary.frequencies(16)
    stopped = answers()["stop_unseen"](freqs.numpy(), length)
    kept = fourier.series(1, 16, train_len=length).freqs
    assert np.array_equal(stopped[stopped > 0], kept.numpy())


def test_the_answers_are_those_of_the_task():
    ids, target = tasks.flip_flop(20, 40, torch.Generator().manual_seed(0))
    for row, wanted in zip(ids.tolist(), target.tolist(), strict=True):
        assert answers()["answers"](row) == wanted


def test_the_positions_are_those_of_the_package():
    query, key = np.random.default_rng(0).standard_normal((2, 9, 4))
    gates = 1 / (1 + np.exp(-query @ key.T / 2))
    wanted = contextual.naive_positions(gates)
    assert np.allclose(answers()["counted"](query, key), wanted)


def test_the_snippet_at_the_end_shows_the_leak(capsys):
    last = grade.read(bank.solution_of(NAME)).cells[-1].source
    source = re.search("```python\n(.*?)```", last, re.S)[1]
    exec(source, answers())
    first = float(capsys.readouterr().out.split()[-1])
    assert first > 2 * 16
