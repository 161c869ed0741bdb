"""Typical wrong answers to the exercises of lesson 6.2, each with its message."""

import re
from functools import partial

from minitransformer.course import grade

from . import bank
from .bank import WrongAnswer

NAME = "6_2_tiling_forward_and_backward"
changed = partial(bank.changed, NAME)

DELTA = "delta = (grad_out * out).sum(axis=1, keepdims=True)"

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="tiles_to_visit",
        slip="compares the numbers of blocks",
        source=changed("tiles_to_visit", "j <= last", "j // columns <= i // rows"),
        message="is a bound in numbers of tiles a bound in positions?",
    ),
    WrongAnswer(
        exercise="tiles_to_visit",
        slip="skips the diagonal",
        source=changed("tiles_to_visit", "j <= last", "j + columns <= i + S - L"),
        message="is a tile on the diagonal half seen?",
    ),
    WrongAnswer(
        exercise="tiles_to_visit",
        slip="goes one key too far",
        source=changed("tiles_to_visit", "j <= last", "j <= last + 1"),
        message="Does it see key 2?",
    ),
    WrongAnswer(
        exercise="tiles_to_visit",
        slip="visits all tiles",
        source=changed("tiles_to_visit", "if j <= last:", "if True:"),
        message="Does it see key 2?",
    ),
    WrongAnswer(
        exercise="tiles_to_visit",
        slip="takes the first query of the block",
        source=changed("tiles_to_visit", "min(i + rows, L) - 1 + S", "i + S"),
        message="is a bound in numbers of tiles a bound in positions?",
    ),
    WrongAnswer(
        exercise="tiles_to_visit",
        slip="aligns the first query with the first key",
        source=changed(
            "tiles_to_visit", "min(i + rows, L) - 1 + S - L", "i + rows - 1"
        ),
        message="where does the first query stand?",
    ),
    WrongAnswer(
        exercise="tiles_to_visit",
        slip="goes column by column",
        source=changed(
            "tiles_to_visit",
            "return found",
            "return sorted(found, key=lambda t: t[::-1])",
        ),
        message="your tiles go column by column",
    ),
    WrongAnswer(
        exercise="largest_block",
        slip="forgets the scores",
        source=changed("largest_block", " + 2 + columns", " + 2"),
        message="do the scores take no room?",
    ),
    WrongAnswer(
        exercise="largest_block",
        slip="forgets the keys and values",
        source=changed("largest_block", "numbers - passing", "numbers"),
        message="do keys and values take no room?",
    ),
    WrongAnswer(
        exercise="largest_block",
        slip="forgets the output",
        source=changed("largest_block", "row = 2 * head_dim", "row = head_dim"),
        message="does the output stay, too?",
    ),
    WrongAnswer(
        exercise="largest_block",
        slip="rounds up",
        source=changed(
            "largest_block",
            "(numbers - passing) // row",
            "-(-(numbers - passing) // row)",
        ),
        message="which way is it rounded?",
    ),
    WrongAnswer(
        exercise="largest_block",
        slip="returns a negative number",
        source=changed(
            "largest_block",
            "max(0, (numbers - passing) // row)",
            "(numbers - passing) // row",
        ),
        message="do not even hold the keys",
    ),
    WrongAnswer(
        exercise="tile_forward",
        slip="forgets to mend the mixture",
        source=changed("tile_forward", "shrink[:, None] * mixed", "mixed"),
        message="what becomes of the old 30",
    ),
    WrongAnswer(
        exercise="tile_forward",
        slip="forgets to mend the total",
        source=changed("tile_forward", "shrink * total", "total"),
        message="what becomes of the old 3 ",
    ),
    WrongAnswer(
        exercise="tile_forward",
        slip="takes the peak of this tile alone",
        source=changed(
            "tile_forward", "np.maximum(peak, scores.max(axis=1))", "scores.max(axis=1)"
        ),
        message="the peak fell from 5000",
    ),
    WrongAnswer(
        exercise="tile_forward",
        slip="forgets the scale",
        source=changed("tile_forward", " / q.shape[1] ** 0.5", ""),
        message="where is the root of d?",
    ),
    WrongAnswer(
        exercise="tile_forward",
        slip="divides in every tile",
        source=changed(
            "tile_forward",
            "shrink[:, None] * mixed + powers @ v",
            "(shrink[:, None] * mixed + powers @ v) / total[:, None]",
        ),
        message="Is it divided too early?",
    ),
    WrongAnswer(
        exercise="tile_forward",
        slip="subtracts minus infinity from itself",
        source=changed(
            "tile_forward", "np.where(np.isneginf(higher), 0.0, higher)", "higher"
        ),
        message="which row has seen no key yet?",
    ),
    WrongAnswer(
        exercise="tile_forward",
        slip="masks with zeros",
        source=changed("tile_forward", "** 0.5, -np.inf)", "** 0.5, 0.0)"),
        message="key 1 is hidden, yet the mixture is",
    ),
    WrongAnswer(
        exercise="tile_backward",
        slip="sums P dP over the keys of this tile",
        source=changed(
            "tile_backward",
            DELTA,
            DELTA.replace("grad_out * out", "p * (grad_out @ v.T)"),
        ),
        message="the sum of P dP runs over *all* keys",
    ),
    WrongAnswer(
        exercise="tile_backward",
        slip="makes the weights of a tile sum to 1",
        source=changed(
            "tile_backward",
            "np.exp(scale * q @ k.T - lse[:, None])",
            "weights_of(scale * q @ k.T)",
        ),
        message="What is lse for?",
    ),
    WrongAnswer(
        exercise="tile_backward",
        slip="forgets the delta",
        source=changed("tile_backward", "grad_out @ v.T - delta", "grad_out @ v.T"),
        message="what is taken off dP",
    ),
    WrongAnswer(
        exercise="tile_backward",
        slip="sums grad_out alone",
        source=changed("tile_backward", "grad_out * out", "grad_out"),
        message="rowsum of what?",
    ),
    WrongAnswer(
        exercise="tile_backward",
        slip="forgets the scale",
        source=changed(
            "tile_backward",
            "return scale * grad_scores @ k,",
            "return grad_scores @ k,",
        ),
        message="Are their gradients?",
    ),
    WrongAnswer(
        exercise="tile_backward",
        slip="scales the query's gradient alone",
        source=changed("tile_backward", "scale * grad_scores.T", "grad_scores.T"),
        message="Which way round here, and what scale?",
    ),
    WrongAnswer(
        exercise="tile_backward",
        slip="returns the gradients in another order",
        source=changed("tile_backward", "@ q, p.T @ grad_out", "@ q, p @ v"),
        message="like q, k and v?",
    ),
    WrongAnswer(
        exercise="flash",
        slip="forgets to mend the output",
        source=changed("flash", "shrink[:, None] * out[here]", "out[here]"),
        message="What is mended, what is D",
    ),
    WrongAnswer(
        exercise="flash",
        slip="sums D over the keys of a tile",
        source=changed(
            "flash",
            "value[there].T - delta[here, None]",
            "value[there].T - (p * (grad_out[here] @ value[there].T))"
            ".sum(axis=1)[:, None]",
        ),
        message="What is mended, what is D",
    ),
    WrongAnswer(
        exercise="flash",
        slip="bounds the loop by the number of the block",
        source=changed(
            "flash",
            "if j <= here.stop - 1 + S - L:",
            "if j // columns <= i // rows + S - L:",
        ),
        message="Is the bound in positions, or in numbers of tiles?",
    ),
    WrongAnswer(
        exercise="flash",
        slip="aligns the first query with the first key",
        source=changed("flash", "[:, None] + S - L", "[:, None]"),
        message="Where does the first one stand?",
    ),
    WrongAnswer(
        exercise="flash",
        slip="lets all see all",
        source=changed("flash", "np.where(at_k <= at_q, scores, -np.inf)", "scores"),
        message="Is the mask, or the scale, right?",
    ),
    WrongAnswer(
        exercise="flash",
        slip="forgets the scale of the gradients",
        source=changed("flash", "ds = scale * p", "ds = p"),
        message="Is the mask, or the scale, right?",
    ),
    WrongAnswer(
        exercise="flash",
        slip="overwrites the keys' gradients block by block",
        source=changed("flash", "grads[1][there] +=", "grads[1][there] ="),
        message="what is added up?",
    ),
    WrongAnswer(
        exercise="flash",
        slip="makes nan where a query sees nothing",
        source=changed(
            "flash",
            "base = np.where(np.isneginf(lse[here]), 0.0, lse[here])",
            "base = lse[here]",
        ),
        message="nan. Which rows see nothing?",
    ),
    WrongAnswer(
        exercise="flash",
        slip="returns the peak as lse",
        source=changed("flash", "peak + np.log(some)", "peak"),
        message="lse, 4 queries",
    ),
)


class TestTheExercises(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS


def test_the_snippet_at_the_end_shows_means_of_more_and_more():
    notebook = grade.read(bank.solution_of(NAME))
    names = {}
    for cell in notebook.cells:
        if grade.role(cell) in ("given", "answer"):
            exec(cell.source, names)
    snippet = re.search("```python\n(.*?)```", notebook.cells[-1].source, re.S)[1]
    sizes = []
    exec(snippet.replace("4000", "1000"), names | {"print": lambda *s: sizes.extend(s)})
    # a mean of n values shrinks with the root of n: 150 seen against 950
    assert sizes[0] > 1.7 * sizes[1]
