"""The Dockerfile copies what exists, installs what grading needs, gives no rights."""

import re
import subprocess
import tomllib

import pytest

from minitransformer.__main__ import JOBS
from minitransformer.course import environment
from minitransformer.course.environment import ROOT

DOCKERFILE = ROOT / "book" / "Dockerfile"


def instructions(text):
    """The instructions of a Dockerfile, each with its arguments on one line."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ")
    return [line.split(None, 1) for line in whole.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def steps():
    return instructions(DOCKERFILE.read_text(encoding="utf-8"))


def of_kind(steps, kind):
    return [text for name, text in steps if name == kind]


def copied(steps):
    """The sources of all COPY instructions."""
    words = (text.split() for text in of_kind(steps, "COPY"))
    return [word for each in words for word in each[:-1] if not word.startswith("--")]


def test_instructions_are_read_over_several_lines():
    text = "# a\nFROM x\nRUN a \\\n    && b\n\nUSER c\n"
    assert instructions(text) == [["FROM", "x"], ["RUN", "a      && b"], ["USER", "c"]]


def test_what_is_copied_is_in_the_repository(steps):
    listing = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for source in copied(steps):
        assert any(f"{line}/".startswith(f"{source}/") for line in listing), source


def test_all_that_an_install_reads_is_copied_before_it(steps):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    install = next(i for i, (_, text) in enumerate(steps) if "ensure(" in text)
    before = copied(steps[:install])
    needed = {project["readme"], *project["license-files"], "minitransformer"}
    assert needed | {"pyproject.toml", "constraints.txt"} <= set(before)
    environment.check_checkout(ROOT)  # it asks for the next two
    assert {"lessons", "solutions"} <= set(copied(steps))


def test_it_installs_what_grading_needs_as_the_course_does(steps):
    (install,) = [text for text in of_kind(steps, "RUN") if "ensure(" in text]
    assert "from minitransformer.course.environment import ensure" in install
    extras = re.findall(r"'(\w+)'", re.search(r"ensure\((.*?)\)", install)[1])
    for job in ("grade", "collect", "feedback", "grades", "release"):
        assert set(JOBS[job].extras) <= set(extras)
    assert extras == list(JOBS["grade"].extras)


def test_its_python_is_one_that_the_course_supports(steps):
    (image,) = of_kind(steps, "FROM")
    version = tuple(map(int, re.search(r"python:(\d+)\.(\d+)-", image).groups()))
    environment.check_python(version)


def test_it_has_a_sandbox_and_gives_up_its_rights(steps):
    kinds = [kind for kind, _ in steps]
    user = kinds.index("USER")
    assert steps[user][1] not in ("root", "0")
    assert "bubblewrap" in steps[kinds.index("RUN")][1]
    assert kinds.count("USER") == 1
    assert not {"COPY", "ADD"} & set(kinds[:user])
    assert of_kind(steps, "ENTRYPOINT") == ['["python3", "-m", "minitransformer"]']


def test_the_handbook_starts_it_without_network_and_with_limits():
    handbook = (ROOT / "book" / "handbook.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^\$ docker run .*", handbook, re.MULTILINE)
    for option in ("--rm", "--network none", "--memory", "--pids-limit"):
        assert option in line
    assert "--privileged" not in line
    (build,) = re.findall(r"^\$ docker build .*", handbook, re.MULTILINE)
    assert f"--file {DOCKERFILE.relative_to(ROOT).as_posix()} " in build
