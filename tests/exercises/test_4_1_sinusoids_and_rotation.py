"""Typical wrong answers to the exercises of lesson 4.1, each with its message."""

from functools import partial

from . import bank
from .bank import WrongAnswer

NAME = "4_1_sinusoids_and_rotation"
changed = partial(bank.changed, NAME)

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="unfinished_pairs",
        slip="returns which they are",
        source=changed(
            "unfinished_pairs",
            "int((wave_lengths > length).sum())",
            "wave_lengths > length",
        ),
        message="how many are they, in one number?",
    ),
    WrongAnswer(
        exercise="unfinished_pairs",
        slip="counts those that get around",
        source=changed("unfinished_pairs", "> length", "<= length"),
        message="do these not get around?",
    ),
    WrongAnswer(
        exercise="unfinished_pairs",
        slip="takes one radian for a turn",
        source=changed("unfinished_pairs", "2 * np.pi", "1"),
        message="is once around 1 radian, or more?",
    ),
    WrongAnswer(
        exercise="unfinished_pairs",
        slip="takes half a turn for a turn",
        source=changed("unfinished_pairs", "2 * np.pi", "np.pi"),
        message="is once around 1 radian, or more?",
    ),
    WrongAnswer(
        exercise="unfinished_pairs",
        slip="slows by half as much from pair to pair",
        source=changed(
            "unfinished_pairs",
            "2 * np.pi / speeds_of(head_dim, base)",
            "2 * np.pi * base ** (np.arange(head_dim // 2) / head_dim)",
        ),
        message="which wave lengths are above 500?",
    ),
    WrongAnswer(
        exercise="unfinished_pairs",
        slip="forgets the base",
        source=changed("unfinished_pairs", "head_dim, base)", "head_dim)"),
        message="whose base did you use?",
    ),
    WrongAnswer(
        exercise="turn_halves",
        slip="drops what does not turn",
        source=changed("turn_halves", "sin + b * cos, rest]", "sin + b * cos]"),
        message="Where are the others?",
    ),
    WrongAnswer(
        exercise="turn_halves",
        slip="pairs neighbors",
        source="""
def turn_halves(x, positions, speeds):
    F, turned = len(speeds), x.copy()
    angles = positions[:, None] * speeds
    a, b = x[:, 0 : 2 * F : 2], x[:, 1 : 2 * F : 2]
    turned[:, 0 : 2 * F : 2] = a * np.cos(angles) - b * np.sin(angles)
    turned[:, 1 : 2 * F : 2] = a * np.sin(angles) + b * np.cos(angles)
    return turned
""",
        message="is the partner of number 0 number 1?",
    ),
    WrongAnswer(
        exercise="turn_halves",
        slip="turns clockwise",
        source=changed("turn_halves", "np.sin(angles)", "-np.sin(angles)"),
        message="Which of the two sines is negative?",
    ),
    WrongAnswer(
        exercise="turn_halves",
        slip="takes the number of the row for its position",
        source=changed(
            "turn_halves", "positions[:, None]", "np.arange(1, len(x) + 1)[:, None]"
        ),
        message="Whose positions did you take?",
    ),
    WrongAnswer(
        exercise="turn_halves",
        slip="cuts the whole row in halves though a part turns",
        source="""
def turn_halves(x, positions, speeds):
    F, half, turned = len(speeds), x.shape[1] // 2, x.copy()
    angles = positions[:, None] * speeds
    a, b = x[:, :F], x[:, half : half + F]
    turned[:, :F] = a * np.cos(angles) - b * np.sin(angles)
    turned[:, half : half + F] = a * np.sin(angles) + b * np.cos(angles)
    return turned
""",
        message="is the pair not 0 and 1?",
    ),
    WrongAnswer(
        exercise="step_matrix",
        slip="makes a block for each hand, and no matrix",
        source=changed("step_matrix", "return matrix", "return matrix[:2, :2]"),
        message="does a code of 4 numbers meet 4 rows?",
    ),
    WrongAnswer(
        exercise="step_matrix",
        slip="adds a step to no step",
        source=changed(
            "step_matrix",
            "np.cos(steps * speed), np.sin(steps * speed)",
            "np.cos((steps + 1) * speed), np.sin((steps + 1) * speed)",
        ),
        message="0 steps should change nothing",
    ),
    WrongAnswer(
        exercise="step_matrix",
        slip="transposes the blocks",
        source=changed(
            "step_matrix", "[[cos, -sin], [sin, cos]]", "[[cos, sin], [-sin, cos]]"
        ),
        message="is a code a row here, and M on its right?",
    ),
    WrongAnswer(
        exercise="step_matrix",
        slip="turns all hands like the first",
        source=changed(
            "step_matrix",
            "np.cos(steps * speed), np.sin(steps * speed)",
            "np.cos(steps), np.sin(steps)",
        ),
        message="Has hand 1 its own speed?",
    ),
    WrongAnswer(
        exercise="step_matrix",
        slip="knows one step only",
        source=changed(
            "step_matrix",
            "np.cos(steps * speed), np.sin(steps * speed)",
            "np.cos((steps != 0) * speed), np.sin((steps != 0) * speed)",
        ),
        message="who uses `steps`?",
    ),
    WrongAnswer(
        exercise="step_matrix",
        slip="multiplies the matrix by itself as often as steps, and never goes back",
        source=changed(
            "step_matrix",
            "np.cos(steps * speed), np.sin(steps * speed)",
            "np.cos(steps * speed), np.sin(abs(steps) * speed)",
        ),
        message="which way back?",
    ),
    WrongAnswer(
        exercise="reorder_rows",
        slip="gives each head a matrix of its own",
        source=changed("reorder_rows", ".reshape(weight.shape)", ""),
        message="does anything but order change?",
    ),
    WrongAnswer(
        exercise="reorder_rows",
        slip="reorders the columns",
        source="""
def reorder_rows(weight, heads):
    return np.concatenate([weight[:, 0::2], weight[:, 1::2]], axis=1)
""",
        message="are the numbers of a query rows or columns?",
    ),
    WrongAnswer(
        exercise="reorder_rows",
        slip="goes from halves to neighbors",
        source="""
def reorder_rows(weight, heads):
    per_head = weight.reshape(heads, 2, -1, weight.shape[1])
    return per_head.swapaxes(1, 2).reshape(weight.shape)
""",
        message="is this not the way back",
    ),
    WrongAnswer(
        exercise="reorder_rows",
        slip="puts odd places first",
        source=changed(
            "reorder_rows",
            "per_head[:, 0::2], per_head[:, 1::2]",
            "per_head[:, 1::2], per_head[:, 0::2]",
        ),
        message="where do 0, 2 and 4 belong?",
    ),
    WrongAnswer(
        exercise="reorder_rows",
        slip="forgets the heads",
        source=changed("reorder_rows", "heads, -1, weight", "1, -1, weight"),
        message="not left its head?",
    ),
    WrongAnswer(
        exercise="look_back",
        slip="does not turn the query",
        source=changed("look_back", "rotate(key, -back, speeds)", "key").replace(
            "while head", "while False and head"
        ),
        message="is the query turned, and turned back?",
    ),
    WrongAnswer(
        exercise="look_back",
        slip="turns it ahead",
        source=changed("look_back", "-back, speeds)", "back, speeds)").replace(
            "while head", "while False and head"
        ),
        message="turned how far, which way?",
    ),
    WrongAnswer(
        exercise="look_back",
        slip="turns it one place too far",
        source=changed("look_back", "-back, speeds)", "-back - 1, speeds)").replace(
            "while head", "while False and head"
        ),
        message="turned how far, which way?",
    ),
    WrongAnswer(
        exercise="look_back",
        slip="leaves the query as long as the key",
        source=changed("look_back", "while head", "while False and head"),
        message="does a long query ask softly?",
    ),
    WrongAnswer(
        exercise="look_back",
        slip="asks for more than half, whatever the share",
        source=changed("look_back", "< share", "< 0.55"),
        message="is it enough at the end?",
    ),
    WrongAnswer(
        exercise="look_back",
        slip="takes a fixed sharpness that is enough for the example",
        source=changed(
            "look_back", "return query", "return 16 * rotate(key, -back, speeds)"
        ).replace("while head", "while False and head"),
        message="is below",
    ),
)


class TestTheExercises(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS
