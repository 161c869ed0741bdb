"""Typical wrong answers to the exercises of lesson 1.1, each with its message."""

import re
from functools import partial

import pytest

from minitransformer.course import grade

from . import bank
from .bank import WrongAnswer

NAME = "1_1_byte_pair_encoding"
changed = partial(bank.changed, NAME)

WRONG_ANSWERS = (
    WrongAnswer(
        exercise="first_bytes",
        slip="counts characters",
        source="""
def first_bytes(text, count):
    return text[:count]
""",
        message="did you count characters?",
    ),
    WrongAnswer(
        exercise="first_bytes",
        slip="drops half a character",
        source=changed("first_bytes", "replace", "ignore"),
        message="did half an ï vanish?",
    ),
    WrongAnswer(
        exercise="first_bytes",
        slip="refuses half a character",
        source=changed("first_bytes", "replace", "strict"),
        message="unexpected end of data",
    ),
    WrongAnswer(
        exercise="first_bytes",
        slip="marks each byte that is left over",
        source="""
def first_bytes(text, count):
    raw, left = text.encode()[:count], 0
    while True:
        try:
            return raw.decode() + "\\ufffd" * left
        except UnicodeDecodeError:
            raw, left = raw[:-1], left + 1
""",
        message="is it one sign for all?",
    ),
    WrongAnswer(
        exercise="merge",
        slip="goes on by one after a merge",
        source=changed("merge", "i += 2", "i += 1"),
        message="did you skip past both ids of a merge?",
    ),
    WrongAnswer(
        exercise="merge",
        slip="loses the last id",
        source=changed("merge", "i < len(ids)", "i < len(ids) - 1"),
        message="what happens to a last id left alone?",
    ),
    WrongAnswer(
        exercise="merge",
        slip="stops after the first merge",
        source="""
def merge(ids, pair, new_id):
    for i in range(len(ids) - 1):
        if (ids[i], ids[i + 1]) == pair:
            return ids[:i] + [new_id] + ids[i + 2 :]
    return ids
""",
        message="is every (1, 2) merged?",
    ),
    WrongAnswer(
        exercise="merge",
        slip="ignores the order within the pair",
        source=changed(
            "merge",
            "tuple(ids[i : i + 2]) == pair",
            "sorted(ids[i : i + 2]) == sorted(pair)",
        ),
        message="is (2, 1) the pair (1, 2)?",
    ),
    WrongAnswer(
        exercise="merge",
        slip="uses the middle id twice",
        source="""
def merge(ids, pair, new_id):
    first = [i for i, two in enumerate(pairwise(ids)) if two == pair]
    merged = [new_id if i in first else old for i, old in enumerate(ids)]
    return [new for i, new in enumerate(merged) if i in first or i - 1 not in first]
""",
        message="is the middle 1 used twice?",
    ),
    WrongAnswer(
        exercise="merge",
        slip="comes from the right",
        source="""
def merge(ids, pair, new_id):
    return list(merge_word(ids[::-1], pair[::-1], new_id)[::-1])
""",
        message="do you go from left to right?",
    ),
    WrongAnswer(
        exercise="train",
        slip="counts each word once",
        source=changed("train", "+= seen", "+= 1"),
        message="Does it count 9?",
    ),
    WrongAnswer(
        exercise="train",
        slip="joins the words to one text",
        source="""
def train(words, num_merges):
    text, merges = (), []
    for word, seen in words.items():
        text += word * seen
    for new_id in range(256, 256 + num_merges):
        counts = Counter(pairwise(text))
        if not counts:
            break
        best = max(sorted(counts), key=counts.get)
        text = merge_word(text, best, new_id)
        merges.append(best)
    return merges
""",
        message="Do yours cross words?",
    ),
    WrongAnswer(
        exercise="train",
        slip="counts overlapping pairs once",
        source=changed("train", "in pairwise(word)", "in set(pairwise(word))"),
        message="Do you count both?",
    ),
    WrongAnswer(
        exercise="train",
        slip="lets the pair met first win a tie",
        source=changed("train", "sorted(counts)", "counts"),
        message="Does the smaller pair win?",
    ),
    WrongAnswer(
        exercise="train",
        slip="never rewrites the words",
        source=changed("train", "merge_word(word, best, new_id)", "word"),
        message="the word is now (256, 3). Is yours?",
    ),
    WrongAnswer(
        exercise="train",
        slip="goes on when no pair is left",
        source=changed("train", "if not counts:", "if False:"),
        message="empty",  # max() says so
    ),
    WrongAnswer(
        exercise="encode",
        slip="returns a tuple",
        source=changed("encode", "list(word)", "word"),
        message="ids come as a list, does yours?",
    ),
    WrongAnswer(
        exercise="encode",
        slip="merges one occurrence and stops",
        source="""
def encode(ids, ranks):
    for i, pair in enumerate(pairwise(ids)):
        if pair in ranks:
            return ids[:i] + [256 + ranks[pair]] + ids[i + 2 :]
    return ids
""",
        message="is every (1, 2) merged, and the rest kept?",
    ),
    WrongAnswer(
        exercise="encode",
        slip="looks at the pairs once",
        source=changed("encode", "while pairs :=", "if pairs :="),
        message="Do you look again?",
    ),
    WrongAnswer(
        exercise="encode",
        slip="begins with the highest rank",
        source=changed("encode", "min(pairs", "max(pairs"),
        message="Do you begin with it?",
    ),
    WrongAnswer(
        exercise="encode",
        slip="follows the order of the dict",
        source="""
def encode(ids, ranks):
    word = tuple(ids)
    for pair, rank in ranks.items():
        word = merge_word(word, pair, 256 + rank)
    return list(word)
""",
        message="did you follow the dict, not the ranks?",
    ),
    WrongAnswer(
        exercise="encode",
        slip="takes the leftmost pair",
        source=changed("encode", "min(pairs, key=ranks.get)", "pairs[0]"),
        message="Did you go from the left?",
    ),
    WrongAnswer(
        exercise="encode",
        slip="takes the longest token",
        source="""
def encode(ids, ranks):
    spelled = {}
    for pair, rank in sorted(ranks.items(), key=lambda item: item[1]):
        spelled[256 + rank] = sum((spelled.get(part, (part,)) for part in pair), ())
    text = "".join(map(chr, ids))
    for token in sorted(spelled, key=lambda token: (-len(spelled[token]), token)):
        text = text.replace("".join(map(chr, spelled[token])), chr(token))
    return [ord(c) for c in text]
""",
        message="did you look for the longest token?",
    ),
    WrongAnswer(
        exercise="offsets",
        slip="ends on the last character, not after it",
        source=changed("offsets", "owner[end - 1] + 1", "owner[end - 1]"),
        message="is end one past the last one?",
    ),
    WrongAnswer(
        exercise="offsets",
        slip="counts bytes",
        source="""
def offsets(tokens):
    spans, start = [], 0
    for token in tokens:
        spans.append((start, start + len(token)))
        start += len(token)
    return spans
""",
        message="did you count bytes?",
    ),
    WrongAnswer(
        exercise="offsets",
        slip="decodes each token alone",
        source="""
def offsets(tokens):
    spans, start = [], 0
    for token in tokens:
        end = start + len(token.decode())
        spans.append((start, end))
        start = end
    return spans
""",
        message="unexpected end of data",
    ),
    WrongAnswer(
        exercise="offsets",
        slip="counts only the characters that begin in a token",
        source="""
def offsets(tokens):
    spans, start = [], 0
    for token in tokens:
        end = start + sum(byte & 0xC0 != 0x80 for byte in token)
        spans.append((start, end))
        start = end
    return spans
""",
        message="do both sides touch it?",
    ),
    WrongAnswer(
        exercise="offsets",
        slip="forgets tokens that lie within a character",
        source="""
def offsets(tokens):
    spans, start = [], 0
    for token in tokens:
        begun = sum(byte & 0xC0 != 0x80 for byte in token)
        inside = token[0] & 0xC0 == 0x80 and begun > 0
        spans.append((start - inside, start + begun))
        start += begun
    return spans
""",
        message="do all touch it?",
    ),
    WrongAnswer(
        exercise="train_fast",
        slip="walks through all words",
        source=changed("train_fast", "list(where[best])", "range(len(spelling))"),
        message="Do you visit only them?",
    ),
    WrongAnswer(
        exercise="train_fast",
        slip="takes only the merged pair out of the totals",
        source=changed(
            "train_fast",
            "in pairwise(spelling[i]):\n                totals[pair] -=",
            "in [best]:\n                totals[pair] -=",
        ),
        message="(2, 3) is gone. Do totals and heap know?",
    ),
    WrongAnswer(
        exercise="train_fast",
        slip="pushes pairs that have died out",
        source=changed("train_fast", "if totals[pair] > 0:", "if True:"),
        message="after two merges no pair is left. Did you stop?",
    ),
    WrongAnswer(
        exercise="train_fast",
        slip="adds new pairs once, however often the word was seen",
        source=changed("train_fast", "totals[pair] += counts[i]", "totals[pair] += 1"),
        message="does (256, 3) weigh 5, like its word?",
    ),
    WrongAnswer(
        exercise="train_fast",
        slip="believes entries that are old",
        source=changed(
            "train_fast", "if totals[best] != -total:", "if not totals[best]:"
        ),
        message="(2, 3) fell from 7 to 2. Is an old 7 thrown away?",
    ),
    WrongAnswer(
        exercise="train_fast",
        slip="pushes only the new pairs",
        source=changed(
            "train_fast",
            "where[pair].discard(i)\n                changed.add(pair)",
            "where[pair].discard(i)",
        ),
        message="(2, 3) still counts 2. Is it on the heap?",
    ),
    WrongAnswer(
        exercise="train_fast",
        slip="leaves words in the index that have lost the pair",
        source=changed("train_fast", "where[pair].discard(i)", "pass"),
        message="Did it leave where[(2, 3)]?",
    ),
    WrongAnswer(
        exercise="train_fast",
        slip="takes a pair out once where a word holds it thrice",
        source=changed(
            "train_fast",
            "in pairwise(spelling[i]):\n                totals[pair] -=",
            "in set(pairwise(spelling[i])):\n                totals[pair] -=",
        ),
        message="1111 holds (1, 1) thrice. Are all out?",
    ),
    WrongAnswer(
        exercise="train_fast",
        slip="looks at all pairs in every round",
        source=changed(
            "train_fast",
            "total, best = heappop(heap)\n        looks += 1",
            "looks += len(heap)\n        total, best = heappop(heap)",
        ),
        message="is the top of the heap not enough?",
    ),
    WrongAnswer(
        exercise="train_fast",
        slip="changes the set that it walks over",
        source=changed("train_fast", "list(where[best])", "where[best]"),
        message="changed size during iteration",
    ),
)


class TestTheExercises(bank.ExerciseSet):
    name = NAME
    wrong_answers = WRONG_ANSWERS


def merge_in_place(ids, pair, new_id):
    for i in range(len(ids) - 1):
        if tuple(ids[i : i + 2]) == pair:
            ids[i : i + 2] = [new_id]
    return ids


def test_a_merge_in_place_is_seen_in_the_notebook():
    notebook = grade.read(bank.exercise_of(NAME))
    (check,) = [c for c in notebook.cells if grade.grade_id(c) == "merge_check"]
    with pytest.raises(AssertionError, match="do you build a new list"):
        exec(check.source, {"merge": merge_in_place})


def test_the_snippet_at_the_end_shows_how_little_is_visited():
    notebook = grade.read(bank.solution_of(NAME))
    names = {}
    for cell in notebook.cells:
        if grade.role(cell) in ("given", "answer"):
            exec(cell.source, names)
    exec(re.search("```python\n(.*?)```", notebook.cells[-1].source, re.S)[1], names)
    assert len(names["merges"]) == len(names["visits"]) == 300
    assert 0 < sum(names["visits"]) < 0.02 * 300 * len(names["words"])
