"""Typical wrong answers to the exercises of lesson 1.3, each with its message."""

import re
from functools import partial

from minitransformer.course import grade
from minitransformer.tokenization import swe

from . import bank
from .bank import WrongAnswer

NAME = "1_3_optimal_subword_encoding"
changed = partial(bank.changed, NAME)

TIMES = "sum(n * list(pairwise(w)).count(pair) for w, n in words.items())"

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="log_likelihood",
        slip="turns the sign round",
        source=changed("log_likelihood", "return sum", "return -sum"),
        message="can ln of a probability be above 0?",
    ),
    WrongAnswer(
        exercise="log_likelihood",
        slip="forgets the total",
        source=changed("log_likelihood", "c / total", "c"),
        message="can ln of a probability be above 0?",
    ),
    WrongAnswer(
        exercise="log_likelihood",
        slip="counts in bits",
        source=changed("log_likelihood", "math.log", "math.log2"),
        message="The natural logarithm is wanted",
    ),
    WrongAnswer(
        exercise="log_likelihood",
        slip="divides by the tokens",
        source=changed("log_likelihood", "sum(c * math", "sum(c / total * math"),
        message="What do all four add up to?",
    ),
    WrongAnswer(
        exercise="log_likelihood",
        slip="adds up each token of the vocabulary once",
        source=changed("log_likelihood", "c * math", "2 * math"),
        message="Does each count as it occurs?",
    ),
    WrongAnswer(
        exercise="log_likelihood",
        slip="takes the logarithm of 0",
        source=changed("log_likelihood", " if c > 0", ""),
        message="ValueError",  # math.log says so
    ),
    WrongAnswer(
        exercise="log_likelihood",
        slip="multiplies 0 by the logarithm of 0",
        source="""
import numpy as np


def log_likelihood(counts):
    counts = np.array(counts)
    return float((counts * np.log(counts / counts.sum())).sum())
""",
        message="got nan: a token that occurs nowhere costs nothing",
    ),
    WrongAnswer(
        exercise="mergeable",
        slip="stops at the first",
        source="""
def mergeable(ids, pair):
    return int(pair in pairwise(ids))
""",
        message="did you go to the end?",
    ),
    WrongAnswer(
        exercise="mergeable",
        slip="ignores the order within the pair",
        source=changed(
            "mergeable",
            "tuple(ids[i : i + 2]) == pair",
            "sorted(ids[i : i + 2]) == sorted(pair)",
        ),
        message="is (2, 1) the pair (1, 2)?",
    ),
    WrongAnswer(
        exercise="mergeable",
        slip="takes the smaller count of the two",
        source="""
def mergeable(ids, pair):
    if ids[:2] == list(pair)[::-1]:
        return 0
    return min(map(ids.count, pair))
""",
        message="are 1 and 2 neighbors?",
    ),
    WrongAnswer(
        exercise="mergeable",
        slip="writes the ids one after another",
        source="""
def mergeable(ids, pair):
    return "".join(map(str, ids)).count("".join(map(str, pair)))
""",
        message="is there a 1?",
    ),
    WrongAnswer(
        exercise="mergeable",
        slip="counts pairs that overlap",
        source="""
def mergeable(ids, pair):
    return list(pairwise(ids)).count(pair)
""",
        message="is the middle 1 used twice?",
    ),
    WrongAnswer(
        exercise="mergeable",
        slip="counts a pair of equals once a run",
        source="""
def mergeable(ids, pair):
    pairs = list(pairwise(ids))
    return sum(two == pair != pairs[i - 1 : i][-1:] for i, two in enumerate(pairs)) - (
        sum(two == pair == before for before, two in pairwise(pairs))
    )
""",
        message="what comes after a merge?",
    ),
    WrongAnswer(
        exercise="mergeable",
        slip="halves the count of the token",
        source="""
def mergeable(ids, pair):
    if pair[0] == pair[1]:
        return ids.count(pair[0]) // 2
    return list(pairwise(ids)).count(pair)
""",
        message="did you cross the 2?",
    ),
    WrongAnswer(
        exercise="merge_gain",
        slip="subtracts the new from the old",
        source=changed(
            "merge_gain",
            "return gone + come + phi(n) - phi(n - m)",
            "return -(gone + come + phi(n) - phi(n - m))",
        ),
        message="which way round did you subtract?",
    ),
    WrongAnswer(
        exercise="merge_gain",
        slip="forgets that the text has become shorter",
        source=changed("merge_gain", " + phi(n) - phi(n - m)", ""),
        message="20 tokens became 18. Did n change?",
    ),
    WrongAnswer(
        exercise="merge_gain",
        slip="takes two tokens away for each merge",
        source=changed("merge_gain", "phi(n - m)", "phi(n - 2 * m)"),
        message="do c_x and c_y fall?",
    ),
    WrongAnswer(
        exercise="merge_gain",
        slip="forgets the new token",
        source=changed("merge_gain", "gone + come", "gone"),
        message="there are two new tokens. Do they count?",
    ),
    WrongAnswer(
        exercise="merge_gain",
        slip="takes the ratio to chance",
        source="""
def merge_gain(c_x, c_y, m, n, same=False, c_xy=0):
    return m * math.log(m * n / (c_x * c_y))
""",
        message="do c_x and c_y fall?",
    ),
    WrongAnswer(
        exercise="merge_gain",
        slip="leaves c_y as it is",
        source=changed("merge_gain", " + phi(c_y - m) - phi(c_y)", ""),
        message="do c_x and c_y fall?",
    ),
    WrongAnswer(
        exercise="merge_gain",
        slip="takes every pair for one of two tokens",
        source=changed("merge_gain", "if same:", "if False:"),
        message="how many x does xx take?",
    ),
    WrongAnswer(
        exercise="merge_gain",
        slip="takes one away where two are merged",
        source=changed("merge_gain", "phi(c_x - 2 * m)", "phi(c_x - m)"),
        message="how many x does xx take?",
    ),
    WrongAnswer(
        exercise="merge_gain",
        slip="lets the token fall twice",
        source=changed(
            "merge_gain",
            "gone = phi(c_x - 2 * m) - phi(c_x)",
            "gone = 2 * (phi(c_x - 2 * m) - phi(c_x))",
        ),
        message="how many x does xx take?",
    ),
    WrongAnswer(
        exercise="merge_gain",
        slip="reads c_y where it does not count",
        source=changed("merge_gain", "phi(c_x - 2 * m)", "phi(c_y - 2 * m)"),
        message="with same, is c_y ignored?",
    ),
    WrongAnswer(
        exercise="merge_gain",
        slip="takes the merged token for a new one",
        source=changed("merge_gain", "phi(c_xy + m) - phi(c_xy)", "phi(m)"),
        message="xy rose from 3 to 5",
    ),
    WrongAnswer(
        exercise="merge_gain",
        slip="keeps what the merged token had before",
        source=changed("merge_gain", "phi(c_xy + m) - phi(c_xy)", "phi(c_xy + m)"),
        message="xy rose from 3 to 5",
    ),
    WrongAnswer(
        exercise="k_step_segment",
        slip="goes one round too far",
        source=changed("k_step_segment", "in range(k)", "in range(k + 1)"),
        message="Is that one round too many?",
    ),
    WrongAnswer(
        exercise="k_step_segment",
        slip="rides on within the round",
        source="""
def k_step_segment(word, log_probs, k):
    ways = {0: (0.0, [])}
    for _ in range(k):
        for start in range(len(word)):
            for end in range(start + 1, len(word) + 1):
                token = word[start:end]
                if start in ways and token in log_probs:
                    value = ways[start][0] + log_probs[token]
                    if end not in ways or value > ways[end][0]:
                        ways[end] = (value, [*ways[start][1], token])
    if len(word) not in ways:
        raise ValueError("no way")
    return ways[len(word)][1]
""",
        message="do you ride on within the same round?",
    ),
    WrongAnswer(
        exercise="k_step_segment",
        slip="takes the fewest tokens",
        source=changed("k_step_segment", "return max(found)[1]", "return found[0][1]"),
        message="is the cut of fewest tokens the most probable one?",
    ),
    WrongAnswer(
        exercise="k_step_segment",
        slip="takes the worst way",
        source=changed("k_step_segment", "value > longer", "value < longer"),
        message="Which two tokens are better?",
    ),
    WrongAnswer(
        exercise="k_step_segment",
        slip="takes exactly k",
        source=changed("k_step_segment", "return max(found)[1]", "return found[-1][1]"),
        message="Did you take exactly k?",
    ),
    WrongAnswer(
        exercise="k_step_segment",
        slip="joins tokens of the best cut of all",
        source="""
def k_step_segment(word, log_probs, k):
    def value(cut):
        return sum(map(log_probs.get, cut))

    cut = max((c for c in ways_to_cut(word) if log_probs.keys() >= set(c)), key=value)
    while len(cut) > k:
        joined = [
            [*cut[:i], cut[i] + cut[i + 1], *cut[i + 2 :]] for i in range(len(cut) - 1)
        ]
        joined = [each for each in joined if log_probs.keys() >= set(each)]
        if not joined:
            return cut
        cut = max(joined, key=value)
    return cut
""",
        message="a|b|cd is the best, but ab is no token",
    ),
    WrongAnswer(
        exercise="k_step_segment",
        slip="returns nothing where there is no way",
        source=changed(
            "k_step_segment",
            'raise ValueError(f"no sequence of at most {k} tokens spells {word!r}")',
            "return []",
        ),
        message="no one token spells abcd. Did you say so?",
    ),
    WrongAnswer(
        exercise="k_step_segment",
        slip="lists all cuts",
        source="""
def k_step_segment(word, log_probs, k):
    found = [c for c in ways_to_cut(word) if log_probs.keys() >= set(c) and len(c) <= k]
    if not found:
        raise ValueError("no way")
    return max(found, key=lambda cut: sum(map(log_probs.get, cut)))
""",
        message="Your code was stopped",
    ),
    WrongAnswer(
        exercise="train_by_gain",
        slip="takes the most frequent pair",
        source=changed("train_by_gain", "likelihood(after) - before", f"{TIMES}"),
        message="Is its gain the greatest?",
    ),
    WrongAnswer(
        exercise="train_by_gain",
        slip="takes the greatest ratio to chance",
        source=changed(
            "train_by_gain",
            "likelihood(after) - before",
            f"{TIMES} / math.prod(sum(n * w.count(i) for w, n in words.items()) "
            "for i in pair)",
        ),
        message="both pairs are perfect, (1, 4) is there more often",
    ),
    WrongAnswer(
        exercise="train_by_gain",
        slip="divides the gain by the number of merges",
        source=changed(
            "train_by_gain",
            "likelihood(after) - before",
            f"(likelihood(after) - before) / {TIMES}",
        ),
        message="both pairs are perfect, (1, 4) is there more often",
    ),
    WrongAnswer(
        exercise="train_by_gain",
        slip="counts each word once",
        source=changed("train_by_gain", "+= seen", "+= 1"),
        message="Does it count 9?",
    ),
    WrongAnswer(
        exercise="train_by_gain",
        slip="lets the larger pair win a tie",
        source=changed("train_by_gain", "best = min(", "best = max("),
        message="Does the smaller pair win?",
    ),
    WrongAnswer(
        exercise="train_by_gain",
        slip="never rewrites the words",
        source=changed(
            "train_by_gain",
            "words = {merge_word(word, best, new_id): n for word, n in words.items()}",
            "pass",
        ),
        message="the word is now (256, 3). Is yours?",
    ),
    WrongAnswer(
        exercise="train_by_gain",
        slip="goes on where nothing is gained",
        source=changed("train_by_gain", "if top <= ALMOST:", "if not gains:"),
        message="What is gained?",
    ),
    WrongAnswer(
        exercise="train_by_gain",
        slip="goes on with losses",
        source=changed("train_by_gain", "if top <= ALMOST:", "if not gains:").replace(
            "default=0.0)",
            "default=0.0)\n        if abs(top) <= ALMOST:\n            break",
        ),
        message="here every merge is a loss. Did you stop?",
    ),
    WrongAnswer(
        exercise="train_by_gain",
        slip="counts pairs that overlap",
        source="""
def train_by_gain(words, num_merges):
    merges = []
    while len(merges) < num_merges:
        counts, pairs = Counter(), Counter()
        for word, seen in words.items():
            for token in word:
                counts[token] += seen
            for pair in pairwise(word):
                pairs[pair] += seen
        gains, n = {}, sum(counts.values())
        for (x, y), m in pairs.items():
            left = counts - Counter({x: m}) - Counter({y: m})
            gone = sum(phi(left[t]) - phi(counts[t]) for t in {x, y})
            gains[x, y] = gone + phi(m) + phi(n) - phi(n - m)
        top = max(gains.values(), default=0.0)
        if top <= ALMOST:
            break
        best = min(pair for pair, gain in gains.items() if gain >= top - ALMOST)
        new_id = 256 + len(merges)
        words = {merge_word(word, best, new_id): n for word, n in words.items()}
        merges.append(best)
    return merges
""",
        message="111 can merge (1, 1) once",
    ),
    WrongAnswer(
        exercise="best_vocabulary",
        slip="takes pieces that are not allowed",
        source=changed("best_vocabulary", "if len(more) <= num_pieces:", "if True:"),
        message="no piece is allowed",
    ),
    WrongAnswer(
        exercise="best_vocabulary",
        slip="takes single bytes for pieces",
        source=changed("best_vocabulary", " if len(token) > 1}", "}"),
        message="for a and b 3 times: 6 ln 0.5",
    ),
    WrongAnswer(
        exercise="best_vocabulary",
        slip="counts each word once",
        source=changed("best_vocabulary", "+= words[order[i]]", "+= 1"),
        message="6 ln 0.5",
    ),
    WrongAnswer(
        exercise="best_vocabulary",
        slip="gives each word pieces of its own",
        source=changed(
            "best_vocabulary",
            "if len(more) <= num_pieces:",
            "if len(more - used) <= num_pieces:",
        ),
        message="1 piece is allowed, for all words together",
    ),
    WrongAnswer(
        exercise="best_vocabulary",
        slip="takes whole words",
        source="""
def best_vocabulary(words, num_pieces):
    order = sorted(words, key=lambda word: -words[word] * len(word))
    chosen = set([word for word in order if len(word) > 1][:num_pieces])
    counts = Counter()
    for word, seen in words.items():
        for token in [word] if word in chosen else ways_to_cut(word)[0]:
            counts[token] += seen
    return chosen, sum(map(phi, counts.values())) - phi(sum(counts.values())), 1
""",
        message="ab spells abab too. Did you see it?",
    ),
    WrongAnswer(
        exercise="best_vocabulary",
        slip="merges greedily",
        source="""
def best_vocabulary(words, num_pieces):
    cut, spelled = {tuple(word): n for word, n in words.items()}, {}

    def fit(cut):
        counts = Counter()
        for word, seen in cut.items():
            for token in word:
                counts[token] += seen
        return sum(map(phi, counts.values())) - phi(sum(counts.values()))

    for new_id in range(256, 256 + num_pieces):
        trials = []
        for pair in sorted({pair for word in cut for pair in pairwise(word)}):
            after = {merge_word(word, pair, new_id): n for word, n in cut.items()}
            trials.append((fit(after), pair, after))
        if not trials or max(trials)[0] <= fit(cut):
            break
        _, pair, cut = max(trials)
        spelled[new_id] = b"".join(spelled.get(i, bytes([i % 256])) for i in pair)
    return set(spelled.values()), fit(cut), 1
""",
        message="ug and un gain most as merges. Are they best?",
    ),
    WrongAnswer(
        exercise="best_vocabulary",
        slip="takes the pieces that save most bytes",
        source="""
def best_vocabulary(words, num_pieces):
    pieces = set()
    substrings = {w[i:j] for w in words for i in range(len(w)) for j in range(i + 2, 9)}
    while len(pieces) < num_pieces and substrings - pieces:
        def saved(piece):
            return sum(n * w.count(piece) for w, n in words.items()) * (len(piece) - 1)
        pieces.add(max(sorted(substrings - pieces), key=saved))
    counts = Counter()
    for word, seen in words.items():
        allowed = pieces | {bytes([byte]) for byte in word}
        ways = [cut for cut in ways_to_cut(word) if allowed >= set(cut)]
        for token in min(ways, key=len):
            counts[token] += seen
    return pieces, sum(map(phi, counts.values())) - phi(sum(counts.values())), 1
""",
        message="five whole words have",
    ),
    WrongAnswer(
        exercise="best_vocabulary",
        slip="bounds by all words to come, each a token of its own",
        source=changed(
            "best_vocabulary", "gain = phi(most + rest) - phi(most)", "gain = 0 * most"
        ),
        message="ab spells abab too. Did you see it?",
    ),
    WrongAnswer(
        exercise="best_vocabulary",
        slip="stops at the first way that is allowed",
        source=changed("best_vocabulary", "<= value:", "<= value or tried:"),
        message="ab spells abab too. Did you see it?",
    ),
    WrongAnswer(
        exercise="best_vocabulary",
        slip="expects of the words to come what the others have cost",
        source=changed(
            "best_vocabulary",
            "return math.fsum(map(phi, counts.values())) + gain - phi(total + rest)",
            "so_far = math.fsum(map(phi, counts.values())) - phi(total)\n"
            "        return so_far * (1 + rest / max(total, 1))",
        ),
        message="bb serves in both words. Is your bound too low?",
    ),
    WrongAnswer(
        exercise="best_vocabulary",
        slip="tries all ways",
        source="""
def best_vocabulary(words, num_pieces):
    from itertools import product

    pieces, value, tried = set(), -math.inf, 0
    for cuts in product(*map(ways_to_cut, words)):
        counts = Counter()
        for cut, seen in zip(cuts, words.values()):
            for token in cut:
                counts[token] += seen
        used = {token for token in counts if len(token) > 1}
        if len(used) <= num_pieces:
            tried += 1
            new = sum(map(phi, counts.values())) - phi(sum(counts.values()))
            if new > value:
                pieces, value = used, new
    return pieces, value, tried
""",
        message="2048 of 2048 ways tried",
    ),
    WrongAnswer(
        exercise="best_vocabulary",
        slip="bounds by infinity until the end",
        source="""
def best_vocabulary(words, num_pieces):
    pieces, value, tried = set(), -math.inf, 0
    order = list(words)

    def search(i, counts, used):
        nonlocal pieces, value, tried
        if i == len(order):
            tried += 1
            new = sum(map(phi, counts.values())) - phi(sum(counts.values()))
            if new > value:
                pieces, value = used, new
            return
        for cut in ways_to_cut(order[i]):
            more = used | {token for token in cut if len(token) > 1}
            if len(more) <= num_pieces:
                search(i + 1, counts + Counter(cut * words[order[i]]), more)

    search(0, Counter(), set())
    return pieces, value, tried
""",
        message="2048 of 2048 ways tried",
    ),
)


class TestTheExercises(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS


def test_a_bound_that_forgets_the_words_to_come_is_good_enough():
    names = {}
    for cell in grade.read(bank.solution_of(NAME)).cells:
        if grade.grade_id(cell) in ("given", "given_phi"):
            exec(cell.source, names)
    source = changed("best_vocabulary", "for word in order[i:]", "for word in ()")
    source = source.replace("key=len", "key=lambda cut: -len(cut)")
    exec(source, names)
    words = {b"hug": 10, b"pug": 5, b"pun": 12, b"bun": 4, b"hugs": 5}
    _, value, tried = names["best_vocabulary"](words, 9)
    assert names["close"](value, swe.best_vocabulary(words, 9)[1])
    assert tried < 100  # half of what the check allows


def test_the_snippet_at_the_end_shows_that_merges_are_not_the_best():
    notebook = grade.read(bank.solution_of(NAME))
    names = {}
    for cell in notebook.cells:
        if grade.role(cell) in ("given", "answer"):
            exec(cell.source, names)
    exec(re.search("```python\n(.*?)```", notebook.cells[-1].source, re.S)[1], names)
    assert names["value"] > names["greedy"]
