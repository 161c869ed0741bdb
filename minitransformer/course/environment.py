"""Set up the environment of the course with the standard library alone.

:func:`ensure` makes ``.venv`` beside the package, or the folder that the variable
``MINITRANSFORMER_VENV`` names, installs the extras that a job needs and notes what it
did in a stamp inside; when the stamp fits, it does nothing.
This file must be readable by older Pythons, so that they can say that they are too old.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, NoReturn

ROOT = Path(__file__).resolve().parents[2]
OLDEST = (3, 11)
VARIABLE = "MINITRANSFORMER_VENV"
GIGABYTES = {"course": 1.6, "kernels": 1.0, "book": 0.2, "grade": 0.1, "test": 0.5}

NETWORK = re.compile(
    r"NewConnectionError|name resolution|getaddrinfo failed|Network is unreachable"
    r"|ConnectTimeout|ReadTimeout|ProxyError|Connection (?:refused|reset)|Max retries"
    r"|Failed to resolve|SSLError|CERTIFICATE_VERIFY"
)
PINS = re.compile(r"ResolutionImpossible|No matching distribution|conflicting depend")
NO_SPACE = re.compile(r"No space left on device|not enough space on the disk", re.I)
LARGE = re.compile(r"Downloading (?:\S*/)?(\S+) \((\d{2,})\.\d MB\)")


class SetupError(Exception):
    """The environment cannot be set up; the message tells a student what to do."""


def check_python(version: tuple[int, ...]) -> None:
    """Raise unless this Python can run the course."""
    if version < OLDEST:
        raise SetupError(
            "this is Python {}.{}, the course needs Python {}.{} or newer. Install one "
            "and run the same command with it.".format(*version[:2], *OLDEST)
        )


def check_checkout(root: Path) -> None:
    """Raise unless the lessons lie beside the package."""
    if not (root / "pyproject.toml").is_file() or not (root / "lessons").is_dir():
        raise SetupError(
            f"there are no lessons beside the package in {root}. The course runs from "
            "its repository: clone it, and run this command in its folder."
        )


def check_disk(venv: Path, extras: Iterable[str]) -> None:
    """Raise unless the disk has room for the extras and half a gigabyte to spare."""
    needed = max(0, sum(GIGABYTES[extra] for extra in extras) - size(venv))
    there = next(path for path in venv.parents if path.exists())
    free = shutil.disk_usage(there).free / 1e9
    say(f"Needs about {needed:.1f} GB of disk; {free:.1f} GB are free.")
    if free < needed + 0.5:
        raise SetupError(
            f"the disk of {there} has {free:.1f} GB free, needs {needed + 0.5:.1f} GB. "
            "Free some space and run the same command again."
        )


def size(folder: Path) -> float:
    """Return how many gigabytes the files in a folder take."""
    files = (path for path in folder.rglob("*") if not path.is_symlink())
    return sum(path.stat().st_size for path in files if path.is_file()) / 1e9


def say(text: str) -> None:
    """Print one line at once."""
    print(text, flush=True)


def venv_of(root: Path) -> Path:
    """Return the folder of the environment: ``.venv``, or where the variable says."""
    return root / Path(os.environ.get(VARIABLE) or ".venv").expanduser()


def python_of(venv: Path) -> Path:
    """Return the path of the Python of an environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def digest(root: Path) -> str:
    """Return what an install depends on, as one word."""
    parts = [
        (root / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")
    ]
    return hashlib.sha256(b"\0".join([*parts, str(root).encode()])).hexdigest()


def installed(root: Path) -> set[str]:
    """Return the extras that are installed, none if they are not up to date."""
    try:
        venv = venv_of(root)
        stamp = json.loads((venv / "minitransformer.json").read_text("utf-8"))
        fits = stamp["digest"] == digest(root) and python_of(venv).exists()
        return set(stamp["extras"]) if fits else set()
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def ensure(extras: Iterable[str], root: Path = ROOT) -> Path:
    """Return the Python of an environment that has ``extras``, making it if need be.

    Raises:
        SetupError: it cannot be made; the message says why and what to do.
    """
    wanted = set(extras)
    if not wanted <= installed(root):
        with only_one(root):
            have = installed(root)
            if not wanted <= have:
                make(root, wanted | have)
    return python_of(venv_of(root))


def make(root: Path, extras: set[str]) -> None:
    """Make or complete the environment, saying what is done and how long it takes."""
    start, venv = time.monotonic(), venv_of(root)
    say(f"Setting up the course in {venv} with Python {sys.version.split()[0]}.")
    check_disk(venv, extras)
    stamp = venv / "minitransformer.json"
    stamp.unlink(missing_ok=True)
    if not has_pip(venv):
        check_not_yours(venv)
        create(venv)
    project = f"{root}[{','.join(sorted(extras))}]"
    try:
        pip_install(venv, project, root / "constraints.txt")
    except PinsUnavailable:
        say("Not all pinned versions exist for this Python: taking the newest instead.")
        say("Some stored outputs may then differ in their last digits.")
        pip_install(venv, project, None)
    content = {"digest": digest(root), "extras": sorted(extras)}
    stamp.write_text(json.dumps(content), encoding="utf-8")
    took = time.monotonic() - start
    say(f"Ready after {took:.0f} s; {venv.name} takes {size(venv):.1f} GB.")


def has_pip(venv: Path) -> bool:
    """Tell whether an environment is whole enough to install into."""
    command = [str(python_of(venv)), "-c", "import pip"]
    try:
        return subprocess.run(command, capture_output=True, cwd=venv).returncode == 0
    except OSError:
        return False


def check_not_yours(venv: Path) -> None:
    """Raise if the variable names a folder of other things, which would be emptied."""
    known = not os.environ.get(VARIABLE) or (venv / "pyvenv.cfg").exists()
    if not known and venv.exists() and any(venv.iterdir()):
        raise SetupError(
            f"{VARIABLE} names {venv}, which holds other things. Name a new folder."
        )


def create(venv: Path) -> None:
    """Make a fresh environment, in place of a broken one."""
    command = [sys.executable, "-m", "venv", "--clear", str(venv)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        output = result.stdout + result.stderr
        if NO_SPACE.search(output):
            explain(output)
        raise SetupError(
            "Python cannot make a virtual environment here. On Debian and Ubuntu, run "
            f"'sudo apt install python3-venv' first. It said: {last_line(output)}"
        )


class PinsUnavailable(Exception):
    """The versions of constraints.txt do not exist for this Python or system."""


def pip_install(venv: Path, project: str, constraints: Path | None) -> None:
    """Install the project, in place, and show pip's progress as one line."""
    command = [str(python_of(venv)), "-m", "pip", "install", "--editable", project]
    command += ["--disable-pip-version-check", "--no-input", "--retries", "2"]
    command += ["--progress-bar", "off"]
    if constraints is not None:
        command += ["--constraint", str(constraints)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    assert process.stdout is not None
    try:
        lines = list(show_progress(process.stdout))
    except BaseException:
        process.kill()
        raise
    if process.wait():
        output = "".join(lines)
        if (
            constraints is not None
            and PINS.search(output)
            and not NETWORK.search(output)
        ):
            raise PinsUnavailable
        explain(output)


def show_progress(lines: Iterable[str]) -> Iterator[str]:
    """Pass pip's lines through, and say now and then what it is at."""
    start, found = time.monotonic(), 0
    for line in lines:
        seconds = f"{time.monotonic() - start:.0f} s"
        if line.startswith("Collecting"):
            found += 1
            if found % 30 == 1:
                say(f"  Finding and downloading packages: {found}, {seconds}")
        elif large := LARGE.search(line):
            say(f"  Downloading {large[1]}, {large[2]} MB, {seconds}")
        elif line.startswith("Installing collected"):
            count = line.count(",") + 1
            say(f"  Installing {count} packages, which takes a while, {seconds}")
        yield line


def explain(output: str) -> NoReturn:
    """Raise the sentence that fits what pip or venv printed."""
    if NO_SPACE.search(output):
        raise SetupError("the disk is full. Free some space and run it again.")
    if NETWORK.search(output):
        raise SetupError(
            "the packages cannot be downloaded: is this computer online? Connect it, "
            "or set up its proxy, and run the same command again."
        )
    raise SetupError(f"installing the packages failed. pip said: {last_line(output)}")


def last_line(output: str) -> str:
    """Return the last line that says ERROR, or the last line."""
    lines = [line for line in output.splitlines() if line.strip()] or ["nothing"]
    return next((line for line in reversed(lines) if "ERROR" in line), lines[-1])


@contextlib.contextmanager
def only_one(root: Path) -> Iterator[None]:
    """Wait until no other set-up runs; a dead one's lock is gone with it."""
    venv = venv_of(root)
    try:
        venv.parent.mkdir(parents=True, exist_ok=True)
        file = open(venv.with_name(f"{venv.name}.lock"), "w")  # noqa: SIM115
    except OSError as error:
        raise SetupError(
            f"{venv.parent} cannot be written to: {error.strerror}. Set {VARIABLE} to "
            "a new folder where you may write, for example ~/course-venv, and run the "
            "same command again."
        ) from error
    with file:
        if not lock(file):
            say("Another command is setting up this course; waiting for it.")
            while not lock(file):
                time.sleep(1)
        yield


def lock(file: IO[str]) -> bool:
    """Lock a file until it is closed; tell whether that was possible now."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def hand_over(command: list[str], cwd: Path) -> int:
    """Run a command that answers Ctrl-C itself, and return its exit code."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        return subprocess.call(command, cwd=cwd)
    finally:
        signal.signal(signal.SIGINT, before)
