"""Typical wrong answers to the exercises of lesson 7.1, each with its message."""

from functools import partial

import pytest

from . import bank
from .bank import WrongAnswer

pytest.importorskip("triton")

NAME = "7_1_first_kernels"
changed = partial(bank.changed, NAME)

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="axpy",
        slip="stores without a mask",
        source=changed("axpy", "alpha * x + y, inside)", "alpha * x + y)"),
        message="place 3 holds 0.0, not NaN: does the store mask it?",
    ),
    WrongAnswer(
        exercise="axpy",
        slip="gives all programs the same block",
        source=changed("axpy", "tl.program_id(0) * BLOCK + tl", "tl"),
        message="nobody wrote place 8: where does the block of program 1 begin?",
    ),
    WrongAnswer(
        exercise="axpy",
        slip="begins a block at the number of its program",
        source=changed("axpy", "tl.program_id(0) * BLOCK", "tl.program_id(0)"),
        message="nobody wrote place 10: where does the block of program 1 begin?",
    ),
    WrongAnswer(
        exercise="axpy",
        slip="multiplies the sum",
        source=changed("axpy", "alpha * x + y, inside", "alpha * (x + y), inside"),
        message="2 x + y?",
    ),
    WrongAnswer(
        exercise="row_max",
        slip="takes the width for the stride",
        source=changed("row_max", "row * stride", "row * columns"),
        message="row 1 begins at 8 and gave 7.0: how far apart are rows?",
    ),
    WrongAnswer(
        exercise="row_max",
        slip="lets empty places be zero",
        source=changed("row_max", 'float("-inf")', "0.0"),
        message="no number is 0. What do the empty places hold?",
    ),
    WrongAnswer(
        exercise="row_max",
        slip="loads without a mask",
        source=changed(
            "row_max", '+ column, column < columns, other=float("-inf")', "+ column"
        ),
        message="99 is behind the row. Does the load mask it?",
    ),
    WrongAnswer(
        exercise="row_max",
        slip="sums",
        source=changed("row_max", "tl.max(x, axis=0)", "tl.sum(x, axis=0)"),
        message="is it the greatest?",
    ),
    WrongAnswer(
        exercise="softmax_blocks",
        slip="does not rescale the sum",
        source=changed("softmax_blocks", "s * tl.exp(m - higher) +", "s +"),
        message="not 2/9",
    ),
    WrongAnswer(
        exercise="softmax_blocks",
        slip="rescales upside down",
        source=changed("softmax_blocks", "tl.exp(m - higher)", "tl.exp(higher - m)"),
        message="four equal numbers gave",
    ),
    WrongAnswer(
        exercise="softmax_blocks",
        slip="forgets the sum so far",
        source=changed("softmax_blocks", "s * tl.exp(m - higher) +", ""),
        message="six equal numbers, block of 4, sum to",
    ),
    WrongAnswer(
        exercise="softmax_blocks",
        slip="lets empty places be zero",
        source=changed("softmax_blocks", 'inside, other=float("-inf")', "inside"),
        message="what do empty places add?",
    ),
    WrongAnswer(
        exercise="softmax_blocks",
        slip="subtracts no maximum",
        source=changed(
            "softmax_blocks",
            "higher = tl.maximum(m, tl.max(x, axis=0))",
            "higher = tl.full([], 0.0, tl.float32)",
        ),
        message="is m subtracted before exp?",
    ),
    WrongAnswer(
        exercise="column_sums",
        slip="lets all programs add to one row",
        source=changed(
            "column_sums",
            "program * columns + column\n    tl.store(part_at, tl.sum(x, axis=0)",
            "column\n    so_far = tl.load(part_at, column < columns)\n"
            "    tl.store(part_at, so_far + tl.sum(x, axis=0)",
        ),
        message="3 places have several writers. Whose row of part is it?",
    ),
    WrongAnswer(
        exercise="column_sums",
        slip="does not mask the rows",
        source=changed(
            "column_sums",
            "(row < rows)[:, None] & (column < columns)[None, :]",
            "(row >= 0)[:, None] & (column < columns)[None, :]",
        ),
        message="who added a 99?",
    ),
    WrongAnswer(
        exercise="column_sums",
        slip="takes only the first rows",
        source=changed("column_sums", "row = program * ROWS + tl", "row = tl"),
        message="six rows of ones sum to [8.0, 8.0, 8.0], not 6: which",
    ),
    WrongAnswer(
        exercise="rms_norm_backward",
        slip="holds the size constant",
        source=changed(
            "rms_norm_backward",
            "(grad - z * (tl.sum(grad * z, axis=0) / columns)) / r",
            "grad / r",
        ),
        message="Does r change with x for you?",
    ),
    WrongAnswer(
        exercise="rms_norm_backward",
        slip="takes the mean over the block",
        source=changed(
            "rms_norm_backward",
            "tl.sum(grad * z, axis=0) / columns",
            "tl.sum(grad * z, axis=0) / BLOCK",
        ),
        message="Mean over how many?",
    ),
    WrongAnswer(
        exercise="rms_norm_backward",
        slip="forgets the gains",
        source=changed("rms_norm_backward", "grad = weight * tl", "grad = tl"),
        message="Do you multiply g by w?",
    ),
    WrongAnswer(
        exercise="rms_norm_backward",
        slip="adds eps outside of the root",
        source=changed("rms_norm_backward", "/ columns + eps)", "/ columns) + eps"),
        message="Where is eps?",
    ),
)


class TestTheExercises(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS
