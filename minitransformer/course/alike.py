"""Which answers of a class are alike, whatever their names, comments and layout.

An answer is cut into runs of tokens; within a run every name is replaced by the number
in which it came. What a quarter of the class has in common is the task, not a copy, and
is left out. The solution takes part under a name of its own.
"""

import argparse
import io
import keyword
import tokenize
from collections import Counter
from functools import partial
from itertools import combinations
from pathlib import Path

from minitransformer.course import classroom, grade, release
from minitransformer.course.environment import ROOT

RUN = 12  # tokens
COMMON = 0.25  # of the class
LEAST = 30  # runs that must be left of an answer, for a share to mean something
SOLUTION = "(solution)"
QUOTES = ('"""', "'''")  # what a docstring begins with
IGNORED = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENCODING}


def runs(source: str) -> set[tuple[str, ...]]:
    """Return the runs of tokens of a source; none if it is no Python."""
    try:
        tokens = [
            token
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type not in IGNORED and not token.string.startswith(QUOTES)
        ]
    except (tokenize.TokenError, SyntaxError):
        return set()
    return {without_names(tokens[i : i + RUN]) for i in range(len(tokens) - RUN + 1)}


def without_names(tokens: list[tokenize.TokenInfo]) -> tuple[str, ...]:
    """Return the words of a run, each name as the number in which it came."""
    numbers: dict[str, str] = {}
    return tuple(
        numbers.setdefault(token.string, f"name {len(numbers)}")
        if token.type == tokenize.NAME and not keyword.iskeyword(token.string)
        else token.string.strip()
        for token in tokens
    )


def fingerprints(notebooks: dict[str, Path]) -> dict[str, set]:
    """Return for each student the runs of all answers that few others have."""
    found: dict[str, set] = {}
    for student, path in notebooks.items():
        try:
            cells = grade.read(path).cells
        except ValueError:
            cells = []
        answers = [cell for cell in cells if grade.role(cell) == "answer"]
        found[student] = {
            (grade.grade_id(cell), run) for cell in answers for run in runs(cell.source)
        }
    seen = Counter(run for own in found.values() for run in own)
    most = max(3, COMMON * len(found))
    return {
        student: {run for run in own if seen[run] <= most}
        for student, own in found.items()
    }


def alike(notebooks: dict[str, Path]) -> list[tuple[float, str, str]]:
    """Return all pairs of students, those first who share most of their rare runs.

    A share is that of the smaller of both: 1 if all of it is in the other.
    """
    rare = {s: own for s, own in fingerprints(notebooks).items() if len(own) >= LEAST}
    pairs = [
        (len(rare[one] & rare[two]) / min(len(rare[one]), len(rare[two])), one, two)
        for one, two in combinations(sorted(rare), 2)
    ]
    return sorted(pairs, key=lambda pair: (-pair[0], pair[1:]))


def main(argv: list[str]) -> int:
    """List the answers that are most alike: ``alike SET [--share S]``."""
    parser = argparse.ArgumentParser(prog="python3 -m minitransformer alike")
    chosen = partial(release.chosen_set, root=ROOT)
    parser.add_argument("set", help="for example 1_1", type=chosen)
    parser.add_argument("--share", type=float, default=0.7, help="least share to list")
    options = parser.parse_args(argv)
    notebooks = classroom.submissions(options.set, ROOT)
    solution = ROOT / "solutions" / options.set / f"{options.set}.ipynb"
    pairs = alike({**notebooks, SOLUTION: solution})
    listed = [pair for pair in pairs if pair[0] >= options.share]
    for share, one, two in listed:
        print(f"{share:4.0%}  {one}  {two}")
    print(f"{len(listed)} pairs of {len(notebooks)} submissions. Alike is not copied.")
    return 0
