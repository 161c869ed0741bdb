"""Typical wrong answers to the exercises of lesson 5.2, each with its message."""

import re
from functools import partial

import numpy as np
import pytest
import torch

from minitransformer.course import grade
from minitransformer.training.loss import bits_per_byte, cross_entropy
from minitransformer.training.optim import naive_adamw
from minitransformer.training.schedule import warm_up_cosine

from . import bank
from .bank import WrongAnswer

NAME = "5_2_training_on_real_text"
changed = partial(bank.changed, NAME)

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="bits_for_a_byte",
        slip="gives nats",
        source=changed("bits_for_a_byte", " / np.log(2)", ""),
        message="nats or bits?",
    ),
    WrongAnswer(
        exercise="bits_for_a_byte",
        slip="divides by tokens",
        source=changed("bits_for_a_byte", "lengths.sum()", "(lengths > 0).sum()"),
        message="did you divide by tokens",
    ),
    WrongAnswer(
        exercise="bits_for_a_byte",
        slip="takes the mean of ratios",
        source="""
def bits_for_a_byte(losses, lengths):
    pairs = zip(losses, lengths, strict=True)
    return float(np.mean([x / n for x, n in pairs if n]) / np.log(2))
""",
        message="is a mean of ratios a ratio of sums?",
    ),
    WrongAnswer(
        exercise="bits_for_a_byte",
        slip="counts the marks",
        source=changed("bits_for_a_byte", "losses[lengths > 0].sum()", "losses.sum()"),
        message="is the mark a part of the text?",
    ),
    WrongAnswer(
        exercise="loss_and_gradient",
        slip="goes uphill",
        source=changed("loss_and_gradient", "(p - hit)", "(hit - p)"),
        message="raise the loss?",
    ),
    WrongAnswer(
        exercise="loss_and_gradient",
        slip="gives the softmax as the slope",
        source=changed("loss_and_gradient", "(p - hit)", "(p - 2 * hit)"),
        message="its guess, minus what?",
    ),
    WrongAnswer(
        exercise="loss_and_gradient",
        slip="forgets that the loss is a mean",
        source=changed("loss_and_gradient", " / counts.sum()", ""),
        message="is the slope a mean too?",
    ),
    WrongAnswer(
        exercise="loss_and_gradient",
        slip="divides by all places",
        source=changed("loss_and_gradient", "/ counts.sum()", "/ len(counts)"),
        message="a mean over how many places?",
    ),
    WrongAnswer(
        exercise="loss_and_gradient",
        slip="asks everywhere",
        source=changed("loss_and_gradient", " * counts[:, None]", ""),
        message="Why a slope?",
    ),
    WrongAnswer(
        exercise="loss_and_gradient",
        slip="takes exp of 1,000",
        source="""
def loss_and_gradient(scores, targets):
    counts = targets != -100
    with np.errstate(all="ignore"):
        p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        hit = np.eye(scores.shape[1])[np.where(counts, targets, 0)]
        losses = -np.log((p * hit).sum(axis=1))
    grad = (p - hit) * counts[:, None] / counts.sum()
    return float(losses[counts].mean()), grad
""",
        message="what is exp(1000)?",
    ),
    WrongAnswer(
        exercise="rate",
        slip="starts with a step of zero",
        source=changed("rate", "(step + 1) / warm_up", "step / warm_up"),
        message="a first step of size zero",
    ),
    WrongAnswer(
        exercise="rate",
        slip="begins the cosine at step 0",
        source=changed("rate", "(step - warm_up)", "step"),
        message="where does the cosine begin?",
    ),
    WrongAnswer(
        exercise="rate",
        slip="goes a whole wave",
        source=changed("rate", "np.cos(np.pi * way)", "np.cos(2 * np.pi * way)"),
        message="Half the peak?",
    ),
    WrongAnswer(
        exercise="rate",
        slip="adds the floor to the whole",
        source=changed("rate", "floor + (1 - floor) *", "floor +"),
        message="is the peak still the peak?",
    ),
    WrongAnswer(
        exercise="rate",
        slip="goes on after the end",
        source="""
def rate(step, steps, peak, warm_up, floor):
    if step < warm_up:
        return peak * (step + 1) / warm_up
    way = (step - warm_up) / (steps - warm_up)
    return peak * (floor + (1 - floor) * (1 + np.cos(np.pi * way)) / 2)
""",
        message="come back up?",
    ),
    WrongAnswer(
        exercise="adamw",
        slip="leaves out the corrections",
        source=changed("adamw", "m / (1 - b1**t), v / (1 - b2**t)", "m / 1, v / 1"),
        message="are m and v corrected?",
    ),
    WrongAnswer(
        exercise="adamw",
        slip="adds the decay to the gradient",
        source="""
def adamw(w, g, m, v, t, r, b1, b2, eps, d):
    g = g + d * w
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * g**2
    mean, square = m / (1 - b1**t), v / (1 - b2**t)
    return w - r * mean / (np.sqrt(square) + eps), m, v
""",
        message="where is the decay?",
    ),
    WrongAnswer(
        exercise="adamw",
        slip="does not multiply the decay by the rate",
        source=changed("adamw", "w - r * d * w", "w - d * w"),
        message="is the decay multiplied by the rate?",
    ),
    WrongAnswer(
        exercise="adamw",
        slip="puts eps below the root",
        source=changed("adamw", "(np.sqrt(square) + eps)", "np.sqrt(square + eps)"),
        message="is eps below the root?",
    ),
    WrongAnswer(
        exercise="adamw",
        slip="corrects every step like the first",
        source=changed(
            "adamw", "(1 - b1**t), v / (1 - b2**t)", "(1 - b1), v / (1 - b2)"
        ),
        message="Is t at work?",
    ),
    WrongAnswer(
        exercise="adamw",
        slip="keeps too much of the new gradient",
        source=changed("adamw", "m = b1 * m + (1 - b1) * g", "m = b1 * m + g"),
        message="how much of a new gradient is kept?",
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


def test_the_bits_are_those_of_the_package():
    got = answers()["bits_for_a_byte"]([0.5, 2.0], [3, 1])
    assert got == pytest.approx(bits_per_byte(2.5, 4))


def test_loss_and_gradient_are_those_of_the_package():
    scores = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).double()
    targets = torch.tensor([1, -100, 6, 0, -100])
    scores.requires_grad_()
    wanted = cross_entropy(scores, targets)
    (slope,) = torch.autograd.grad(wanted, scores)
    loss, grad = answers()["loss_and_gradient"](
        scores.detach().numpy(), targets.numpy()
    )
    assert loss == pytest.approx(float(wanted.detach()), abs=1e-12)
    np.testing.assert_allclose(grad, slope.numpy(), atol=1e-12)


@pytest.mark.parametrize("step", [0, 3, 4, 11, 20, 30])
def test_the_rate_is_that_of_the_package(step):
    wanted = warm_up_cosine(step, steps=20, peak=0.3, warm_up=4, floor=0.2)
    assert answers()["rate"](step, 20, 0.3, 4, 0.2) == pytest.approx(wanted)


def test_the_step_is_that_of_the_package():
    w, g = np.random.default_rng(0).normal(size=(2, 4))
    got = answers()["adamw"](w, g, 0 * w, 0 * w, 1, 0.1, 0.9, 0.95, 1e-8, 0.3)[0]
    wanted = naive_adamw(w, [g], [0.1], betas=(0.9, 0.95), decay=0.3)
    np.testing.assert_allclose(got, wanted, atol=1e-12)


def test_the_snippet_at_the_end_agrees(capsys):
    last = grade.read(bank.solution_of(NAME)).cells[-1].source
    exec(re.search("```python\n(.*?)```", last, re.S)[1], answers())
    assert float(capsys.readouterr().out) < 1e-9
