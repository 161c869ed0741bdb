"""Typical wrong answers to the exercises of lesson 6.3, each with its message."""

from functools import partial

from . import bank
from .bank import WrongAnswer

NAME = "6_3_probabilistic_flash"
changed = partial(bank.changed, NAME)


def slip(exercise, name, old, new, message):
    """One slip: a piece of the solution, and what stands in its place."""
    return WrongAnswer(exercise, name, changed(exercise, old, new), message)


SHARES = "shares = taken.mean(axis=0) / probabilities"
OUT = "return shares @ numerators / (shares @ denominators)"
WRONG_ANSWERS = (
    slip(
        "work_share",
        "takes the mean of the probabilities",
        "float(probabilities @ at_distance / at_distance.sum())",
        "float(probabilities.mean())",
        "are there as many blocks at each distance?",
    ),
    slip(
        "work_share",
        "divides by the whole square",
        "at_distance.sum()",
        "n**2",
        "does the future count as work left out?",
    ),
    slip(
        "work_share",
        "counts the blocks from the corner",
        "n - np.arange(n)",
        "np.arange(n) + 1",
        "2 of which 3?",
    ),
    slip(
        "work_share",
        "forgets the diagonal in the whole",
        "at_distance.sum()",
        "(at_distance.sum() - 1)",
        "what is the whole?",
    ),
    slip(
        "pack",
        "returns distances",
        "np.arange(len(taken))[:, None] - kept",
        "np.zeros((len(taken), 1), int) + kept",
        "which comes first, near or far?",
    ),
    slip(
        "pack",
        "packs the far end first",
        "np.flatnonzero(taken)",
        "np.flatnonzero(taken)[::-1]",
        "which comes first, near or far?",
    ),
    slip(
        "pack",
        "leaves negative blocks",
        "np.where(key_blocks >= 0, key_blocks, -1)",
        "key_blocks",
        "what stands before the first key block?",
    ),
    slip(
        "pack",
        "keeps a column for every distance",
        "kept = np.flatnonzero(taken)",
        "kept = np.arange(len(taken))",
        "one row a query block, one column a step?",
    ),
    slip(
        "pack",
        "wraps around",
        "np.where(key_blocks >= 0, key_blocks, -1)",
        "key_blocks % len(taken)",
        "who has 2 behind it?",
    ),
    slip(
        "pooled_output",
        "forgets the weights",
        SHARES,
        "shares = taken.mean(axis=0)",
        "what is a rare block worth when it comes?",
    ),
    slip(
        "pooled_output",
        "multiplies by the probability",
        "/ probabilities",
        "* probabilities",
        "did you multiply by p?",
    ),
    slip(
        "pooled_output",
        "weights the numerator alone",
        "(shares @ denominators)",
        "(taken.mean(axis=0) @ denominators)",
        "is the denominator weighted, too?",
    ),
    slip(
        "pooled_output",
        "divides by all denominators",
        "(shares @ denominators)",
        "denominators.sum()",
        "is the denominator weighted, too?",
    ),
    slip(
        "pooled_output",
        "averages the outputs of the rounds",
        OUT,
        "w = taken / probabilities\n"
        "    return (w @ numerators / (w @ denominators)[:, None]).mean(axis=0)",
        "a mean of quotients?",
    ),
    slip(
        "pooled_output",
        "forgets to divide",
        OUT,
        "return shares @ numerators",
        "what do you divide by?",
    ),
    slip(
        "round_variance",
        "takes 1 / p",
        "(1 - probabilities) / probabilities",
        "1 / probabilities",
        "1/p, or 1/p - 1?",
    ),
    slip(
        "round_variance",
        "takes the variance of a coin",
        "(1 - probabilities) / probabilities",
        "(1 - probabilities) * probabilities",
        "the variance of taken, or of taken / p?",
    ),
    slip(
        "round_variance",
        "squares the numerators",
        "numerators - denominators[:, None] * exact",
        "numerators",
        "does a distance pull that agrees with the rest?",
    ),
    slip(
        "round_variance",
        "does not divide",
        " / total**2",
        "",
        "do the denominators add up to 1?",
    ),
    slip(
        "round_variance",
        "divides once",
        "total**2",
        "total",
        "is the sum of the denominators squared?",
    ),
    slip(
        "round_variance",
        "averages over the width",
        ".sum(axis=1) / total",
        ".mean(axis=1) / total",
        "summed up?",
    ),
    slip(
        "flash_round",
        "does not rescale",
        "np.exp(scores - new), np.exp(top - new)",
        "np.exp(scores - new), 1.0",
        "rescaled the old sums?",
    ),
    slip(
        "flash_round",
        "rescales the sum alone",
        "mixed * rescale",
        "mixed",
        "rescaled the old sums?",
    ),
    slip(
        "flash_round",
        "sees the future in its block",
        "np.where(columns <= rows[:, None], scores, -np.inf)",
        "scores",
        "does it see what comes later?",
    ),
    slip(
        "flash_round",
        "ignores the size of a share",
        "scores = scores + np.log(shares[distance])",
        "pass",
        "where does it enter?",
    ),
    slip(
        "flash_round",
        "adds the share itself",
        "np.log(shares[distance])",
        "shares[distance]",
        "log, or share?",
    ),
    slip(
        "flash_round",
        "computes every distance",
        "for distance in np.flatnonzero(shares):",
        "for distance in range(len(shares)):\n"
        "            shares = np.maximum(shares, 1)",
        "is a share of 0 left out?",
    ),
    slip(
        "flash_round",
        "forgets the scale",
        " / np.sqrt(query.shape[1])",
        "",
        "divided by the root of dim?",
    ),
    slip(
        "flash_round",
        "uses no maximum",
        "new = np.maximum(top, scores.max(axis=1, keepdims=True))",
        "new = top = np.zeros((len(rows), 1))",
        "what is the maximum for?",
    ),
)


class TestProbabilisticFlash(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS
