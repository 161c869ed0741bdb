"""Typical wrong answers to the exercises of lesson 5.3, each with its message."""

from functools import partial

from . import bank
from .bank import WrongAnswer

NAME = "5_3_generating_text"
changed = partial(bank.changed, NAME)

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="bits",
        slip="counts nats",
        source=changed("bits", "np.log2", "np.log"),
        message="is that in bits, or in nats?",
    ),
    WrongAnswer(
        exercise="bits",
        slip="forgets the sign",
        source=changed("bits", "float(-np", "float(np"),
        message="can a surprise be negative?",
    ),
    WrongAnswer(
        exercise="bits",
        slip="takes the mean",
        source=changed("bits", ".sum()", ".mean()"),
        message="is the surprise of a text a sum, or a mean?",
    ),
    WrongAnswer(
        exercise="bits",
        slip="swaps rows and columns",
        source=changed("bits", "ids[:-1], ids[1:]", "ids[1:], ids[:-1]"),
        message="which id picks the row, and which the column?",
    ),
    WrongAnswer(
        exercise="bits",
        slip="multiplies first",
        source="""
def bits(table, ids):
    p = 1.0
    for a, b in zip(ids, ids[1:]):
        p *= float(table[a, b])
    with np.errstate(divide="ignore"):
        return float(-np.log2(p))
""",
        message="how small is their product?",
    ),
    WrongAnswer(
        exercise="nucleus",
        slip="leaves out the token that crosses p",
        source=changed(
            "nucleus",
            "np.cumsum(probabilities[order]) - probabilities[order]",
            "np.cumsum(probabilities[order])",
        ),
        message="Is the token that crosses p in?",
    ),
    WrongAnswer(
        exercise="nucleus",
        slip="begins with the least likely",
        source=changed("nucleus", "np.argsort(-scores", "np.argsort(scores"),
        message="did you begin with the least likely?",
    ),
    WrongAnswer(
        exercise="nucleus",
        slip="does not share out what was cut",
        source=changed("nucleus", "out / out.sum()", "out"),
        message="who shares it?",
    ),
    WrongAnswer(
        exercise="nucleus",
        slip="returns the kept tokens only",
        source=changed("nucleus", "return out /", "return out[kept] /"),
        message="has every token still a place?",
    ),
    WrongAnswer(
        exercise="nucleus",
        slip="leaves them in sorted order",
        source=changed(
            "nucleus",
            "out[kept] = probabilities[kept]",
            "out[: len(kept)] = probabilities[kept]",
        ),
        message="In whose order is that?",
    ),
    WrongAnswer(
        exercise="nucleus",
        slip="puts the greater id first where scores are equal",
        source=changed(
            "nucleus",
            'np.argsort(-scores, kind="stable")',
            'np.argsort(scores, kind="stable")[::-1]',
        ),
        message="Who goes first?",
    ),
    WrongAnswer(
        exercise="nucleus",
        slip="takes exponentials of great numbers",
        source=changed(
            "nucleus", "softmax(scores)", "np.exp(scores) / np.exp(scores).sum()"
        ),
        message="what is exp(1000)?",
    ),
    WrongAnswer(
        exercise="pieces",
        slip="decodes each token alone",
        source="""
def pieces(tokens):
    return [token.decode("utf-8", "replace") for token in tokens]
""",
        message="is half a character a character?",
    ),
    WrongAnswer(
        exercise="pieces",
        slip="drops what it cannot read",
        source="""
def pieces(tokens):
    return [token.decode("utf-8", "ignore") for token in tokens]
""",
        message="where did the é go?",
    ),
    WrongAnswer(
        exercise="pieces",
        slip="holds back whole tokens",
        source="""
def pieces(tokens):
    shown, held = [], b""
    for token in tokens:
        held += token
        try:
            shown.append(held.decode("utf-8"))
            held = b""
        except UnicodeDecodeError:
            shown.append("")
    return shown
""",
        message="has the a to wait for the é?",
    ),
    WrongAnswer(
        exercise="pieces",
        slip="shows all at the end",
        source="""
def pieces(tokens):
    text = b"".join(tokens).decode("utf-8", "ignore")
    return [""] * (len(tokens) - 1) + [text]
""",
        message="what can be shown at once?",
    ),
    WrongAnswer(
        exercise="pieces",
        slip="has no piece where nothing can be shown",
        source=changed("pieces", "return shown", "return [s for s in shown if s]"),
        message="is there one for each?",
    ),
    WrongAnswer(
        exercise="pieces",
        slip="shows the unfinished end",
        source=changed(
            "pieces",
            "return shown",
            'shown[-1] += held.decode("utf-8", "replace")\n    return shown',
        ),
        message="the last character is unfinished",
    ),
    WrongAnswer(
        exercise="beams",
        slip="returns the first id too",
        source=changed("beams", "best[1][1:]", "best[1]"),
        message="is the first id part of the answer?",
    ),
    WrongAnswer(
        exercise="beams",
        slip="keeps one text only",
        source=changed("beams", "[:count]", "[:1]"),
        message="Is the second kept, and what was done?",
    ),
    WrongAnswer(
        exercise="beams",
        slip="lets texts go on that are done",
        source=changed(
            "beams",
            "going = [beam for beam in kept if beam[1][-1] != stop]",
            "going = kept",
        ).replace("done + going", "going"),
        message="Did a text go on after it, or get lost?",
    ),
    WrongAnswer(
        exercise="beams",
        slip="forgets those that are done",
        source=changed("beams", "max(done + going", "max(going or done"),
        message="Is the second kept, and what was done?",
    ),
    WrongAnswer(
        exercise="beams",
        slip="takes the mean whatever the penalty",
        source=changed("beams", "** penalty", "** 1"),
        message="is it log p alone?",
    ),
    WrongAnswer(
        exercise="beams",
        slip="takes no penalty",
        source=changed("beams", "** penalty", "** 0"),
        message="penalty 1 gave [1]",
    ),
    WrongAnswer(
        exercise="beams",
        slip="counts the first id as written",
        source=changed("beams", "(len(beam[1]) - 1)", "len(beam[1])"),
        message="Does first count?",
    ),
    WrongAnswer(
        exercise="verify",
        slip="compares with p alone",
        source=changed("verify", "u * q[place, guess] >=", "u >="),
        message="Did you compare with p alone?",
    ),
    WrongAnswer(
        exercise="verify",
        slip="compares with q / p",
        source=changed(
            "verify",
            "u * q[place, guess] >= p[place, guess]",
            "u * p[place, guess] >= q[place, guess]",
        ),
        message="Why refuse?",
    ),
    WrongAnswer(
        exercise="verify",
        slip="counts what passes after a refusal",
        source="""
def verify(guesses, q, p, uniforms):
    at = np.arange(len(guesses))
    passed = uniforms * q[at, guesses] < p[at, guesses]
    count = int(passed.sum())
    if passed.all():
        return count, p[-1]
    missing = np.maximum(p[count] - q[count], 0)
    return count, missing / missing.sum()
""",
        message="Who counts after a refusal?",
    ),
    WrongAnswer(
        exercise="verify",
        slip="draws from the target after a refusal",
        source=changed("verify", "np.maximum(p[place] - q[place], 0)", "p[place]"),
        message="has the draft not had its share?",
    ),
    WrongAnswer(
        exercise="verify",
        slip="takes the absolute difference",
        source=changed(
            "verify",
            "np.maximum(p[place] - q[place], 0)",
            "np.abs(p[place] - q[place])",
        ),
        message="the draft gives 1 too much already",
    ),
    WrongAnswer(
        exercise="verify",
        slip="keeps negative differences",
        source=changed(
            "verify",
            "missing = np.maximum(p[place] - q[place], 0)",
            "missing = p[place] - q[place]",
        ).replace("missing / missing.sum()", "missing"),
        message="can a probability be negative?",
    ),
    WrongAnswer(
        exercise="verify",
        slip="does not scale what is missing",
        source=changed("verify", "missing / missing.sum()", "missing"),
        message="adds up to 0.40",
    ),
    WrongAnswer(
        exercise="verify",
        slip="takes the rows of the place after the refusal",
        source=changed(
            "verify",
            "np.maximum(p[place] - q[place], 0)",
            "np.maximum(p[place + 1] - q[place], 0)",
        ),
        message="after the refusal of 1",
    ),
    WrongAnswer(
        exercise="verify",
        slip="draws from the row before when all are accepted",
        source=changed("verify", "p[len(guesses)]", "p[len(guesses) - 1]"),
        message="whose row is free?",
    ),
)


class TestTheExercises(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS
