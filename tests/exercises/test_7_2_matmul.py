"""Typical wrong answers to the exercises of lesson 7.2, each with its message."""

from functools import partial

import pytest

from . import bank
from .bank import WrongAnswer

pytest.importorskip("triton")

NAME = "7_2_matmul"
changed = partial(bank.changed, NAME)

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="intensity",
        slip="forgets what is written",
        source=changed("intensity", " + M * N\n", "\n"),
        message="1 x 1, one term: 1.000, not 2 operations for 3 bytes",
    ),
    WrongAnswer(
        exercise="intensity",
        slip="counts products only",
        source=changed("intensity", "2 * M * N * k", "M * N * k"),
        message="Does a sum count?",
    ),
    WrongAnswer(
        exercise="intensity",
        slip="reads the tile for every term",
        source=changed("intensity", "(M + N) * k", "2 * M * N * k"),
        message="not 64 / 36. How many reads?",
    ),
    WrongAnswer(
        exercise="intensity",
        slip="counts numbers, not bytes",
        source=changed("intensity", "(numbers * itemsize)", "numbers"),
        message="not a quarter of before",
    ),
    WrongAnswer(
        exercise="tile_of",
        slip="goes across before down",
        source=changed(
            "tile_of",
            "first + inside % height, inside // height",
            "first + inside // tiles_n, inside % tiles_n",
        ),
        message="Down first?",
    ),
    WrongAnswer(
        exercise="tile_of",
        slip="takes the number of the group for its first row",
        source=changed("tile_of", "(group * tiles_n) * group", "(group * tiles_n)"),
        message="at which row?",
    ),
    WrongAnswer(
        exercise="tile_of",
        slip="gives the last group its full height",
        source=changed("tile_of", "min(group, tiles_m - first)", "group"),
        message="How high is it?",
    ),
    WrongAnswer(
        exercise="matmul",
        slip="takes the width for the stride",
        source=changed("matmul", "row[:, None] * a_stride", "row[:, None] * k"),
        message="are rows a_stride apart?",
    ),
    WrongAnswer(
        exercise="matmul",
        slip="keeps the last step only",
        source=changed("matmul", "total += tl.dot", "total = tl.dot"),
        message="do you add them up?",
    ),
    WrongAnswer(
        exercise="matmul",
        slip="counts tiles down, not across",
        source=changed("matmul", "tl.cdiv(n, N)\n", "tl.cdiv(m, M)\n"),
        message="which row and column has program 4?",
    ),
    WrongAnswer(
        exercise="matmul",
        slip="does not mask the sum",
        source=changed(
            "matmul",
            "(row < m)[:, None] & (inner < k)[None, :]\n"
            "        b_in = (inner < k)[:, None] &",
            "(row < m)[:, None] & (inner >= 0)[None, :]\n"
            "        b_in = (inner >= 0)[:, None] &",
        ),
        message="what is loaded beyond k?",
    ),
    WrongAnswer(
        exercise="matmul",
        slip="stores without a mask",
        source=changed(
            "matmul", "element_ty), c_in)", "element_ty), (row >= 0)[:, None])"
        ),
        message="is the store masked?",
    ),
    WrongAnswer(
        exercise="matmul",
        slip="sums in half precision",
        source=changed(
            "matmul",
            "total = tl.zeros([M, N], tl.float32)",
            "total = tl.zeros([M, N], c_ptr.dtype.element_ty)",
        ).replace("tl.dot(a, b, ", "tl.dot(a, b, out_dtype=total.dtype, "),
        message="in which type do you keep the sum?",
    ),
    WrongAnswer(
        exercise="misses",
        slip="counts what it finds",
        source=changed("misses", "cache.move_to_end(tile)\n", "count += 1\n"),
        message="aaaa: 4 misses, not 1",
    ),
    WrongAnswer(
        exercise="misses",
        slip="throws out what came first",
        source=changed("misses", "cache.move_to_end(tile)\n", "pass\n"),
        message="Is a the oldest when c comes?",
    ),
    WrongAnswer(
        exercise="misses",
        slip="leaves one place empty",
        source=changed("misses", "len(cache) > room", "len(cache) >= room"),
        message="Is room used in full?",
    ),
    WrongAnswer(
        exercise="misses",
        slip="throws out the newest",
        source=changed("misses", "popitem(last=False)", "popitem()"),
        message="Does the oldest make room?",
    ),
    WrongAnswer(
        exercise="linear",
        slip="reads the weight transposed",
        source=changed(
            "linear",
            "column[None, :] * deep + inner[:, None]",
            "inner[:, None] * wide + column[None, :]",
        ),
        message="Is weight[j, i] what joins input i to output j?",
    ),
    WrongAnswer(
        exercise="linear",
        slip="forgets the bias",
        source=changed("linear", "[None, :]\n    out_in", "[None, :] * 0\n    out_in"),
        message="With a bias of 3: is it added?",
    ),
    WrongAnswer(
        exercise="linear",
        slip="adds the bias at every step",
        source=changed(
            "linear",
            "    total += tl.load(bias_ptr",
            "        total += tl.load(bias_ptr",
        ),
        message="Three steps: is the bias added once?",
    ),
    WrongAnswer(
        exercise="linear",
        slip="bends every step",
        source=changed(
            "linear",
            "    total += tl.load(bias_ptr",
            "        total = tl.maximum(total, 0.0)\n    total += tl.load(bias_ptr",
        ),
        message="is relu taken once, at the end?",
    ),
    WrongAnswer(
        exercise="linear",
        slip="does not bend",
        source=changed("linear", "tl.maximum(total, 0.0)", "total"),
        message="A negative sum: where is relu?",
    ),
    WrongAnswer(
        exercise="linear",
        slip="does not mask the depth",
        source=changed(
            "linear",
            "(row < rows)[:, None] & (inner < deep)[None, :]\n"
            "        w_in = (inner < deep)[:, None] &",
            "(row < rows)[:, None] & (inner >= 0)[None, :]\n"
            "        w_in = (inner >= 0)[:, None] &",
        ),
        message="what is loaded beyond the edges?",
    ),
)


class TestTheExercises(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS
