"""Make ``exercises/`` from ``solutions/``: the only way in which exercises change."""

import argparse
import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from minitransformer.course.environment import ROOT

SETTINGS = ROOT / "solutions" / "nbgrader_config.py"


def exercise_sets(root: Path = ROOT) -> list[str]:
    """Return the ids of all exercise sets, in order."""
    return sorted(path.parent.name for path in (root / "solutions").glob("*/*.ipynb"))


def chosen_set(name: str, root: Path = ROOT) -> str:
    """Return the id of the set that ``name`` begins, such as ``1_1``.

    Raises:
        NoSuchSet: it begins none, or several.
    """
    known = exercise_sets(root)
    fitting = [each for each in known if f"{each}_".startswith(f"{name}_")]
    if len(fitting) != 1:
        raise NoSuchSet(f"no single exercise set begins {name!r}: {', '.join(known)}")
    return fitting[0]


class NoSuchSet(ValueError, argparse.ArgumentTypeError):
    """A name means no set; on a command line its message is shown as it is."""


def course(root: Path = ROOT) -> Any:
    """Return nbgrader's interface to this course, set up by ``nbgrader_config.py``."""
    from nbgrader.apps import NbGraderAPI
    from traitlets.config.loader import PyFileConfigLoader

    config = PyFileConfigLoader(SETTINGS.name, path=str(SETTINGS.parent)).load_config()
    config.CourseDirectory.root = str(root)
    database = root / ".grading" / "gradebook.db"
    database.parent.mkdir(exist_ok=True)
    config.CourseDirectory.db_url = f"sqlite:///{database}"
    programs = str(Path(sys.executable).parent)  # nbgrader calls alembic by its name
    if programs not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = programs + os.pathsep + os.environ["PATH"]
    for name in ("traitlets", "alembic", "NbGrader"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return NbGraderAPI(config=config)


def release(names: Iterable[str], root: Path = ROOT) -> None:
    """Write the student version of exercise sets.

    Raises:
        RuntimeError: nbgrader cannot make one; the message is its own.
    """
    api = course(root)
    for name in names:
        result = api.generate_assignment(name, force=True, create=True)
        if not result["success"]:
            raise RuntimeError(f"{name} cannot be released:\n{result['log']}")


def main(argv: list[str]) -> int:
    """Release the sets that are named, or all."""
    parser = argparse.ArgumentParser(prog="python3 -m minitransformer release")
    parser.add_argument("set", nargs="*", help="for example 1_1 (default: all)")
    options = parser.parse_args(argv)
    try:
        names = [chosen_set(name) for name in options.set] or exercise_sets()
        release(names)
    except (ValueError, RuntimeError) as error:
        print(error)
        return 1
    print("Released:", *names)
    return 0
