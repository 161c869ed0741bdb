"""Typical wrong answers to the exercises of lesson 7.3, each with its message."""

from functools import partial

import pytest

from . import bank
from .bank import WrongAnswer

pytest.importorskip("triton")

NAME = "7_3_flash_forward"
changed = partial(bank.changed, NAME)

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="stretches",
        slip="ends at the first query",
        source=changed("stretches", "start + rows + offset", "start + offset"),
        message="Who sees the most keys?",
    ),
    WrongAnswer(
        exercise="stretches",
        slip="calls the diagonal whole",
        source=changed("stretches", "start + 1 + offset", "start + rows + offset"),
        message="Who sees least?",
    ),
    WrongAnswer(
        exercise="stretches",
        slip="leaves out the query's own key",
        source=changed("stretches", "start + 1 + offset", "start + offset"),
        message="query 3 sees 4 keys, a whole block, and full end is 0",
    ),
    WrongAnswer(
        exercise="stretches",
        slip="lets the first query stand on the first key",
        source=changed("stretches", "kv_len - q_len", "0"),
        message="Where do they stand?",
    ),
    WrongAnswer(
        exercise="stretches",
        slip="goes beyond the last key",
        source=changed(
            "stretches",
            "max(min(start + rows + offset, kv_len), 0)",
            "max(start + rows + offset, 0)",
        ),
        message="which key does not exist?",
    ),
    WrongAnswer(
        exercise="stretches",
        slip="counts keys below zero",
        source=changed(
            "stretches",
            "max(min(start + rows + offset, kv_len), 0)",
            "min(start + rows + offset, kv_len)",
        ),
        message="the first see none",
    ),
    WrongAnswer(
        exercise="last_done",
        slip="deals programs out in turn",
        source="def last_done(work, processors):\n"
        "    return max(sum(work[i::processors]) for i in range(processors))\n",
        message="Who is free for the third?",
    ),
    WrongAnswer(
        exercise="last_done",
        slip="shares perfectly",
        source="def last_done(work, processors):\n"
        "    return -(-sum(work) // processors)\n",
        message="Who is done last?",
    ),
    WrongAnswer(
        exercise="last_done",
        slip="sorts the work",
        source=changed("last_done", "in work:", "in sorted(work, reverse=True):"),
        message="Did you change the order?",
    ),
    WrongAnswer(
        exercise="take_in",
        slip="does not rescale the total",
        source=changed("take_in", "total * kept +", "total +"),
        message="not 4/2 + 4. Rescaled?",
    ),
    WrongAnswer(
        exercise="take_in",
        slip="does not rescale the values",
        source=changed("take_in", "acc * kept[:, None] +", "acc +"),
        message="Is it rescaled too?",
    ),
    WrongAnswer(
        exercise="take_in",
        slip="takes base e",
        source=changed(
            "take_in",
            "p = tl.math.exp2(s - shift[:, None])\n    kept = tl.math.exp2(m - shift)",
            "p = tl.exp(s - shift[:, None])\n    kept = tl.exp(m - shift)",
        ),
        message="which base has the score?",
    ),
    WrongAnswer(
        exercise="take_in",
        slip="shifts by minus infinity",
        source=changed("take_in", 'tl.where(new == float("-inf"), 0.0, new)', "new"),
        message="NaN. Minus what is shifted?",
    ),
    WrongAnswer(
        exercise="take_in",
        slip="subtracts no peak",
        source=changed(
            "take_in",
            'tl.where(new == float("-inf"), 0.0, new)',
            "tl.zeros([4], tl.float32)",
        ),
        message="Relative to what?",
    ),
    WrongAnswer(
        exercise="flash",
        slip="forgets the mask",
        source=changed("flash", "cols[None, :] <= rows[:, None]", "cols[None, :] >= 0"),
        message="row 0 sees only itself. Your mask?",
    ),
    WrongAnswer(
        exercise="flash",
        slip="forgets the scale",
        source=changed("flash", "tl.dot(q, k.T) * scale", "tl.dot(q, k.T)"),
        message="one block, wrong rows: the scale?",
    ),
    WrongAnswer(
        exercise="flash",
        slip="does not rescale",
        source=changed("flash", "acc * kept[:, None] +", "acc +"),
        message="what is rescaled, what is seen?",
    ),
    WrongAnswer(
        exercise="flash",
        slip="reads all keys",
        source=changed("flash", "range(0, start + 4, 4)", "range(0, length, 4)"),
        message="who reads the future?",
    ),
    WrongAnswer(
        exercise="flash",
        slip="leaves the peak out of the lse",
        source=changed("flash", "m + tl.log(total)", "tl.log(total)"),
        message="is the peak in it",
    ),
    WrongAnswer(
        exercise="flash",
        slip="loads values that do not exist",
        source=changed(
            "flash",
            "v_ptr + cols[:, None] * 16 + e, inside, other=0.0",
            "v_ptr + cols[:, None] * 16 + e",
        ),
        message="6 tokens: NaN. Which rows of k or v do not exist?",
    ),
    WrongAnswer(
        exercise="flash",
        slip="stores rows that do not exist",
        source=changed(
            "flash", "acc / total[:, None], there)", "acc / total[:, None])"
        ),
        message="row 6 was written: does the store mask it?",
    ),
)


class TestTheExercises(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS
