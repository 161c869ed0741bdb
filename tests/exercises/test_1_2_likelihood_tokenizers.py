"""Typical wrong answers to the exercises of lesson 1.2, each with its message."""

import re
from functools import partial

from minitransformer.course import grade

from . import bank
from .bank import WrongAnswer

NAME = "1_2_likelihood_tokenizers"
changed = partial(bank.changed, NAME)

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="bits_per_byte",
        slip="counts in nats",
        source=changed("bits_per_byte", "math.log2", "math.log"),
        message="nats or bits?",
    ),
    WrongAnswer(
        exercise="bits_per_byte",
        slip="adds up what each different piece costs",
        source=changed("bits_per_byte", "n * math.log2", "math.log2"),
        message="does each piece weigh as often as it occurs?",
    ),
    WrongAnswer(
        exercise="bits_per_byte",
        slip="gives all pieces the same probability",
        source=changed("bits_per_byte", "total / n", "len(counts)"),
        message="does each piece weigh as often as it occurs?",
    ),
    WrongAnswer(
        exercise="bits_per_byte",
        slip="divides by the pieces",
        source="""
def bits_per_byte(counts):
    total = sum(counts.values())
    return sum(n / total * math.log2(total / n) for n in counts.values())
""",
        message="4 bits in 4 pieces or 10 bytes?",
    ),
    WrongAnswer(
        exercise="bits_per_byte",
        slip="counts the bytes of each different piece once",
        source="""
def bits_per_byte(counts):
    total = sum(counts.values())
    bits = sum(n * math.log2(total / n) for n in counts.values())
    share = total / len(counts)
    return bits / (share * sum(len(piece.encode()) for piece in counts))
""",
        message="do the bytes of a piece count as often as the piece?",
    ),
    WrongAnswer(
        exercise="bits_per_byte",
        slip="divides by characters",
        source=changed("bits_per_byte", "len(piece.encode())", "len(piece)"),
        message="Did you count characters?",
    ),
    WrongAnswer(
        exercise="wordpiece_choice",
        slip="takes the most frequent pair",
        source=changed("wordpiece_choice", "times / (tokens[x] * tokens[y])", "times"),
        message="Did you take the most frequent?",
    ),
    WrongAnswer(
        exercise="wordpiece_choice",
        slip="divides by the sum",
        source=changed(
            "wordpiece_choice", "(tokens[x] * tokens[y])", "(tokens[x] + tokens[y])"
        ),
        message="Do you multiply the two counts?",
    ),
    WrongAnswer(
        exercise="wordpiece_choice",
        slip="divides by the left count only",
        source=changed("wordpiece_choice", "(tokens[x] * tokens[y])", "tokens[x]"),
        message="Do you divide by both counts?",
    ),
    WrongAnswer(
        exercise="wordpiece_choice",
        slip="lets rare pairs count",
        source=changed("wordpiece_choice", "if times >= min_frequency", "if times"),
        message="(3, 4) is there once. Is that 2 times?",
    ),
    WrongAnswer(
        exercise="wordpiece_choice",
        slip="wants more than min_frequency",
        source=changed("wordpiece_choice", ">= min", "> min"),
        message="Is that not enough for 2?",
    ),
    WrongAnswer(
        exercise="wordpiece_choice",
        slip="lets the pair met first win a tie",
        source=changed("wordpiece_choice", "(-ratios[pair], pair)", "-ratios[pair]"),
        message="Does the smaller pair win?",
    ),
    WrongAnswer(
        exercise="wordpiece_choice",
        slip="lets the larger pair win a tie",
        source=changed(
            "wordpiece_choice",
            "min(ratios, key=lambda pair: (-ratios[pair], pair)",
            "max(ratios, key=lambda pair: (ratios[pair], pair)",
        ),
        message="Does the smaller pair win?",
    ),
    WrongAnswer(
        exercise="wordpiece_choice",
        slip="divides twice",
        source=changed(
            "wordpiece_choice",
            "times / (tokens[x] * tokens[y])",
            "times / tokens[x] / tokens[y]",
        ),
        message="Did you round on the way?",
    ),
    WrongAnswer(
        exercise="wordpiece_choice",
        slip="compares logarithms",
        source=changed(
            "wordpiece_choice",
            "times / (tokens[x] * tokens[y])",
            "math.log(times) - math.log(tokens[x]) - math.log(tokens[y])",
        ),
        message="Did you round on the way?",
    ),
    WrongAnswer(
        exercise="wordpiece_choice",
        slip="needs a pair that counts",
        source=changed("wordpiece_choice", ", default=None", ""),
        message="empty",  # min() says so
    ),
    WrongAnswer(
        exercise="viterbi",
        slip="leaves the cut in the order found",
        source=changed("viterbi", "return cut[::-1]", "return cut"),
        message="Is yours in order?",
    ),
    WrongAnswer(
        exercise="viterbi",
        slip="compares the last token only",
        source=changed("viterbi", "value = best[start] + ", "value = ").replace(
            "if value > best[end]:", "if best[start] > -math.inf and value > best[end]:"
        ),
        message="Do you compare whole ways?",
    ),
    WrongAnswer(
        exercise="viterbi",
        slip="takes the most probable next token",
        source="""
def viterbi(chunk, log_probs):
    cut = []
    while chunk:
        fitting = [token for token in log_probs if chunk.startswith(token)]
        if not fitting:
            raise ValueError(f"no sequence of tokens spells {chunk!r}")
        cut.append(max(fitting, key=log_probs.get))
        chunk = chunk.removeprefix(cut[-1])
    return cut
""",
        message="Do you compare whole ways?",
    ),
    WrongAnswer(
        exercise="viterbi",
        slip="takes the cut of fewest tokens",
        source=changed(
            "viterbi",
            "log_probs.get(chunk[start:end], -math.inf)",
            "(-1 if chunk[start:end] in log_probs else -math.inf)",
        ),
        message="Did you count the tokens?",
    ),
    WrongAnswer(
        exercise="viterbi",
        slip="averages over the tokens",
        source="""
def viterbi(chunk, log_probs):
    if len(chunk) > 30:
        raise ValueError("too long")
    found = cuts(chunk, log_probs)
    if not found:
        raise ValueError(f"no sequence of tokens spells {chunk!r}")
    return max(found, key=lambda cut: sum(map(log_probs.get, cut)) / (len(cut) or 1))
""",
        message="Do you compare whole ways?",
    ),
    WrongAnswer(
        exercise="viterbi",
        slip="takes the longest token that fits",
        source="""
def viterbi(chunk, log_probs):
    cut = []
    while chunk:
        fitting = [token for token in log_probs if chunk.startswith(token)]
        if not fitting:
            raise ValueError(f"no sequence of tokens spells {chunk!r}")
        cut.append(max(fitting, key=len))
        chunk = chunk.removeprefix(cut[-1])
    return cut
""",
        message="Did the longest win?",
    ),
    WrongAnswer(
        exercise="viterbi",
        slip="walks back from a place that nobody has reached",
        source=changed("viterbi", "if best[-1] == -math.inf:", "if False:"),
        message="nothing spells the x",
    ),
    WrongAnswer(
        exercise="viterbi",
        slip="returns what there is where nothing spells the chunk",
        source=changed(
            "viterbi",
            'raise ValueError(f"no sequence of tokens spells {chunk!r}")',
            "return []",
        ),
        message="nothing spells the x. Did you say so?",
    ),
    WrongAnswer(
        exercise="viterbi",
        slip="lists all cuts",
        source="""
def viterbi(chunk, log_probs):
    found = cuts(chunk, log_probs)
    if not found:
        raise ValueError(f"no sequence of tokens spells {chunk!r}")
    return max(found, key=lambda cut: sum(map(log_probs.get, cut)))
""",
        message="maximum recursion depth exceeded",
    ),
    WrongAnswer(
        exercise="total_log_prob",
        slip="takes the best cut",
        source=changed(
            "total_log_prob",
            "top + math.log(sum(math.exp(way - top) for way in ways))",
            "top",
        ),
        message="Did you take the best?",
    ),
    WrongAnswer(
        exercise="total_log_prob",
        slip="adds logarithms",
        source=changed(
            "total_log_prob",
            "top + math.log(sum(math.exp(way - top) for way in ways))",
            "sum(way for way in ways if way > -math.inf)",
        ),
        message="did you add logarithms?",
    ),
    WrongAnswer(
        exercise="total_log_prob",
        slip="keeps the two best ways to a place",
        source=changed(
            "total_log_prob", "for way in ways)", "for way in sorted(ways)[-2:])"
        ),
        message="aaa has 4 cuts of 0.125. All there?",
    ),
    WrongAnswer(
        exercise="total_log_prob",
        slip="begins with ln 1 at every place",
        source=changed(
            "total_log_prob", "[-math.inf] * len(chunk)", "[0.0] * len(chunk)"
        ),
        message="no way leads to place 1. Is it skipped?",
    ),
    WrongAnswer(
        exercise="total_log_prob",
        slip="subtracts infinity from infinity",
        source="""
def total_log_prob(chunk, log_probs):
    total = np.full(len(chunk) + 1, -np.inf)
    total[0] = 0
    for end in range(1, len(chunk) + 1):
        ways = [total[i] + log_probs.get(chunk[i:end], -np.inf) for i in range(end)]
        total[end] = max(ways) + np.log(np.exp(np.array(ways) - max(ways)).sum())
    return float(total[-1])
""",
        message="got nan: no way leads to place 1. Is it skipped?",
    ),
    WrongAnswer(
        exercise="total_log_prob",
        slip="takes the logarithm of no probability",
        source="""
def total_log_prob(chunk, log_probs):
    total = [1.0]
    for end in range(1, len(chunk) + 1):
        tokens = [(i, chunk[i:end]) for i in range(end) if chunk[i:end] in log_probs]
        total.append(sum(total[i] * math.exp(log_probs[token]) for i, token in tokens))
    return math.log(total[-1])
""",
        message="ValueError",  # math.log says so
    ),
    WrongAnswer(
        exercise="total_log_prob",
        slip="multiplies plain probabilities",
        source="""
def total_log_prob(chunk, log_probs):
    total = [1.0]
    for end in range(1, len(chunk) + 1):
        tokens = [
            (i, chunk[i:end])
            for i in range(max(end - 4, 0), end)
            if chunk[i:end] in log_probs
        ]
        total.append(sum(total[i] * math.exp(log_probs[token]) for i, token in tokens))
    return math.log(total[-1]) if total[-1] else -math.inf
""",
        message="did a probability become 0?",
    ),
    WrongAnswer(
        exercise="total_log_prob",
        slip="takes the smallest way as the reference",
        source=changed(
            "total_log_prob",
            "top = max(ways, default=-math.inf)",
            "top = min((w for w in ways if w > -math.inf), default=-math.inf)",
        ),
        message="math range error",
    ),
    WrongAnswer(
        exercise="total_log_prob",
        slip="lists all cuts",
        source="""
def total_log_prob(chunk, log_probs):
    ways = [sum(map(log_probs.get, cut)) for cut in cuts(chunk, log_probs)]
    if not ways:
        return -math.inf
    return max(ways) + math.log(sum(math.exp(way - max(ways)) for way in ways))
""",
        message="maximum recursion depth exceeded",
    ),
    WrongAnswer(
        exercise="em_step",
        slip="counts the best cut only",
        source="""
def em_step(words, probs):
    counts = dict.fromkeys(probs, 0.0)
    for word, seen in words.items():
        ways = cuts(word, probs)
        best = max(ways, key=lambda cut: math.prod(map(probs.get, cut)))
        for token in best:
            counts[token] += seen
    total = sum(counts.values())
    return {token: count / total for token, count in counts.items()}
""",
        message="did only the best cut count?",
    ),
    WrongAnswer(
        exercise="em_step",
        slip="lets all cuts count the same",
        source="""
def em_step(words, probs):
    expected = dict.fromkeys(probs, 0.0)
    for word, seen in words.items():
        ways = cuts(word, probs)
        for cut in ways:
            for token in cut:
                expected[token] += seen / len(ways)
    total = sum(expected.values())
    return {token: count / total for token, count in expected.items()}
""",
        message="does a cut count by its probability?",
    ),
    WrongAnswer(
        exercise="em_step",
        slip="does not normalize",
        source=changed("em_step", "count / total", "count"),
        message="do the new probabilities add up to 1?",
    ),
    WrongAnswer(
        exercise="em_step",
        slip="divides by the words",
        source=changed("em_step", "sum(expected.values())", "sum(words.values())"),
        message="do the new probabilities add up to 1?",
    ),
    WrongAnswer(
        exercise="em_step",
        slip="forgets the token's own probability",
        source=changed("em_step", " * probs[token]", ""),
        message="8/9 times, a and b 1/9 each",
    ),
    WrongAnswer(
        exercise="em_step",
        slip="takes the way after the start, not after the end",
        source=changed("em_step", "after[end]", "after[start]"),
        message="8/9 times, a and b 1/9 each",
    ),
    WrongAnswer(
        exercise="em_step",
        slip="counts a token once in a cut",
        source="""
def em_step(words, probs):
    expected = dict.fromkeys(probs, 0.0)
    for word, seen in words.items():
        ways = cuts(word, probs)
        shares = [math.prod(map(probs.get, cut)) for cut in ways]
        for cut, share in zip(ways, shares):
            for token in set(cut):
                expected[token] += seen * share / sum(shares)
    total = sum(expected.values())
    return {token: count / total for token, count in expected.items()}
""",
        message="does a|a hold two of them?",
    ),
    WrongAnswer(
        exercise="em_step",
        slip="lets improbable words count less",
        source=changed("em_step", " / before[-1]", ""),
        message="c was seen once, so it counts 1 in all",
    ),
    WrongAnswer(
        exercise="em_step",
        slip="counts each word once",
        source=changed("em_step", "seen * ways", "ways"),
        message="ab, seen 3 times. Is it 3?",
    ),
    WrongAnswer(
        exercise="em_step",
        slip="drops tokens that occur nowhere",
        source=changed(
            "em_step", "in expected.items()}", "in expected.items() if count}"
        ),
        message="b occurs nowhere. Is it there with 0.0?",
    ),
    WrongAnswer(
        exercise="em_step",
        slip="lists all cuts",
        source="""
def em_step(words, probs):
    expected = dict.fromkeys(probs, 0.0)
    for word, seen in words.items():
        ways = cuts(word, probs)
        shares = [math.prod(map(probs.get, cut)) for cut in ways]
        for cut, share in zip(ways, shares):
            for token in cut:
                expected[token] += seen * share / sum(shares)
    total = sum(expected.values())
    return {token: count / total for token, count in expected.items()}
""",
        message="Your code was stopped",
    ),
    WrongAnswer(
        exercise="n_best",
        slip="keeps the n best beginnings, wherever they end",
        source="""
def n_best(chunk, log_probs, n):
    beam, done = [([], 0.0)], []
    while beam:
        longer = []
        for cut, value in beam:
            start = sum(map(len, cut))
            for end in range(start + 1, len(chunk) + 1):
                if (token := chunk[start:end]) in log_probs:
                    longer.append(([*cut, token], value + log_probs[token]))
        beam = sorted(longer, key=lambda way: -way[1])[:n]
        done += [way for way in beam if sum(map(len, way[0])) == len(chunk)]
        beam = [way for way in beam if sum(map(len, way[0])) < len(chunk)]
    return sorted(done, key=lambda way: -way[1])[:n]
""",
        message="Did a beat ab?",
    ),
    WrongAnswer(
        exercise="n_best",
        slip="returns probabilities",
        source=changed(
            "n_best",
            "return best[-1]",
            "return [(cut, math.exp(value)) for cut, value in best[-1]]",
        ),
        message="for ab, not ln 0.4",
    ),
    WrongAnswer(
        exercise="n_best",
        slip="puts the worst first",
        source=changed("n_best", "return best[-1]", "return best[-1][::-1]"),
        message="is it a|bc, then abc?",
    ),
    WrongAnswer(
        exercise="n_best",
        slip="forbids the tokens of the best cut, one by one",
        source="""
def n_best(chunk, log_probs, n):
    def best(log_probs):
        ways = [([], 0.0)]
        for end in range(1, len(chunk) + 1):
            into = [
                ([*ways[i][0], chunk[i:end]], ways[i][1] + log_probs[chunk[i:end]])
                for i in range(end)
                if chunk[i:end] in log_probs and ways[i]
            ]
            ways.append(max(into, key=lambda way: way[1], default=None))
        return ways[-1]

    found, todo = [], [log_probs]
    while todo and len(found) < n:
        todo.sort(key=lambda each: -best(each)[1] if best(each) else math.inf)
        allowed = todo.pop(0)
        way = best(allowed)
        if way is None:
            break
        found.append(way)
        for token in way[0]:
            todo.append({t: p for t, p in allowed.items() if t != token})
    return found
""",
        message="is one there twice?",
    ),
    WrongAnswer(
        exercise="n_best",
        slip="keeps one way to each place, but for the last",
        source=changed("n_best", "[:n])", "[: n if end == len(chunk) else 1])"),
        message="Did you keep only one?",
    ),
    WrongAnswer(
        exercise="n_best",
        slip="stops at the first n that it finds",
        source="""
def n_best(chunk, log_probs, n):
    found = [(cut, sum(map(log_probs.get, cut))) for cut in cuts(chunk, log_probs)[:n]]
    return sorted(found, key=lambda way: -way[1])
""",
        message="Did a beat ab?",
    ),
    WrongAnswer(
        exercise="n_best",
        slip="lists all cuts",
        source="""
def n_best(chunk, log_probs, n):
    found = [(cut, sum(map(log_probs.get, cut))) for cut in cuts(chunk, log_probs)]
    return sorted(found, key=lambda way: -way[1])[:n]
""",
        message="Your code was stopped",
    ),
    WrongAnswer(
        exercise="n_best",
        slip="keeps all ways to each place",
        source=changed("n_best", "[:n])", ")").replace(
            "return best[-1]", "return best[-1][:n]"
        ),
        message="Your code was stopped",
    ),
)


class TestTheExercises(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS


def test_the_snippet_at_the_end_shows_cuts_in_order():
    notebook = grade.read(bank.solution_of(NAME))
    names = {}
    for cell in notebook.cells:
        if grade.role(cell) in ("given", "answer"):
            exec(cell.source, names)
    exec(re.search("```python\n(.*?)```", notebook.cells[-1].source, re.S)[1], names)
    ours = [value for _, value in names["found"]]
    theirs = names["tokenizer"].nbest(" unbelievable", 8)
    assert ours == sorted(ours, reverse=True)
    assert [round(v, 9) for v in ours] == [round(v, 9) for _, v in theirs]
