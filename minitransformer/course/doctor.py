"""Look at an installation, one line a finding, each with its remedy."""

import argparse
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from minitransformer.course.environment import (
    OLDEST,
    ROOT,
    hand_over,
    installed,
    python_of,
    venv_of,
)

NAMES_THAT_MATTER = (
    "numpy",
    "torch",
    "tokenizers",
    "gensim",
    "matplotlib",
    "jupyterlab",
)


class Finding(NamedTuple):
    """One line: ``ok``, ``note`` or ``problem``; about what; and the remedy."""

    mark: str
    subject: str
    text: str
    remedy: str = ""


def check_python() -> Finding:
    """Is this Python new enough?"""
    text = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] < OLDEST:
        return Finding("problem", "Python", text, "install Python 3.11 or newer")
    return Finding("ok", "Python", text)


def check_environment(root: Path = ROOT) -> Finding:
    """Is the environment there and up to date?"""
    extras, where = installed(root), venv_of(root)
    where = Path(".venv") if where == root / ".venv" else where
    if extras:
        return Finding("ok", "environment", f"{where} with {', '.join(sorted(extras))}")
    remedy = "run python3 -m minitransformer; it sets everything up"
    return Finding(
        "problem", "environment", f"{where} is missing or out of date", remedy
    )


def pins(root: Path = ROOT) -> dict[str, str]:
    """Return the versions that the stored outputs were made with: name -> version."""
    text = (root / "constraints.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)==(\S+)$", text, flags=re.MULTILINE))


def check_packages(root: Path = ROOT) -> Iterator[Finding]:
    """Are the packages that matter there, in the versions of ``constraints.txt``?"""
    wanted = pins(root)
    for name in NAMES_THAT_MATTER:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            remedy = "run python3 -m minitransformer; it installs what is missing"
            yield Finding("problem", name, "not installed", remedy)
            continue
        if version.split("+")[0] == wanted[name]:
            yield Finding("ok", name, version)
        else:
            text = f"{version}; stored outputs were made with {wanted[name]}"
            yield Finding("note", name, text, "last digits of outputs may differ")


def check_torch() -> Iterator[Finding]:
    """Which devices can torch and Triton use?"""
    try:
        import torch
    except ImportError:
        return
    if torch.cuda.is_available():
        yield Finding("ok", "GPU", torch.cuda.get_device_name())
    else:
        text = "none that torch can use; every lesson runs on the processor"
        yield Finding("note", "GPU", text)
    try:
        yield Finding("ok", "Triton", metadata.version("triton"))
    except metadata.PackageNotFoundError:
        system = (platform.system(), platform.machine())
        remedy = "book/elsewhere.md has a way; or only read these, outputs are stored"
        if system == ("Linux", "x86_64"):
            remedy = "run python3 -m minitransformer; it installs what is missing"
        text = f"not installed on {' '.join(system)}; lessons 7.1 to 7.5 need it"
        yield Finding("note", "Triton", text, remedy)


def check_processor() -> Finding:
    """How many cores are there?"""
    return Finding("ok", "processor", f"{os.cpu_count()} cores, {platform.machine()}")


def check_fonts() -> Iterator[Finding]:
    """Can figures show the signs that the lessons use?"""
    try:
        from matplotlib import font_manager, ft2font
    except ImportError:
        return
    font = ft2font.FT2Font(font_manager.findfont("DejaVu Sans"))
    missing = [char for char in "·↵→Ωé€−" if not font.get_char_index(ord(char))]
    if missing:
        remedy = "reinstall matplotlib; it carries the font DejaVu Sans"
        yield Finding("problem", "fonts", f"no glyphs for {missing}", remedy)
    else:
        yield Finding("ok", "fonts", "DejaVu Sans, with the signs the lessons use")


def check_disk(root: Path = ROOT) -> Finding:
    """Is there room to work?"""
    free = shutil.disk_usage(root).free / 1e9
    if free < 1:
        return Finding("problem", "disk", f"{free:.1f} GB free", "free some space")
    return Finding("ok", "disk", f"{free:.1f} GB free")


def check_programs(
    find: Callable[[str], str | None] = shutil.which,
) -> Iterator[Finding]:
    """Are the programs there that only some tests and the grader use?"""
    browser = find("chromium") or find("chromium-browser") or find("google-chrome")
    if browser:
        yield Finding("ok", "browser", browser)
    else:
        remedy = "only tests of the website need it: install chromium"
        yield Finding("note", "browser", "no Chromium found", remedy)
    if find("bwrap"):
        yield Finding("ok", "sandbox", "bubblewrap")
    else:
        remedy = "only graders of other people's work need it: install bubblewrap"
        yield Finding("note", "sandbox", "no bubblewrap found", remedy)


def examine() -> Iterator[Finding]:
    """Yield all findings, in the order in which one would mend them."""
    yield check_python()
    yield check_environment()
    yield from check_packages()
    yield check_processor()
    yield from check_torch()
    yield from check_fonts()
    yield check_disk()
    yield from check_programs()


def main(argv: list[str]) -> int:
    """Print the findings; return 1 if one is a problem."""
    argparse.ArgumentParser(prog="python3 -m minitransformer doctor").parse_args(argv)
    inside = python_of(venv_of(ROOT))
    if Path(sys.prefix) != venv_of(ROOT) and inside.exists():
        return hand_over([str(inside), "-m", "minitransformer", "doctor"], ROOT)
    findings = list(examine())
    for mark, subject, text, remedy in findings:
        print(f"{mark:8} {subject:12} {text}" + (f" -> {remedy}" if remedy else ""))
    problems = sum(finding.mark == "problem" for finding in findings)
    print("\nAll is well." if not problems else f"\n{problems} to mend.")
    return 1 if problems else 0
