"""The ledger of papers: what each paper claims, and what came out when we built it.

The entries stand in ``papers.toml`` beside this file, one ``[[paper]]`` each. The
atlas of the book is drawn from them.
"""

import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

FAMILIES = {
    "T": "Tokens and embeddings",
    "V": "Views of attention",
    "P": "Positions",
    "H": "Heads",
    "W": "Weights",
    "S": "Sparse attention",
    "L": "Linear attention and memory",
    "K": "Caches",
    "F": "Flash and kernels",
    "D": "Distributed attention",
    "R": "Reading a model",
    "Z": "Steering a model",
    "M": "Vision and several modalities",
    "A": "Alignment",
    "X": "Beyond",
}
"""Code of a family of papers -> its name."""

VERDICTS = ("reproduced", "partly", "not at this scale")
"""What a run of ours can say of a paper's claim."""


@dataclass(frozen=True)
class Paper:
    """One paper that the package builds.

    Attributes:
        key: short unique name, lower case.
        title: title of the paper.
        authors: authors, as one string.
        year: year of the first version.
        arxiv: arXiv identifier, such as ``1508.07909``.
        family: a code of :data:`FAMILIES`.
        module: full name of the module that builds it.
        lesson: name of the lesson that teaches it, without folder and suffix.
        claim: the claim, in one sentence.
        paper_figure: what the paper measured.
        our_figure: what our run measured.
        verdict: one of :data:`VERDICTS`.
        caveat: what to keep in mind when comparing the two figures.
    """

    key: str
    title: str
    authors: str
    year: int
    arxiv: str
    family: str
    module: str
    lesson: str
    claim: str
    paper_figure: str
    our_figure: str
    verdict: str
    caveat: str


def load(path: str | Path | None = None) -> list[Paper]:
    """Read and check the ledger.

    Args:
        path: a ledger; by default the one of this package.

    Returns:
        The papers, in the order of the file.

    Raises:
        ValueError: the file is not TOML or has something else than ``[[paper]]``; an
            entry lacks a field, has one too many, or one that cannot be; two entries
            share a key. The message names the entry.
    """
    path = Path(__file__).with_suffix(".toml") if path is None else Path(path)
    try:
        ledger = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path.name} is not TOML: {error}") from error
    entries = ledger.get("paper", [])
    if set(ledger) - {"paper"} or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{path.name} needs [[paper]] entries and nothing else")
    papers: list[Paper] = []
    for number, entry in enumerate(entries, start=1):
        where = f"{path.name}, paper {number} ({entry.get('key', 'no key')})"
        paper = _check(entry, where)
        if paper.key in {other.key for other in papers}:
            raise ValueError(f"{where}: key is used twice")
        papers.append(paper)
    return papers


def _check(entry: dict[str, Any], where: str) -> Paper:
    names = [field.name for field in fields(Paper)]
    if missing := [name for name in names if name not in entry]:
        raise ValueError(f"{where}: lacks {', '.join(missing)}")
    if unknown := [name for name in entry if name not in names]:
        raise ValueError(f"{where}: {', '.join(unknown)} is no field of a paper")
    for name in names:
        kind, wanted = (int, "a number") if name == "year" else (str, "a text")
        if type(entry[name]) is not kind or not entry[name]:
            raise ValueError(f"{where}: {name} is {entry[name]!r}, needs {wanted}")
    for name, known in (("family", tuple(FAMILIES)), ("verdict", VERDICTS)):
        if entry[name] not in known:
            raise ValueError(
                f"{where}: {name} is {entry[name]!r}, needs one of {', '.join(known)}"
            )
    for name, pattern, example in (
        ("key", r"[a-z0-9_]+", "sennrich2015"),
        ("arxiv", r"\d{4}\.\d{4,5}", "1508.07909"),
    ):
        if not re.fullmatch(pattern, entry[name]):
            raise ValueError(
                f"{where}: {name} is {entry[name]!r}, needs a form like {example}"
            )
    return Paper(**entry)
