"""Typical wrong answers to the exercises of lesson 3.2, each with its message."""

import re
from functools import partial

from minitransformer.course import grade

from . import bank
from .bank import WrongAnswer

NAME = "3_2_multi_head_attention"
changed = partial(bank.changed, NAME)

CUT = "x.reshape(batch, length, heads, width // heads).transpose(0, 2, 1, 3)"
RETURNED = "return weights, 2 * length * weights + pairs, 2 * kv_heads * head_dim"
HALVED = "return weights, length * weights + pairs // 2, 2 * kv_heads * head_dim"

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="split_heads",
        slip="reshapes without a transpose",
        source=changed("split_heads", CUT, "x.reshape(batch, heads, length, -1)"),
        message="does a reshape alone keep tokens apart?",
    ),
    WrongAnswer(
        exercise="split_heads",
        slip="leaves the positions first",
        source=changed("split_heads", ".transpose(0, 2, 1, 3)", ""),
        message="Did you transpose?",
    ),
    WrongAnswer(
        exercise="split_heads",
        slip="deals the numbers out in turn",
        source=changed(
            "split_heads",
            CUT,
            "x.reshape(batch, length, width // heads, heads).transpose(0, 3, 1, 2)",
        ),
        message="is a head one stretch of them?",
    ),
    WrongAnswer(
        exercise="split_heads",
        slip="looks at the first sequence only",
        source=changed("split_heads", CUT, CUT.replace("x.", "(x * 0 + x[:1]).")),
        message="is the batch kept apart?",
    ),
    WrongAnswer(
        exercise="layer_cost",
        slip="forgets the output matrix",
        source=changed(
            "layer_cost",
            "2 * dim * head_dim * (heads + kv_heads)",
            "dim * head_dim * (heads + 2 * kv_heads)",
        ),
        message="Which one joins the heads again?",
    ),
    WrongAnswer(
        exercise="layer_cost",
        slip="gives keys and values all heads",
        source=changed("layer_cost", "(heads + kv_heads)", "(heads + heads)"),
        message="which shrink?",
    ),
    WrongAnswer(
        exercise="layer_cost",
        slip="takes head_dim for dim / heads",
        source=changed("layer_cost", "2 * dim * head_dim", "2 * dim * (dim // heads)"),
        message="is head_dim always dim / heads?",
    ),
    WrongAnswer(
        exercise="layer_cost",
        slip="counts multiplications alone",
        source=changed("layer_cost", RETURNED, HALVED),
        message="are two operations",
    ),
    WrongAnswer(
        exercise="layer_cost",
        slip="forgets to mix the values",
        source=changed("layer_cost", "2 * heads * (2", "heads * (2"),
        message="are values mixed, too",
    ),
    WrongAnswer(
        exercise="layer_cost",
        slip="counts the projections alone",
        source=changed("layer_cost", " + pairs", ""),
        message="What do scores cost?",
    ),
    WrongAnswer(
        exercise="layer_cost",
        slip="lets key heads ask",
        source=changed("layer_cost", "2 * heads * (2", "2 * kv_heads * (2"),
        message="Who asks?",
    ),
    WrongAnswer(
        exercise="layer_cost",
        slip="caches keys alone",
        source=changed("layer_cost", ", 2 * kv_heads", ", kv_heads"),
        message="Are both kept?",
    ),
    WrongAnswer(
        exercise="layer_cost",
        slip="counts the cache of the whole sequence",
        source=changed("layer_cost", ", 2 * kv_heads", ", length * 2 * kv_heads"),
        message="does it depend on the length?",
    ),
    WrongAnswer(
        exercise="head_parts",
        slip="adds the heads up",
        source="""
def head_parts(out, w_o):
    return np.concatenate(list(out), axis=1) @ w_o
""",
        message="What does each head add?",
    ),
    WrongAnswer(
        exercise="head_parts",
        slip="lets all heads meet the first rows",
        source="""
def head_parts(out, w_o):
    return out @ w_o[: out.shape[2]]
""",
        message="Which rows are its own?",
    ),
    WrongAnswer(
        exercise="head_parts",
        slip="deals the rows out in turn",
        source="""
def head_parts(out, w_o):
    return np.stack([each @ w_o[h :: len(out)] for h, each in enumerate(out)])
""",
        message="did you cut rows, one after the other?",
    ),
    WrongAnswer(
        exercise="pool_heads",
        slip="puts every second head together",
        source=changed(
            "pool_heads",
            "kv_heads, heads // kv_heads, width // heads)",
            "heads // kv_heads, kv_heads, width // heads)",
        ).replace("axis=2", "axis=1"),
        message="is the neighbor of 0 not 1?",
    ),
    WrongAnswer(
        exercise="pool_heads",
        slip="keeps the first head",
        source=changed("pool_heads", ".mean(axis=2)", "[:, :, 0]"),
        message="is that the first head, or the mean?",
    ),
    WrongAnswer(
        exercise="pool_heads",
        slip="adds up",
        source=changed("pool_heads", ".mean(", ".sum("),
        message="is that a sum, or a mean?",
    ),
    WrongAnswer(
        exercise="pool_heads",
        slip="averages neighboring numbers",
        source="""
def pool_heads(w, heads, kv_heads):
    if heads % kv_heads:
        raise ValueError("kv_heads does not divide heads")
    times = heads // kv_heads
    return w.reshape(len(w), -1, times).mean(axis=2)
""",
        message="is each number averaged with its like in the other head?",
    ),
    WrongAnswer(
        exercise="pool_heads",
        slip="takes any number of heads",
        source="""
def pool_heads(w, heads, kv_heads):
    times, size = heads // kv_heads, w.shape[1] // heads
    groups = w[:, : kv_heads * times * size].reshape(len(w), kv_heads, times, size)
    return groups.mean(axis=2).reshape(len(w), -1)
""",
        message="should there be a ValueError?",
    ),
    WrongAnswer(
        exercise="shared_attention",
        slip="repeats the row of key heads",
        source=changed(
            "shared_attention",
            "np.repeat(key, times, axis=1), np.repeat(value, times, axis=1)",
            "np.tile(key, (1, times, 1, 1)), np.tile(value, (1, times, 1, 1))",
        ),
        message="Do neighbors, 0 and 1, not share one?",
    ),
    WrongAnswer(
        exercise="shared_attention",
        slip="does not scale",
        source=changed("shared_attention", " / query.shape[-1] ** 0.5", ""),
        message="did you divide by the root of head_dim?",
    ),
    WrongAnswer(
        exercise="shared_attention",
        slip="lets exp overflow",
        source=changed(
            "shared_attention", "scores - scores.max(axis=-1, keepdims=True)", "scores"
        ),
        message="What may you take off?",
    ),
    WrongAnswer(
        exercise="shared_attention",
        slip="forgets to divide by the sum",
        source=changed("shared_attention", " / powers.sum(axis=-1, keepdims=True)", ""),
        message="do your weights sum to 1 over the keys?",
    ),
    WrongAnswer(
        exercise="shared_attention",
        slip="normalizes over the queries",
        source=changed(
            "shared_attention",
            "powers.sum(axis=-1, keepdims=True)",
            "powers.sum(axis=-2, keepdims=True)",
        ),
        message="is the output the mean over the keys?",
    ),
    WrongAnswer(
        exercise="point_at",
        slip="puts the keys on a line",
        source="""
def point_at(targets, keys):
    key = np.stack([np.linspace(-1, 1, keys), np.zeros(keys)], axis=1)
    return 1000 * key[targets], key
""",
        message="does it lie between the two others?",
    ),
    WrongAnswer(
        exercise="point_at",
        slip="keeps the queries short",
        source=changed("point_at", "2**0.5 * size * ", ""),
        message="are scores large enough?",
    ),
    WrongAnswer(
        exercise="point_at",
        slip="does not follow the targets",
        source=changed(
            "point_at",
            "key[np.asarray(targets, dtype=int)]",
            "key[np.arange(len(targets)) % keys]",
        ),
        message="Do your queries follow the targets?",
    ),
    WrongAnswer(
        exercise="point_at",
        slip="points too softly for 8 keys",
        source=changed("point_at", "np.log(200 * keys) / gap", "8"),
        message="how far behind is a neighbor?",
    ),
    WrongAnswer(
        exercise="point_at",
        slip="does not point harder among more keys",
        source=changed("point_at", "np.log(200 * keys) / gap", "100"),
        message="Do your scores grow with it?",
    ),
)


class TestTheExercises(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS


def test_the_snippet_at_the_end_shows_how_scores_grow():
    notebook = grade.read(bank.solution_of(NAME))
    names = {}
    for cell in notebook.cells:
        if grade.role(cell) in ("given", "answer"):
            exec(cell.source, names)
    query, key = names["point_at"]([0], 8)
    few = (query @ key.T).max()
    exec(re.search("```python\n(.*?)```", notebook.cells[-1].source, re.S)[1], names)
    query, key = names["point_at"]([0], 64)
    assert 60 < (query @ key.T).max() / few < 100
