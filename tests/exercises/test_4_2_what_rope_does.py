"""Typical wrong answers to the exercises of lesson 4.2, each with its message."""

import re
from functools import partial

from minitransformer.course import grade

from . import bank
from .bank import WrongAnswer

NAME = "4_2_what_rope_does"
changed = partial(bank.changed, NAME)

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="slow_pairs",
        slip="returns frequencies",
        source=changed(
            "slow_pairs",
            "np.flatnonzero(angle < np.pi / 2).tolist()",
            "freqs[angle < np.pi / 2].tolist()",
        ),
        message="is its number wanted, or its frequency?",
    ),
    WrongAnswer(
        exercise="slow_pairs",
        slip="returns the fast ones",
        source=changed("slow_pairs", "angle <", "angle >"),
        message="are these the slow ones?",
    ),
    WrongAnswer(
        exercise="slow_pairs",
        slip="counts from 1",
        source=changed(
            "slow_pairs",
            "np.flatnonzero(angle < np.pi / 2)",
            "(1 + np.flatnonzero(angle < np.pi / 2))",
        ),
        message="do pairs count from 0?",
    ),
    WrongAnswer(
        exercise="slow_pairs",
        slip="takes a whole circle for a quarter",
        source=changed("slow_pairs", "np.pi / 2", "2 * np.pi"),
        message="Is a quarter less?",
    ),
    WrongAnswer(
        exercise="slow_pairs",
        slip="gives a text of 4 tokens a position 4",
        source=changed("slow_pairs", "(length - 1)", "length"),
        message="how far is it from position 0 to position 3?",
    ),
    WrongAnswer(
        exercise="look_back",
        slip="looks ahead",
        source=changed("look_back", "-back *", "back *"),
        message="which way do turns add up?",
    ),
    WrongAnswer(
        exercise="look_back",
        slip="forgets to turn the query",
        source=changed("look_back", "-back * freqs[pair]", "0.0"),
        message="who is turned further?",
    ),
    WrongAnswer(
        exercise="look_back",
        slip="takes places for an angle",
        source=changed("look_back", "-back * freqs[pair]", "-back"),
        message="By which angle does it turn?",
    ),
    WrongAnswer(
        exercise="look_back",
        slip="pairs neighbors",
        source="""
def look_back(freqs, back, pair):
    key, query = np.zeros(2 * len(freqs)), np.zeros(2 * len(freqs))
    angle = -back * freqs[pair]
    key[2 * pair] = 1.0
    query[2 * pair], query[2 * pair + 1] = np.cos(angle), np.sin(angle)
    return query, key
""",
        message="who is turned further?",
    ),
    WrongAnswer(
        exercise="look_back",
        slip="always uses the first pair",
        source=changed(
            "look_back",
            "angle = -back * freqs[pair]",
            "pair = 0\n    angle = -back * freqs[pair]",
        ),
        message="which two are pair 1?",
    ),
    WrongAnswer(
        exercise="look_back",
        slip="uses both numbers of the key",
        source=changed(
            "look_back", "key[pair] = 1.0", "key[[pair, pair + len(freqs)]] = 1.0"
        ),
        message="is the most a score of 1?",
    ),
    WrongAnswer(
        exercise="mean_score",
        slip="adds the variance",
        source=changed("mean_score", "mean**2", "(mean**2 + 1)"),
        message="does a query meet itself here?",
    ),
    WrongAnswer(
        exercise="mean_score",
        slip="counts one number a pair",
        source=changed("mean_score", "2 * mean**2", "mean**2"),
        message="how many numbers has a pair?",
    ),
    WrongAnswer(
        exercise="mean_score",
        slip="counts the mean once",
        source=changed("mean_score", "mean**2", "mean"),
        message="is the mean in both, the query and the key?",
    ),
    WrongAnswer(
        exercise="mean_score",
        slip="keeps the cross terms",
        source=changed(
            "mean_score",
            "np.cos(angles).sum(axis=1)",
            "(np.cos(angles) + np.sin(angles)).sum(axis=1)",
        ),
        message="does each pair have a turn of its own?",
    ),
    WrongAnswer(
        exercise="mean_score",
        slip="adds up over the distances",
        source=changed("mean_score", ".sum(axis=1)", ".sum()"),
        message="is there one score a distance?",
    ),
    WrongAnswer(
        exercise="mean_score",
        slip="takes the sine",
        source=changed("mean_score", "np.cos(angles)", "np.sin(angles)"),
        message="why not 2?",
    ),
    WrongAnswer(
        exercise="key_with_peak",
        slip="turns the wrong way",
        source=changed("key_with_peak", "distance, freqs)\n", "-distance, freqs)\n"),
        message="which way is the query turned?",
    ),
    WrongAnswer(
        exercise="key_with_peak",
        slip="hands the query back",
        source=changed("key_with_peak", "turn(query, distance, freqs)", "query"),
        message="did the distance do anything?",
    ),
    WrongAnswer(
        exercise="key_with_peak",
        slip="makes the key longer",
        source=changed("key_with_peak", "return turn", "return 2 * turn"),
        message="does a turn stretch?",
    ),
    WrongAnswer(
        exercise="key_with_peak",
        slip="turns all pairs alike",
        source=changed(
            "key_with_peak",
            "turn(query, distance, freqs)",
            "turn(query, distance, np.full(len(freqs), freqs[-1]))",
        ),
        message="do *all* pairs agree at 30?",
    ),
    WrongAnswer(
        exercise="key_with_peak",
        slip="takes a key of ones",
        source=changed(
            "key_with_peak",
            "turn(query, distance, freqs)",
            "np.ones(len(query)) * np.linalg.norm(query) / len(query) ** 0.5",
        ),
        message="which direction is the best?",
    ),
    WrongAnswer(
        exercise="pair_correlation",
        slip="counts from the slowest",
        source=changed(
            "pair_correlation",
            "np.arange(added.shape[1])",
            "np.arange(added.shape[1])[::-1]",
        ),
        message="from where do you count?",
    ),
    WrongAnswer(
        exercise="pair_correlation",
        slip="lets the exponential overflow",
        source=changed(
            "pair_correlation", "added - added.max(axis=1, keepdims=True)", "added"
        ),
        message="does the exponential survive them?",
    ),
    WrongAnswer(
        exercise="pair_correlation",
        slip="pairs neighbors",
        source=changed(
            "pair_correlation",
            "np.split(query * key, 2, axis=1)",
            "(query * key)[:, ::2], (query * key)[:, 1::2]",
        ),
        message="is that not a line?",
    ),
    WrongAnswer(
        exercise="pair_correlation",
        slip="adds over pairs before the softmax",
        source=changed(
            "pair_correlation", "added = first + second", "added = query * key"
        ),
        message="is number 2 the partner of number 0?",
    ),
    WrongAnswer(
        exercise="pair_correlation",
        slip="divides zero by zero",
        source=changed("pair_correlation", "< 1e-9", "< 0"),
        message="one pair always leads",
    ),
    WrongAnswer(
        exercise="pair_correlation",
        slip="takes the largest",
        source=changed(
            "pair_correlation",
            "weights @ np.arange(added.shape[1])",
            "added.argmax(axis=1) * 1.0",
        ),
        message="do you take the largest, or the mean?",
    ),
    WrongAnswer(
        exercise="pair_correlation",
        slip="leaves the softmax out",
        source=changed(
            "pair_correlation",
            "np.exp(added - added.max(axis=1, keepdims=True))",
            "added",
        ),
        message="is a softmax between sum and number?",
    ),
    WrongAnswer(
        exercise="pair_correlation",
        slip="returns the covariance",
        source=changed(
            "pair_correlation",
            "number @ away / np.sqrt(number @ number * (away @ away))",
            "number @ away / len(number)",
        ),
        message="is that not a line?",
    ),
)


class TestTheExercises(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS


def test_the_snippet_at_the_end_finds_slow_pairs_and_not_middle_ones(capsys):
    notebook = grade.read(bank.solution_of(NAME))
    names = {}
    for cell in notebook.cells:
        if grade.role(cell) in ("given", "answer"):
            exec(cell.source, names)
    exec(re.search("```python\n(.*?)```", notebook.cells[-1].source, re.S)[1], names)
    slow, middle = (
        float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()
    )
    assert slow > 0.3
    assert middle < -0.3
