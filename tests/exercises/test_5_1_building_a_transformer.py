"""Typical wrong answers to the exercises of lesson 5.1, each with its message."""

import re
from functools import partial

from minitransformer.course import grade

from . import bank
from .bank import WrongAnswer

NAME = "5_1_building_a_transformer"
changed = partial(bank.changed, NAME)

TWO_MORE = "2 * dim * dim + 2 * dim * kv_heads * head_dim"
MEAN = "(log_sum - low[np.arange(len(targets)), targets]).mean()"
ADDED = "x = x + np.tanh(norm(x) @ w)"
TURNED = "[[cos, sin], [-sin, cos]]"
SECOND = "w_q[before, vocab:], w_k[earlier, vocab:] = sharp * eye, eye"
FIRST = "w_q[word, :vocab], w_k[before, :vocab] = 2 * sharp * eye, eye"

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="count_weights",
        slip="forgets the output matrix",
        source=changed("count_weights", "2 * dim * dim +", "dim * dim +"),
        message="Which one writes to the stream?",
    ),
    WrongAnswer(
        exercise="count_weights",
        slip="forgets the gate",
        source=changed("count_weights", "3 * dim * hidden", "2 * dim * hidden"),
        message="What does a gate need?",
    ),
    WrongAnswer(
        exercise="count_weights",
        slip="forgets the last norm",
        source=changed("count_weights", "layers * block + dim", "layers * block"),
        message="what does the head read?",
    ),
    WrongAnswer(
        exercise="count_weights",
        slip="has one norm in a layer",
        source=changed("count_weights", "+ 2 * dim\n", "+ dim\n"),
        message="what do attention and feed-forward see?",
    ),
    WrongAnswer(
        exercise="count_weights",
        slip="counts a tied head",
        source=changed("count_weights", "(1 if tied else 2)", "2"),
        message="is it counted twice?",
    ),
    WrongAnswer(
        exercise="count_weights",
        slip="forgets the head",
        source=changed("count_weights", "(1 if tied else 2) * ", ""),
        message="what does a head of its own add?",
    ),
    WrongAnswer(
        exercise="count_weights",
        slip="gives keys and values all heads",
        source=changed("count_weights", TWO_MORE, "4 * dim * dim"),
        message="do keys and values still have all columns?",
    ),
    WrongAnswer(
        exercise="count_weights",
        slip="narrows the output, too",
        source=changed(
            "count_weights", TWO_MORE, "dim * dim + 3 * dim * kv_heads * head_dim"
        ),
        message="do fewer key heads change queries, or the output?",
    ),
    WrongAnswer(
        exercise="pre_norm",
        slip="leaves out the last norm",
        source=changed("pre_norm", "return norm(x)", "return x"),
        message="does the last norm still stand there?",
    ),
    WrongAnswer(
        exercise="pre_norm",
        slip="divides by the length",
        source=changed(
            "pre_norm",
            "(y**2).mean(axis=-1, keepdims=True)",
            "(y**2).sum(axis=-1, keepdims=True)",
        ),
        message="or of the sum?",
    ),
    WrongAnswer(
        exercise="pre_norm",
        slip="takes the mean over tokens",
        source=changed("pre_norm", "mean(axis=-1,", "mean(axis=0,"),
        message="or over tokens?",
    ),
    WrongAnswer(
        exercise="pre_norm",
        slip="takes off the mean first",
        source=changed(
            "pre_norm",
            "return y / np",
            "y = y - y.mean(axis=-1, keepdims=True)\n        return y / np",
        ),
        message="the norm alone gives",
    ),
    WrongAnswer(
        exercise="pre_norm",
        slip="adds eps to the root",
        source=changed(
            "pre_norm",
            "np.sqrt((y**2).mean(axis=-1, keepdims=True) + eps)",
            "(np.sqrt((y**2).mean(axis=-1, keepdims=True)) + eps)",
        ),
        message="is it added under the root",
    ),
    WrongAnswer(
        exercise="pre_norm",
        slip="adds to the normalized stream",
        source=changed("pre_norm", ADDED, "x = norm(x) + np.tanh(norm(x) @ w)"),
        message="or what norm made of it?",
    ),
    WrongAnswer(
        exercise="pre_norm",
        slip="does not add",
        source=changed("pre_norm", ADDED, "x = np.tanh(norm(x) @ w)"),
        message="Should it add to it?",
    ),
    WrongAnswer(
        exercise="pre_norm",
        slip="puts the norm after each sum",
        source=changed("pre_norm", ADDED, "x = norm(x + np.tanh(x @ w))"),
        message="What should it see?",
    ),
    WrongAnswer(
        exercise="pre_norm",
        slip="shows all parts the first stream",
        source=changed(
            "pre_norm",
            "for w in parts:\n        x = x + np.tanh(norm(x) @ w)",
            "seen = norm(x)\n    for w in parts:\n        x = x + np.tanh(seen @ w)",
        ),
        message="does the second see the first's sum?",
    ),
    WrongAnswer(
        exercise="first_loss",
        slip="forgets the minus",
        source=changed("first_loss", MEAN, f"-{MEAN}"),
        message="which sign?",
    ),
    WrongAnswer(
        exercise="first_loss",
        slip="counts bits",
        source=changed("first_loss", MEAN, f"{MEAN} / np.log(2)"),
        message="Which logarithm gives nats?",
    ),
    WrongAnswer(
        exercise="first_loss",
        slip="adds up over tokens",
        source=changed("first_loss", MEAN, MEAN.replace("mean", "sum")),
        message="or their mean?",
    ),
    WrongAnswer(
        exercise="first_loss",
        slip="takes the softmax over tokens",
        source="""
def first_loss(scores, targets):
    low = scores - scores.max(axis=0)
    chances = np.exp(low) / np.exp(low).sum(axis=0)
    return float(-np.log(chances[np.arange(len(targets)), targets]).mean())
""",
        message="not over tokens",
    ),
    WrongAnswer(
        exercise="first_loss",
        slip="takes the logarithm of the mean chance",
        source="""
def first_loss(scores, targets):
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    chances = powers / powers.sum(axis=1, keepdims=True)
    return float(-np.log(chances[np.arange(len(targets)), targets].mean()))
""",
        message="is the logarithm before the mean, or after?",
    ),
    WrongAnswer(
        exercise="first_loss",
        slip="lets exp overflow",
        source=changed(
            "first_loss", "scores - scores.max(axis=1, keepdims=True)", "scores"
        ),
        message="what may you take off each row?",
    ),
    WrongAnswer(
        exercise="first_loss",
        slip="adds something tiny to the chance",
        source="""
def first_loss(scores, targets):
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    chances = powers / powers.sum(axis=1, keepdims=True)
    return float(-np.log(chances[np.arange(len(targets)), targets] + 1e-12).mean())
""",
        message="was a chance cut?",
    ),
    WrongAnswer(
        exercise="cut_joined",
        slip="puts heads first",
        source=changed("cut_joined", "(3, heads,", "(heads, 3,"),
        message="swapped?",
    ),
    WrongAnswer(
        exercise="cut_joined",
        slip="does not transpose",
        source=changed("cut_joined", "joined.T.", "joined."),
        message="Which column makes the first number of a query?",
    ),
    WrongAnswer(
        exercise="cut_joined",
        slip="lets query, key and value take turns",
        source=changed(
            "cut_joined",
            "joined.T.reshape(3, heads, dim // heads, dim)",
            "joined.T.reshape(heads, dim // heads, 3, dim).transpose(2, 0, 1, 3)",
        ),
        message="do q, k and v take turns?",
    ),
    WrongAnswer(
        exercise="cut_joined",
        slip="lets heads take turns",
        source=changed(
            "cut_joined",
            "joined.T.reshape(3, heads, dim // heads, dim)",
            "joined.T.reshape(3, dim // heads, heads, dim).transpose(0, 2, 1, 3)",
        ),
        message="do heads take turns?",
    ),
    WrongAnswer(
        exercise="cut_joined",
        slip="cuts heads before query, key and value",
        source=changed(
            "cut_joined",
            "joined.T.reshape(3, heads, dim // heads, dim)",
            "joined.T.reshape(heads, 3, dim // heads, dim).transpose(1, 0, 2, 3)",
        ),
        message="is each head q, k, v, or is q all heads?",
    ),
    WrongAnswer(
        exercise="look_back",
        slip="turns forward",
        source=changed("look_back", TURNED, "[[cos, -sin], [sin, cos]]"),
        message="Where is the minus?",
    ),
    WrongAnswer(
        exercise="look_back",
        slip="takes cosine before sine",
        source=changed("look_back", TURNED, "[[sin, cos], [cos, -sin]]"),
        message="what should happen to the clock?",
    ),
    WrongAnswer(
        exercise="look_back",
        slip="forgets a sign",
        source=changed("look_back", TURNED, "[[cos, sin], [sin, cos]]"),
        message="the first hand does not go back by its speed",
    ),
    WrongAnswer(
        exercise="look_back",
        slip="turns all hands alike",
        source=changed(
            "look_back",
            "steps * np.asarray(speeds)",
            "steps * np.full(len(speeds), speeds[0])",
        ),
        message="Has each hand its own angle?",
    ),
    WrongAnswer(
        exercise="look_back",
        slip="multiplies the matrix by the steps",
        source=changed(
            "look_back", "steps * np.asarray(speeds)", "np.asarray(speeds)"
        ).replace("return matrix", "return steps * matrix if steps else np.eye(4)"),
        message="three times as large, or farther?",
    ),
    WrongAnswer(
        exercise="look_back",
        slip="knows one step only",
        source=changed(
            "look_back", "steps * np.asarray(speeds)", "np.sign(steps) * speeds"
        ),
        message="which angle is that?",
    ),
    WrongAnswer(
        exercise="look_back",
        slip="takes whole steps",
        source=changed("look_back", "(steps * np", "(int(steps) * np"),
        message="two half steps should make one",
    ),
    WrongAnswer(
        exercise="after_two",
        slip="compares word with word",
        source=changed(
            "after_two", FIRST, FIRST.replace("w_k[before", "w_k[word")
        ).replace("w_k[earlier", "w_k[before"),
        message="who is compared, and what is taken?",
    ),
    WrongAnswer(
        exercise="after_two",
        slip="takes the word before",
        source=changed("after_two", "w_v[word]", "w_v[before]"),
        message="who is compared, and what is taken?",
    ),
    WrongAnswer(
        exercise="after_two",
        slip="takes the word two places before",
        source=changed("after_two", "w_v[word]", "w_v[earlier]"),
        message="From which column do you take?",
    ),
    WrongAnswer(
        exercise="after_two",
        slip="whispers",
        source=changed("after_two", "30.0", "1.0"),
        message="Are scores large enough?",
    ),
    WrongAnswer(
        exercise="after_two",
        slip="looks at one word",
        source=changed("after_two", SECOND, "pass"),
        message="Who looks at the 1?",
    ),
    WrongAnswer(
        exercise="after_two",
        slip="believes the word before more",
        source=changed("after_two", "2 * sharp * eye", "sharp / 2 * eye"),
        message="Is the 7 the better witness?",
    ),
    WrongAnswer(
        exercise="after_two",
        slip="believes both words alike",
        source=changed("after_two", "2 * sharp * eye", "sharp * eye"),
        message="7 2 is new, but after 2 came 5",
    ),
    WrongAnswer(
        exercise="after_two",
        slip="is not sharp enough among many",
        source=changed("after_two", "30.0", "5.0"),
        message="was said 60 times",
    ),
    WrongAnswer(
        exercise="after_two",
        slip="writes over the word",
        source=changed("after_two", "w_o[:, coming]", "w_o[:, word]"),
        message="only *coming* may change",
    ),
)


class TestTheExercises(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS


def test_the_snippet_at_the_end_continues_the_pair(capsys):
    notebook = grade.read(bank.solution_of(NAME))
    names = {}
    for cell in notebook.cells:
        if grade.role(cell) in ("given", "answer"):
            exec(cell.source, names)
        if grade.grade_id(cell) == "after_two_check":
            exec(cell.source.partition("\n\n\n")[0], names)
    exec(re.search("```python\n(.*?)```", notebook.cells[-1].source, re.S)[1], names)
    assert capsys.readouterr().out.startswith("{'on': 1.0, ")
