"""How far a learner is: the marks of the last check of each set, and the whole course.

Each set has a file of its own, ``.grading/progress/SET.json``, written whole or not at
all. A file that is damaged costs that one set, and is kept under another name.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

from minitransformer.course import grade
from minitransformer.course.release import exercise_sets

BAR = 20


@dataclass(frozen=True)
class Standing:
    """How far one set is: its points, and its first open exercise (None: all done)."""

    name: str
    title: str
    points: float
    possible: float
    open_exercise: str | None

    @property
    def short(self) -> str:
        """The beginning of the id that commands understand, such as ``1_1``."""
        return "_".join(itertools.takewhile(str.isdigit, self.name.split("_")))


def file_of(name: str, root: Path) -> Path:
    """Return where the marks of a set lie."""
    return root / ".grading" / "progress" / f"{name}.json"


def load(name: str, root: Path) -> list[grade.Mark]:
    """Return the marks of the last check of a set, none if there was none.

    A file that cannot be read is set aside under a name of its own, which is said.
    """
    path = file_of(name, root)
    marks = grade.load_marks(path)
    if marks is None and path.exists():
        names = (path.with_suffix(f".damaged-{i}") for i in itertools.count(1))
        copy = next(each for each in names if not each.exists())
        path.rename(copy)
        print(
            f"The stored result of {name} cannot be read. It is kept as {copy}; "
            "check the set again to have it back."
        )
    return marks or []


def save(name: str, marks: list[grade.Mark], depends_on: str, root: Path) -> None:
    """Store the marks of a set, in place of those of its last check."""
    load(name, root)  # sets a damaged file aside
    grade.save_marks(file_of(name, root), marks, depends_on)


def standing(name: str, root: Path) -> Standing:
    """Return how far a set is; a check that is new since then counts as open."""
    notebook = grade.read(root / "solutions" / name / f"{name}.ipynb")
    checks = [cell for cell in notebook.cells if grade.role(cell) == "check"]
    earned = {mark.check: mark.points for mark in load(name, root)}
    most = {grade.grade_id(c): grade.points_of(c) for c in checks}
    points = {check: min(earned.get(check, 0), most[check]) for check in most}
    title = notebook.cells[0].source.partition("\n")[0]
    about = {e["id"]: e for e in notebook.metadata["minitransformer"]["exercises"]}
    still_open = [
        about[check.removesuffix("_check")]
        for check in most
        if points[check] < most[check]
    ]
    return Standing(
        name,
        title.removeprefix("# ").removesuffix(": exercises"),
        sum(points.values()),
        sum(most.values()),
        "{title} ({minutes} minutes)".format_map(still_open[0]) if still_open else None,
    )


def standings(root: Path) -> list[Standing]:
    """Return how far each set of the course is, in order."""
    return [standing(name, root) for name in exercise_sets(root)]


def bar(points: float, possible: float) -> str:
    """Draw a share; full means all, and a first point is seen."""
    filled = int(BAR * points / possible) if possible else BAR
    filled = max(filled, 1) if points else filled
    return "#" * filled + "." * (BAR - filled)


def line(title: str, points: float, possible: float) -> str:
    """Return one row of the overview: title, bar, points."""
    numbers = f"{points:4g} of {possible:3g} points"
    return f"{title:38.38} {bar(points, possible)} {numbers}"


def total(sets: list[Standing]) -> str:
    """Return the row of the whole course."""
    done, most = sum(s.points for s in sets), sum(s.possible for s in sets)
    return line("The whole course", done, most)


def overview(sets: list[Standing]) -> str:
    """Return the whole course, a row a set."""
    rows = [line(each.title, each.points, each.possible) for each in sets]
    return "\n".join([*rows, "", total(sets)])


def advice(sets: list[Standing], root: Path) -> str:
    """Say what to do next: go on with the set that was checked last, then after it."""
    files = [file_of(each.name, root) for each in sets]
    times = [file.stat().st_mtime if file.exists() else 0 for file in files]
    last = times.index(max(times))
    for each in sets[last:] + sets[:last]:
        if each.open_exercise:
            return (
                f"Next: {each.title}, {each.open_exercise}\n"
                f"      exercises/{each.name}/{each.name}.ipynb\n"
                f"      python3 -m minitransformer check {each.short}"
            )
    return "All exercises are done."
