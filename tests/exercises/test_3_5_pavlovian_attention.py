"""Typical wrong answers to the exercises of lesson 3.5, each with its message."""

import re
from functools import partial

import numpy as np
import pytest
import torch

from minitransformer.attention.views import pavlovian
from minitransformer.course import grade

from . import bank
from .bank import WrongAnswer

NAME = "3_5_pavlovian_attention"
changed = partial(bank.changed, NAME)

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="trial",
        slip="swaps the axes of the memory",
        source="""
def trial(memory, key, value, rate):
    return memory.T + rate * np.outer(value - key @ memory, key)
""",
        message="is a row an axis of the key?",
    ),
    WrongAnswer(
        exercise="trial",
        slip="learns all of the surprise",
        source=changed("trial", "rate * ", ""),
        message="is only a share learned?",
    ),
    WrongAnswer(
        exercise="trial",
        slip="learns by Hebb's rule",
        source=changed("trial", "value - key @ memory", "value"),
        message="was 0.5 not expected of it already?",
    ),
    WrongAnswer(
        exercise="trial",
        slip="returns the change, not the memory",
        source=changed("trial", "return memory + ", "return "),
        message="is what it knew kept?",
    ),
    WrongAnswer(
        exercise="trial",
        slip="surprises each cue on its own",
        source="""
def trial(memory, key, value, rate):
    return memory + rate * key[:, None] * (value - memory)
""",
        message="what do both cues promise *together*?",
    ),
    WrongAnswer(
        exercise="inhibit",
        slip="takes meals away",
        source=changed("inhibit", "1.0 - strength", "-strength"),
        message="can you take away a meal?",
    ),
    WrongAnswer(
        exercise="inhibit",
        slip="feeds more, to be more disappointing",
        source=changed("inhibit", '("A", 1.0, 1)', '("A", 1.0 + strength, 1)'),
        message="is one meal the most there is?",
    ),
    WrongAnswer(
        exercise="inhibit",
        slip="shows B without food",
        source="""
def inhibit(strength):
    return [("A", 1.0, 40), ("B", 0.0, 40)]
""",
        message="Would that disappoint anyone?",
    ),
    WrongAnswer(
        exercise="inhibit",
        slip="shows B where nothing is expected",
        source="""
def inhibit(strength):
    return [("AB", 0.0, 40), ("A", 1.0, 40)]
""",
        message="what does A promise when B is beside it?",
    ),
    WrongAnswer(
        exercise="inhibit",
        slip="runs the two kinds of trial once, one after the other",
        source="""
def inhibit(strength):
    return [("A", 1.0, 100), ("AB", 1.0 - strength, 100)]
""",
        message="who feeds it when B is not there?",
    ),
    WrongAnswer(
        exercise="inhibit",
        slip="feeds what B takes away, not what remains",
        source="""
def inhibit(strength):
    return [("A", 1.0, 1), ("AB", 0.0, 1)] * 200
""",
        message="is 0.3 all that it is to take away?",
    ),
    WrongAnswer(
        exercise="inhibit",
        slip="takes ten thousand trials",
        source=changed("inhibit", "* 200", "* 5000"),
        message="would 1000 not do?",
    ),
    WrongAnswer(
        exercise="read_on",
        slip="hides a trial from its own query",
        source=changed(
            "read_on", "np.tril(query @ key.T)", "np.tril(query @ key.T, -1)"
        ),
        message="is a trial known right after it?",
    ),
    WrongAnswer(
        exercise="read_on",
        slip="asks the memory after the piece",
        source=changed(
            "read_on",
            "np.tril(query @ key.T) @ value + query @ memory",
            "query @ (memory + key.T @ value)",
        ),
        message="does it see later trials?",
    ),
    WrongAnswer(
        exercise="read_on",
        slip="hands back the last trial only",
        source=changed("read_on", "key.T @ value", "np.outer(key[-1], value[-1])"),
        message="is every trial in it?",
    ),
    WrongAnswer(
        exercise="read_on",
        slip="answers from the piece alone",
        source=changed("read_on", " + query @ memory", ""),
        message="what was known before?",
    ),
    WrongAnswer(
        exercise="read_on",
        slip="forgets the old memory",
        source=changed("read_on", "memory + key.T", "key.T"),
        message="is the old one in it?",
    ),
    WrongAnswer(
        exercise="read_on",
        slip="compares keys with keys",
        source=changed("read_on", "np.tril(query @", "np.tril(np.ones_like(query) @"),
        message="are scores query times key?",
    ),
    WrongAnswer(
        exercise="surprises",
        slip="counts the trial itself",
        source=changed("surprises", "key.T, -1", "key.T"),
        message="does it follow on itself?",
    ),
    WrongAnswer(
        exercise="surprises",
        slip="forgets the rate of what is learned",
        source=changed("surprises", ", rate[:, None] * value", ", value"),
        message="is it a share of the value?",
    ),
    WrongAnswer(
        exercise="surprises",
        slip="lets a trial know the next",
        source=changed(
            "surprises", "np.tril(key @ key.T, -1)", "np.triu(key @ key.T, 1)"
        ),
        message="does it know the second?",
    ),
    WrongAnswer(
        exercise="surprises",
        slip="teaches what Hebb teaches",
        source=changed("surprises", "+ rate[:, None] * overlap", ""),
        message="is each as surprising?",
    ),
    WrongAnswer(
        exercise="surprises",
        slip="adds what was expected",
        source=changed("surprises", "+ rate[:, None]", "- rate[:, None]"),
        message="0.5 was expected of 1",
    ),
    WrongAnswer(
        exercise="surprises",
        slip="puts the rate on the columns",
        source=changed("surprises", "rate[:, None] * overlap", "rate * overlap"),
        message="whose rate?",
    ),
    WrongAnswer(
        exercise="surprises",
        slip="lets every cue be every other",
        source=changed("surprises", "key @ key.T", "np.ones((len(key), len(key)))"),
        message="do the keys overlap?",
    ),
    WrongAnswer(
        exercise="keys_to_order",
        slip="returns the products, not the keys",
        source="""
def keys_to_order(n, overlap):
    return (1 - overlap) * np.eye(n) + overlap * np.ones((n, n))
""",
        message="are they all 1?",
    ),
    WrongAnswer(
        exercise="keys_to_order",
        slip="gives the common entry the size of the overlap",
        source="""
def keys_to_order(n, overlap):
    keys = np.sqrt(1 - overlap**2) * np.eye(n, n + 1, k=1)
    keys[:, 0] = overlap
    return keys
""",
        message="asked for overlap 0.25, two overlap by 0.0625",
    ),
    WrongAnswer(
        exercise="keys_to_order",
        slip="turns all keys towards the first",
        source="""
def keys_to_order(n, overlap):
    keys = np.sqrt(1 - overlap**2) * np.eye(n)
    keys[:, 0] = overlap
    keys[0, 0] = 1
    return keys
""",
        message="do all overlap alike?",
    ),
    WrongAnswer(
        exercise="keys_to_order",
        slip="takes the keys of the lesson, which cannot avoid each other",
        source="""
def keys_to_order(n, overlap):
    keys = np.sqrt(1 - overlap) * np.eye(n, n + 1, k=1)
    keys[:, 0] = np.sqrt(overlap)
    return keys
""",
        message="is your root real?",
    ),
    WrongAnswer(
        exercise="keys_to_order",
        slip="wants every eigenvalue above zero",
        source="""
def keys_to_order(n, overlap):
    return np.linalg.cholesky((1 - overlap) * np.eye(n) + overlap * np.ones((n, n)))
""",
        message="positive definite",
    ),
    WrongAnswer(
        exercise="keys_to_order",
        slip="returns one key a column",
        source=changed("keys_to_order", "return axes * ", "return axes.T * "),
        message="are they all 1?",
    ),
    WrongAnswer(
        exercise="delta_chunks",
        slip="keeps the last chunk only",
        source=changed("delta_chunks", "outs.append(", "outs = outs[:1]; outs.append("),
        message="is each chunk in out?",
    ),
    WrongAnswer(
        exercise="delta_chunks",
        slip="answers from the chunk alone",
        source=changed("delta_chunks", "q @ memory + np.tril", "np.tril"),
        message="what was known before the chunk?",
    ),
    WrongAnswer(
        exercise="delta_chunks",
        slip="teaches a chunk as if nothing were known",
        source=changed("delta_chunks", "v - k @ memory", "v"),
        message="was 0.75 not expected already?",
    ),
    WrongAnswer(
        exercise="delta_chunks",
        slip="hands on the memory of the chunk alone",
        source=changed("delta_chunks", "memory = memory + k.T", "memory = k.T"),
        message="do chunks add up?",
    ),
    WrongAnswer(
        exercise="delta_chunks",
        slip="drops the trials that fill no chunk",
        source=changed(
            "delta_chunks",
            "range(0, len(key), chunk)",
            "range(0, len(key) - chunk + 1, chunk)",
        ),
        message="where is the last trial?",
    ),
    WrongAnswer(
        exercise="delta_chunks",
        slip="solves the whole sequence at once",
        source=changed(
            "delta_chunks",
            "range(0, len(key), chunk):",
            "range(0, len(key), chunk := len(key)):",
        ),
        message="are 5 trials chunks of 2, 2 and 1?",
    ),
    WrongAnswer(
        exercise="delta_chunks",
        slip="takes the first rates for every chunk",
        source=changed("delta_chunks", "rate[at]", "rate[: len(k)]"),
        message="does each trial have its own rate?",
    ),
    WrongAnswer(
        exercise="delta_chunks",
        slip="asks the memory after the chunk",
        source=changed(
            "delta_chunks",
            "q @ memory + np.tril(q @ k.T) @ taught",
            "q @ (memory + k.T @ taught)",
        ),
        message="are these after their trial?",
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


def test_the_solutions_are_those_of_the_package():
    names, rng = answers(), np.random.default_rng(0)
    query, key, value = (rng.standard_normal((9, n)) for n in (4, 4, 3))
    rate = rng.uniform(0, 0.3, 9)
    tensors = [torch.tensor(each)[None, None] for each in (query, key, value)]
    wanted, state = pavlovian.delta(*tensors, rate=torch.tensor(rate))
    out, memory, _ = names["delta_chunks"](query, key, value, rate, 4)
    assert np.allclose(out, wanted[0, 0])
    assert np.allclose(memory, state[0, 0])
    out, memory = names["read_on"](query, key, value, np.zeros((4, 3)))
    assert np.allclose(out, pavlovian.hebbian(*tensors)[0][0, 0])


@pytest.mark.parametrize("strength", [0.05, 0.5, 1.0])
def test_the_inhibitor_works_under_the_rule_of_the_package(strength):
    key, value, cues = pavlovian.trials(answers()["inhibit"](strength))
    keys, values = (torch.tensor(each)[None, None] for each in (key, value))
    _, state = pavlovian.delta(keys, keys, values, rate=0.2)
    assert cues == "AB"
    assert np.allclose(state.flatten(), [1, -strength], atol=0.01)


def test_the_snippet_at_the_end_times_every_chunk():
    names = answers()
    last = grade.read(bank.solution_of(NAME)).cells[-1].source
    source = re.search("```python\n(.*?)```", last, re.S)[1]
    exec(source.replace("4096", "256").replace("print", "repr"), names)
    assert list(names["times"]) == [1, 16, 64, 256, 1024]
