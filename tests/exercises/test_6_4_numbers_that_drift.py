"""Typical wrong answers to the exercises of lesson 6.4, each with its message."""

from functools import partial

from . import bank
from .bank import WrongAnswer

NAME = "6_4_numbers_that_drift"
changed = partial(bank.changed, NAME)


def slip(exercise, name, old, new, message):
    """One slip: a piece of the solution, and what stands in its place."""
    return WrongAnswer(exercise, name, changed(exercise, old, new), message)


LAST = "last = (bits >> 16) & np.uint32(1)"
NAN = "np.where(np.isnan(x), np.float32(np.nan), rounded.view(np.float32))"
WRONG_ANSWERS = (
    slip(
        "counting_stops",
        "forgets the leading 1",
        "(mantissa + 1)",
        "mantissa",
        "And the leading 1?",
    ),
    slip(
        "counting_stops",
        "takes the last number before",
        "2 ** (mantissa + 1)",
        "2 ** (mantissa + 1) - 1",
        "where does the tie go?",
    ),
    slip(
        "counting_stops",
        "lets the tie go up",
        "2 ** (mantissa + 1)",
        "2 ** (mantissa + 2)",
        "how wide are the steps from 256 on?",
    ),
    slip(
        "bf16_bits", "only cuts", "bits + np.uint32(0x7FFF) + last", "bits", "only cut?"
    ),
    slip(
        "bf16_bits",
        "lets all ties go up",
        "np.uint32(0x7FFF) + last",
        "np.uint32(0x8000)",
        "up, or to the even one?",
    ),
    slip(
        "bf16_bits",
        "lets all ties go down",
        "np.uint32(0x7FFF) + last",
        "np.uint32(0x7FFF)",
        "down, or to the even one?",
    ),
    slip(
        "bf16_bits",
        "looks at the wrong bit",
        LAST,
        "last = (bits >> 15) & np.uint32(1)",
        "up, or to the even one?",
    ),
    slip(
        "bf16_bits",
        "forgets NaN",
        NAN,
        "rounded.view(np.float32)",
        "three kinds of NaN",
    ),
    slip(
        "bf16_bits",
        "leaves the lower bits",
        " & np.uint32(0xFFFF0000)",
        "",
        "are the lower bits gone?",
    ),
    slip(
        "tied_shift",
        "counts the maximum itself as a tie",
        "> 1",
        "> 0",
        "is the maximum tied with itself?",
    ),
    slip(
        "tied_shift",
        "wants equal scores",
        "top[:, None] - tolerance",
        "top[:, None]",
        "what becomes of exp(-0.0005) in bf16?",
    ),
    slip(
        "tied_shift",
        "multiplies negative maxima, too",
        "np.where(top > 0, beta * top, 0.0)",
        "beta * top",
        "is exp(-3 + 6) below 1?",
    ),
    slip(
        "tied_shift",
        "moves nothing",
        "np.where(tied, moved, top)",
        "top",
        "is P still 1 for both?",
    ),
    slip(
        "tied_shift",
        "takes one maximum for all rows",
        "top = scores.max(axis=1)",
        "top = np.full(len(scores), scores.max())",
        "does each row look at itself?",
    ),
    slip("tied_shift", "always doubles", "beta * top", "2 * top", "Are both used?"),
    slip(
        "small_round",
        "rounds ties up",
        "np.rint(np.ldexp(x, -step))",
        "np.floor(np.ldexp(x, -step) + 0.5)",
        "a tie goes to the even one, which?",
    ),
    slip(
        "small_round",
        "cuts",
        "np.rint(np.ldexp(x, -step))",
        "np.trunc(np.ldexp(x, -step))",
        "a tie goes to the even one, which?",
    ),
    slip(
        "small_round",
        "has no subnormal numbers",
        "np.maximum(own, least) - mantissa",
        "own - mantissa",
        "how wide are steps there?",
    ),
    slip(
        "small_round",
        "flushes to zero",
        "return np.where(",
        "rounded = np.where(own < least, 0, rounded)\n    return np.where(",
        "are there none below it?",
    ),
    slip(
        "small_round",
        "overflows too early",
        "np.abs(rounded) > greatest",
        "np.abs(x) > greatest",
        "less than half a step above 224?",
    ),
    slip(
        "small_round",
        "never overflows",
        "np.where(np.abs(rounded) > greatest, np.copysign(np.inf, x), rounded)",
        "rounded",
        "half a step above the greatest",
    ),
    slip(
        "small_round",
        "saturates",
        "np.copysign(np.inf, x)",
        "np.copysign(greatest, x)",
        "half a step above the greatest",
    ),
    slip(
        "small_round",
        "loses the sign of infinity",
        "np.copysign(np.inf, x)",
        "np.inf",
        "infinite, with its sign?",
    ),
    slip(
        "small_round",
        "forgets the half bit of frexp",
        "np.frexp(x)[1] - 1",
        "np.frexp(x)[1]",
        "how many bits follow the leading 1?",
    ),
    slip(
        "tail_bias",
        "moves fair ties",
        "0.0 if place == 0 else (0.5 - place) * half",
        "(0.5 - place) * half",
        "do ties not go both ways?",
    ),
    slip(
        "tail_bias",
        "takes exact minus rounded",
        "(0.5 - place)",
        "(place - 0.5)",
        "rounded minus exact?",
    ),
    slip(
        "tail_bias",
        "forgets that the tail is lost",
        "(0.5 - place)",
        "0.5",
        "is the tail itself not lost?",
    ),
    slip(
        "tail_bias",
        "thinks that all sums are ties",
        "(0.5 - place)",
        "(1 - place)",
        "how many of the sums are ties?",
    ),
    slip(
        "tail_bias",
        "forgets the unit",
        "(0.5 - place) * half",
        "(0.5 - place)",
        "and the unit?",
    ),
    slip(
        "tail_bias",
        "forgets the period",
        "tail / half % 1",
        "tail / half",
        "what does one more half step change?",
    ),
    slip(
        "short_state",
        "does not round the sum",
        "round_bits(total * rescale + weights.sum(), mantissa)",
        "total * rescale + weights.sum()",
        "is l rounded after each block?",
    ),
    slip(
        "short_state",
        "does not rescale the output",
        "mixed * rescale",
        "mixed",
        "was the old output rescaled?",
    ),
    slip(
        "short_state",
        "does not rescale the sum",
        "total * rescale",
        "total",
        "was the old sum rescaled?",
    ),
    slip(
        "short_state",
        "rounds the sum to 7 bits always",
        "weights.sum(), mantissa)",
        "weights.sum(), 7)",
        "do you round to `mantissa` bits?",
    ),
    slip(
        "short_state",
        "uses no maximum",
        "new = max(top, part.max())",
        "new = top = 0.0",
        "what is the maximum for?",
    ),
    slip(
        "short_state",
        "rounds the weights, too",
        "np.exp(part - new)",
        "round_bits(np.exp(part - new), mantissa)",
        "what is rounded?",
    ),
    slip(
        "short_state",
        "forgets to divide",
        "return mixed / total",
        "return mixed",
        "divided by l?",
    ),
)


class TestNumbersThatDrift(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS
