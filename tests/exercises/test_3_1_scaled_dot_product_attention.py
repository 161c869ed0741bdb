"""Typical wrong answers to the exercises of lesson 3.1, each with its message."""

import re
from functools import partial

from minitransformer.course import grade

from . import bank
from .bank import WrongAnswer

NAME = "3_1_scaled_dot_product_attention"
changed = partial(bank.changed, NAME)

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="attend_one",
        slip="returns the weights",
        source=changed("attend_one", "return weights @ values", "return weights"),
        message="Did you mix them?",
    ),
    WrongAnswer(
        exercise="attend_one",
        slip="mixes with the scores themselves",
        source=changed(
            "attend_one", "softmax(keys @ query / len(query) ** 0.5)", "keys @ query"
        ),
        message="do weights sum to 1?",
    ),
    WrongAnswer(
        exercise="attend_one",
        slip="forgets the scale",
        source=changed("attend_one", " / len(query) ** 0.5", ""),
        message="did you divide the scores by anything?",
    ),
    WrongAnswer(
        exercise="attend_one",
        slip="divides by d",
        source=changed("attend_one", "len(query) ** 0.5", "len(query)"),
        message="did you divide by d, and not by its root?",
    ),
    WrongAnswer(
        exercise="attend_one",
        slip="divides by the root of the number of keys",
        source=changed("attend_one", "len(query)", "len(keys)"),
        message="by the root of what did you divide?",
    ),
    WrongAnswer(
        exercise="causal_weights",
        slip="hides a word from itself",
        source=changed("causal_weights", "k=keys - queries,", "k=keys - queries - 1,"),
        message="may a word not see itself?",
    ),
    WrongAnswer(
        exercise="causal_weights",
        slip="shows the future and hides the past",
        source=changed(
            "causal_weights",
            "np.tri(queries, keys, k=keys - queries, dtype=bool)",
            "~np.tri(queries, keys, k=keys - queries, dtype=bool)",
        ),
        message="may a word not see itself?",
    ),
    WrongAnswer(
        exercise="causal_weights",
        slip="masks after the softmax",
        source="""
def causal_weights(scores):
    queries, keys = scores.shape
    return softmax(scores) * np.tri(queries, keys, k=keys - queries)
""",
        message="is masking before the softmax?",
    ),
    WrongAnswer(
        exercise="causal_weights",
        slip="multiplies the scores by the mask",
        source=changed("causal_weights", "-np.inf", "0.0"),
        message="is its score -inf, or 0?",
    ),
    WrongAnswer(
        exercise="causal_weights",
        slip="aligns the first query with the first key",
        source=changed("causal_weights", "k=keys - queries,", ""),
        message="which key does the first of two queries stand on?",
    ),
    WrongAnswer(
        exercise="causal_weights",
        slip="divides zero by zero where there is no key",
        source="""
def causal_weights(scores):
    queries, keys = scores.shape
    mask = np.tri(queries, keys, k=keys - queries, dtype=bool)
    powers = np.exp(scores) * mask
    with np.errstate(invalid="ignore"):
        return powers / powers.sum(axis=1, keepdims=True)
""",
        message="what is 0 / 0?",
    ),
    WrongAnswer(
        exercise="causal_weights",
        slip="looks at all keys where it may see none",
        source="""
def causal_weights(scores):
    queries, keys = scores.shape
    mask = np.tri(queries, keys, k=keys - queries, dtype=bool)
    return softmax(np.where(mask, scores, -1e30))
""",
        message="should it be zeros?",
    ),
    WrongAnswer(
        exercise="softmax_backward",
        slip="has the sign the wrong way round",
        source=changed("softmax_backward", "grad - average", "average - grad"),
        message="Does its score not go up?",
    ),
    WrongAnswer(
        exercise="softmax_backward",
        slip="keeps only the diagonal of the Jacobian",
        source=changed(
            "softmax_backward",
            "weights * (grad - average)",
            "weights * (1 - weights) * grad",
        ),
        message="who loses it?",
    ),
    WrongAnswer(
        exercise="softmax_backward",
        slip="forgets the weight in front",
        source=changed(
            "softmax_backward", "weights * (grad - average)", "grad - average"
        ),
        message="not 1/4 and -1/4",
    ),
    WrongAnswer(
        exercise="softmax_backward",
        slip="takes off the plain mean",
        source=changed("softmax_backward", "(weights * grad).sum(", "grad.mean("),
        message="which average is taken off?",
    ),
    WrongAnswer(
        exercise="softmax_backward",
        slip="takes one average for all rows",
        source=changed("softmax_backward", "axis=-1, keepdims=True", ""),
        message="Has each row its own average?",
    ),
    WrongAnswer(
        exercise="lookup_matrices",
        slip="makes matrices of one half",
        source="""
def lookup_matrices(letters, sharpness):
    return sharpness * np.eye(letters), np.eye(letters)
""",
        message="does a word of 8 numbers meet 8 rows?",
    ),
    WrongAnswer(
        exercise="lookup_matrices",
        slip="compares whole words",
        source="""
def lookup_matrices(letters, sharpness):
    both = np.eye(2 * letters)
    return sharpness * (2 * letters) ** 0.5 * both, both
""",
        message="do query and key pick the same half?",
    ),
    WrongAnswer(
        exercise="lookup_matrices",
        slip="asks with the first letter",
        source=changed("lookup_matrices", "return W_q, W_k", "return W_k, W_q"),
        message="must the key begin with 1, or end so?",
    ),
    WrongAnswer(
        exercise="lookup_matrices",
        slip="makes both matrices sharp",
        source=changed("lookup_matrices", "W_k = np", "W_k = sharpness * np"),
        message="are both matrices sharp?",
    ),
    WrongAnswer(
        exercise="lookup_matrices",
        slip="forgets that attention divides",
        source=changed("lookup_matrices", "sharpness * letters**0.5", "sharpness"),
        message="did you make up for the root?",
    ),
    WrongAnswer(
        exercise="attention_backward",
        slip="returns the gradient by the weights as that by the value",
        source=changed(
            "attention_backward", "@ query, grad_value", "@ query, grad_weights"
        ),
        message="like query, key and value?",
    ),
    WrongAnswer(
        exercise="attention_backward",
        slip="hands the output's gradient to all values alike",
        source=changed(
            "attention_backward",
            "weights.T @ grad_out",
            "np.ones_like(weights).T @ grad_out",
        ),
        message="does a value move by the weight taken from it?",
    ),
    WrongAnswer(
        exercise="attention_backward",
        slip="forgets the scale",
        source=changed("attention_backward", "query.shape[1] ** -0.5", "1.0"),
        message="Are their gradients?",
    ),
    WrongAnswer(
        exercise="attention_backward",
        slip="lets no key lose what another gains",
        source=changed(
            "attention_backward",
            "weights * (grad_weights - average)",
            "weights * grad_weights",
        ),
        message="do the keys of a query compete?",
    ),
    WrongAnswer(
        exercise="attention_backward",
        slip="scales the query's gradient alone",
        source=changed(
            "attention_backward",
            "scale * grad_scores.T @ query",
            "grad_scores.T @ query",
        ),
        message="Which way round here, and what scale?",
    ),
    WrongAnswer(
        exercise="attention_backward",
        slip="forgets the mask",
        source=changed(
            "attention_backward",
            "weights_of(query, key, mask)",
            "weights_of(query, key, mask | True)",
        ),
        message="who uses the mask?",
    ),
    WrongAnswer(
        exercise="attention_backward",
        slip="makes nan of a row without keys",
        source=changed(
            "attention_backward",
            "mask)\n    grad_value",
            "mask)\n    weights /= weights.sum(axis=1, keepdims=True)\n    grad_value",
        ),
        message="which row sees no key?",
    ),
    WrongAnswer(
        exercise="absorb",
        slip="subtracts minus infinity from itself",
        source=changed("absorb", "np.exp(lse - peak), np", "np.exp(lse - lse), np"),
        message="what is -inf minus -inf?",
    ),
    WrongAnswer(
        exercise="absorb",
        slip="forgets to divide by the total",
        source=changed(
            "absorb",
            "(old * out + new @ values) / total",
            "(old * out + new @ values) / 2",
        ),
        message="is 5 not all there is?",
    ),
    WrongAnswer(
        exercise="absorb",
        slip="weighs the old output like one key",
        source="""
def absorb(out, lse, query, keys, values):
    scores = keys @ query / len(query) ** 0.5
    old, new = float(lse > -np.inf), np.exp(scores)
    total = old + new.sum()
    return (old * out + new @ values) / total, np.log(np.exp(lse) + new.sum())
""",
        message="Does the old output stand for two keys?",
    ),
    WrongAnswer(
        exercise="absorb",
        slip="returns the new logarithm without the old",
        source=changed("absorb", "peak + np.log(total)", "peak + np.log(new.sum())"),
        message="is it the log of three ones?",
    ),
    WrongAnswer(
        exercise="absorb",
        slip="forgets the scale",
        source=changed("absorb", " / len(query) ** 0.5", ""),
        message="where is the root of d?",
    ),
    WrongAnswer(
        exercise="absorb",
        slip="lets exponentials overflow",
        source="""
def absorb(out, lse, query, keys, values):
    scores = keys @ query / len(query) ** 0.5
    with np.errstate(over="ignore", invalid="ignore"):
        old, new = np.exp(lse), np.exp(scores)
        total = old + new.sum()
        return (old * out + new @ values) / total, np.log(total)
""",
        message="can exp(2000) be avoided?",
    ),
    WrongAnswer(
        exercise="absorb",
        slip="subtracts the greatest number only where it is positive",
        source=changed("absorb", "peak = max(lse,", "peak = max(0.0, lse,"),
        message="which number is taken off first?",
    ),
    WrongAnswer(
        exercise="absorb",
        slip="asks for the greatest of no score",
        source=changed("absorb", "scores.max(initial=-np.inf)", "scores.max()"),
        message="zero-size array",
    ),
    WrongAnswer(
        exercise="absorb",
        slip="divides by nothing where there is no key at all",
        source=changed("absorb", "if peak == -np.inf:", "if False:"),
        message="no key at all gave",
    ),
)


class TestTheExercises(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS


def test_the_snippet_at_the_end_agrees_with_theory():
    notebook = grade.read(bank.solution_of(NAME))
    names = {"print": lambda *_: None}
    for cell in notebook.cells:
        if grade.role(cell) in ("given", "answer"):
            exec(cell.source, names)
    snippet = re.search("```python\n(.*?)```", notebook.cells[-1].source, re.S)[1]
    exec(snippet.replace("(200)", "(20)").replace("200_000", "20_000"), names)
    got = names["lse"] - names["np"].log(20_000)
    theory = names["query"] @ names["query"] / 128
    # the mean of 20,000 exponentials of a normal of variance v has a relative spread
    # of sqrt((e^v - 1) / 20,000), below 0.04 for v < 3.5; v is 1 within 0.18
    assert abs(got - theory) < 0.2
