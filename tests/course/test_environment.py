"""Setting up: every failure is a sentence, and nothing is done twice."""

import collections
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from minitransformer.course import environment
from minitransformer.course.environment import SetupError

OFFLINE = """\
Looking in indexes: https://index.invalid/simple
WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by \
'NewConnectionError('Failed to establish a new connection: [Errno -2] Name or service \
not known')': /simple/hatchling/
ERROR: Could not find a version that satisfies the requirement hatchling (from \
versions: none)
ERROR: No matching distribution found for hatchling
"""
BAD_CERTIFICATE = """\
Could not fetch URL https://index.invalid/simple/numpy/: There was a problem \
confirming the ssl certificate: (Caused by SSLError(SSLCertVerificationError(1, '[SSL: \
CERTIFICATE_VERIFY_FAILED]'))) - skipping
ERROR: No matching distribution found for numpy
"""
CONFLICT = """\
The conflict is caused by:
    minitransformer 0.1.0 depends on numpy>=2
    The user requested (constraint) numpy==1.0
ERROR: ResolutionImpossible: for help visit https://pip.invalid/conflicts
"""
NO_SUCH_PIN = """\
ERROR: Could not find a version that satisfies the requirement numpy==1.0 (from \
versions: 2.0.0, 2.0.1)
ERROR: No matching distribution found for numpy==1.0
"""
FULL = "ERROR: Could not install packages: [Errno 28] No space left on device\n"
OTHER = "Building wheel\nERROR: Failed building wheel for cymem\nhint: see above\n"
SUCCESS = """\
Collecting numpy
  Downloading numpy-2.4.6.whl.metadata (6.6 kB)
Collecting torch
  Downloading https://index.invalid/files/torch-2.13.0.whl (190.3 MB)
  Downloading six-1.17.0.whl (1.2 MB)
Installing collected packages: numpy, torch
Successfully installed numpy-2.4.6 torch-2.13.0
"""


@pytest.fixture
def course(tmp_path):
    """A checkout without an environment."""
    root = tmp_path / "course"
    (root / "lessons").mkdir(parents=True)
    (root / "pyproject.toml").write_text("[project]")
    (root / "constraints.txt").write_text("numpy==2.4.6\n")
    return root


def put_python(root, answers):
    """Put a Python into ``.venv`` that gives ``answers``, one for each pip it runs."""
    python = environment.python_of(root / ".venv")
    python.parent.mkdir(parents=True, exist_ok=True)
    for number, (output, code) in enumerate(answers):
        (root / f"answer{number}").write_text(f"{output}")
        (root / f"code{number}").write_text(f"{code}")
    python.write_text(
        f"#!/bin/sh\ncd '{root}'\n"
        '[ "$1" = -c ] && exit 0\n'
        'n=$(cat calls 2>/dev/null | wc -l)\necho "$@" >> calls\n'
        'cat "answer$n"\nexit $(cat "code$n")\n'
    )
    python.chmod(0o755)
    return root


def put_python_at(venv):
    """Put a Python at a place that succeeds whatever it is asked."""
    python = environment.python_of(venv)
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)


def calls(root):
    """What pip was asked to do, a line a call."""
    path = root / "calls"
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def fresh(monkeypatch):
    """Let ``python -m venv`` be a fake that succeeds with the answers given."""

    def prepare(*answers):
        monkeypatch.setattr(
            environment, "create", lambda venv: put_python(venv.parent, answers)
        )

    return prepare


# What must be there before anything is done


@pytest.mark.parametrize("version", [(3, 8), (3, 10), (2, 7)])
def test_an_old_python_is_told_which_one_is_needed(version):
    with pytest.raises(SetupError, match=r"the course needs Python 3\.11 or newer"):
        environment.check_python(version)


@pytest.mark.parametrize("version", [(3, 11), (3, 13), (4, 0)])
def test_a_new_python_is_welcome(version):
    environment.check_python(version)
    assert version >= environment.OLDEST


def test_the_oldest_python_is_the_one_of_pyproject():
    text = (environment.ROOT / "pyproject.toml").read_text()
    assert 'requires-python = ">={}.{}"'.format(*environment.OLDEST) in text


def test_every_extra_that_a_command_needs_has_a_size():
    from minitransformer.__main__ import JOBS

    needed = {extra for job in JOBS.values() for extra in job.extras}
    assert needed <= set(environment.GIGABYTES)


@pytest.mark.parametrize("missing", ["lessons", "pyproject.toml"])
def test_a_package_without_lessons_says_to_clone_the_repository(course, missing):
    environment.check_checkout(course)
    path = course / missing
    path.rmdir() if path.is_dir() else path.unlink()
    with pytest.raises(SetupError, match="clone it"):
        environment.check_checkout(course)


def disk_with(monkeypatch, gigabytes):
    usage = collections.namedtuple("usage", "total used free")
    free = usage(0, 0, int(gigabytes * 1e9))
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda path: free)


def test_a_full_disk_is_noticed_before_anything_is_made(course, monkeypatch):
    disk_with(monkeypatch, 2.0)
    with pytest.raises(SetupError, match=r"has 2\.0 GB free, needs 2\.1 GB"):
        environment.ensure({"course"}, course)
    assert not (course / ".venv").exists()


def test_what_is_installed_already_needs_no_room(course, monkeypatch, capsys):
    disk_with(monkeypatch, 2.0)
    monkeypatch.setattr(environment, "size", lambda folder: 1.5)
    environment.check_disk(course / ".venv", {"course"})
    assert "Needs about 0.1 GB of disk; 2.0 GB are free." in capsys.readouterr().out


def test_the_size_of_a_folder_counts_files_once(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "file").write_bytes(b"\0" * 3_000_000)
    (tmp_path / "link").symlink_to(tmp_path / "inner" / "file")
    assert environment.size(tmp_path) == pytest.approx(0.003)
    assert environment.size(tmp_path / "missing") == 0


# Making it


def test_the_first_run_makes_the_environment_and_the_second_does_nothing(
    course, fresh, capsys
):
    fresh((SUCCESS, 0))
    python = environment.ensure({"course"}, course)
    assert python == environment.python_of(course / ".venv")
    (call,) = calls(course)
    assert f"-m pip install --editable {course}[course]" in call
    assert f"--constraint {course / 'constraints.txt'}" in call
    said = capsys.readouterr().out
    for part in ("Setting up", "GB of disk", "Finding and downloading", "Ready after"):
        assert part in said
    assert "Installing 2 packages" in said
    assert environment.ensure({"course"}, course) == python
    assert len(calls(course)) == 1
    assert capsys.readouterr().out == ""


def test_extras_add_up(course, fresh):
    fresh((SUCCESS, 0), (SUCCESS, 0))
    environment.ensure({"course"}, course)
    environment.ensure({"course", "test"}, course)
    assert environment.installed(course) == {"course", "test"}
    environment.ensure({"course"}, course)
    environment.ensure({"test"}, course)
    first, second = calls(course)
    assert "[course]" in first
    assert "[course,test]" in second


def test_extras_that_came_apart_are_kept_together(course, fresh):
    fresh((SUCCESS, 0), (SUCCESS, 0))
    environment.ensure({"book"}, course)
    environment.ensure({"grade"}, course)
    assert environment.installed(course) == {"book", "grade"}


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed(course, fresh, name):
    fresh((SUCCESS, 0), (SUCCESS, 0))
    environment.ensure({"course"}, course)
    (course / name).write_text("changed")
    assert environment.installed(course) == set()
    environment.ensure({"course"}, course)
    assert len(calls(course)) == 2


def test_a_moved_checkout_is_set_up_again(course, fresh):
    fresh((SUCCESS, 0))
    environment.ensure({"course"}, course)
    moved = course.with_name("moved")
    course.rename(moved)
    assert environment.installed(moved) == set()


@pytest.mark.parametrize(
    "stamp", ["", "{", "[]", "null", '{"extras": []}', '{"digest": 1, "extras": []}']
)
def test_a_damaged_stamp_counts_as_none(course, stamp):
    put_python(course, [])
    (course / ".venv" / "minitransformer.json").write_text(stamp)
    assert environment.installed(course) == set()


def test_a_stamp_without_a_python_counts_as_none(course, fresh):
    fresh((SUCCESS, 0))
    python = environment.ensure({"course"}, course)
    python.unlink()
    assert environment.installed(course) == set()


def test_a_broken_environment_is_made_anew(course, fresh):
    python = environment.python_of(course / ".venv")
    python.parent.mkdir(parents=True)
    python.write_text("no program")
    fresh((SUCCESS, 0))
    environment.ensure({"course"}, course)
    assert environment.has_pip(course / ".venv")
    assert len(calls(course)) == 1


def test_an_interrupted_set_up_goes_on_where_it_was(course, fresh, monkeypatch):
    fresh((SUCCESS, 0))
    with monkeypatch.context() as patch:

        def interrupted(*arguments):
            raise KeyboardInterrupt

        patch.setattr(environment, "pip_install", interrupted)
        with pytest.raises(KeyboardInterrupt):
            environment.ensure({"course"}, course)
    assert environment.installed(course) == set()
    monkeypatch.setattr(environment, "create", None)  # not needed a second time
    environment.ensure({"course"}, course)
    assert environment.installed(course) == {"course"}


def test_an_interrupted_set_up_ends_pip_too(course, monkeypatch):
    ended = []

    class Pip:
        stdout = ()

        def __init__(self, command, **options):
            self.command = command

        def kill(self):
            ended.append(self.command[1:4])

    def interrupted(lines):
        raise KeyboardInterrupt

    monkeypatch.setattr(environment.subprocess, "Popen", Pip)
    monkeypatch.setattr(environment, "show_progress", interrupted)
    with pytest.raises(KeyboardInterrupt):
        environment.pip_install(course / ".venv", "project", None)
    assert ended == [["-m", "pip", "install"]]


def test_a_failed_update_leaves_no_stamp(course, fresh):
    fresh((SUCCESS, 0), (OTHER, 1))
    environment.ensure({"course"}, course)
    with pytest.raises(SetupError):
        environment.ensure({"book"}, course)
    assert environment.installed(course) == set()


def test_two_at_once_set_up_once(course, monkeypatch, capsys):
    made, waiting = [], threading.Event()

    def make(root, extras):
        made.append(extras)
        assert waiting.wait(timeout=30)
        put_python(root, [])
        content = {"digest": environment.digest(root), "extras": sorted(extras)}
        (root / ".venv" / "minitransformer.json").write_text(json.dumps(content))

    monkeypatch.setattr(environment, "make", make)
    monkeypatch.setattr(environment.time, "sleep", lambda _: waiting.set())
    threads = [
        threading.Thread(target=environment.ensure, args=({"course"}, course))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert made == [{"course"}]
    assert capsys.readouterr().out.count("waiting for it") == 1


def test_a_lock_that_was_left_behind_stops_nobody(course, fresh):
    (course / ".venv.lock").write_text("")
    fresh((SUCCESS, 0))
    environment.ensure({"course"}, course)
    assert environment.installed(course) == {"course"}


def test_a_folder_that_cannot_be_written_is_named(course):
    (course / ".venv.lock").mkdir()
    with pytest.raises(SetupError, match="cannot be written to"):
        environment.ensure({"course"}, course)


def test_the_environment_may_be_elsewhere(course, monkeypatch, tmp_path, capsys):
    elsewhere = tmp_path / "not yet" / "there"
    monkeypatch.setenv(environment.VARIABLE, str(elsewhere))
    before = sorted(course.rglob("*"))
    monkeypatch.setattr(environment, "create", lambda venv: put_python_at(venv))
    python = environment.ensure({"course"}, course)
    assert python == environment.python_of(elsewhere)
    assert environment.installed(course) == {"course"}
    assert sorted(course.rglob("*")) == before
    assert "there takes" in capsys.readouterr().out


@pytest.mark.parametrize("named", ["", None])
def test_without_the_variable_the_environment_is_beside_the_package(
    course, monkeypatch, named
):
    if named is None:
        monkeypatch.delenv(environment.VARIABLE, raising=False)
    else:
        monkeypatch.setenv(environment.VARIABLE, named)
    assert environment.venv_of(course) == course / ".venv"


def test_a_relative_place_does_not_depend_on_where_one_stands(course, monkeypatch):
    monkeypatch.setenv(environment.VARIABLE, "env")
    assert environment.venv_of(course) == course / "env"


def test_a_folder_of_other_things_is_not_emptied(course, monkeypatch, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("dear")
    monkeypatch.setenv(environment.VARIABLE, str(tmp_path / "home"))
    with pytest.raises(SetupError, match="holds other things"):
        environment.ensure({"course"}, course)
    assert (tmp_path / "home" / "letter").read_text() == "dear"


def test_a_read_only_checkout_names_the_variable(course, monkeypatch):
    def refuse(path, mode):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(SetupError, match=r"Read-only file system\. Set MINITRANS"):
        environment.ensure({"course"}, course)


# What pip says, as sentences


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (OFFLINE, "is this computer online"),
        (BAD_CERTIFICATE, "is this computer online"),
        (FULL, "the disk is full"),
        (OTHER, "pip said: ERROR: Failed building wheel for cymem"),
        ("", "pip said: nothing"),
    ],
)
def test_a_failed_install_says_why_and_is_tried_once(course, fresh, output, sentence):
    fresh((output, 1))
    with pytest.raises(SetupError, match=sentence):
        environment.ensure({"course"}, course)
    assert len(calls(course)) == 1
    assert environment.installed(course) == set()


@pytest.mark.parametrize("output", [CONFLICT, NO_SUCH_PIN])
def test_pins_that_do_not_exist_are_left_out_and_it_says_so(
    course, fresh, capsys, output
):
    fresh((output, 1), (SUCCESS, 0))
    environment.ensure({"course"}, course)
    first, second = calls(course)
    assert "--constraint" in first
    assert "--constraint" not in second
    said = capsys.readouterr().out
    assert "taking the newest instead" in said
    assert "outputs may then differ" in said
    assert environment.installed(course) == {"course"}


def test_packages_that_do_not_exist_at_all_are_named(course, fresh):
    fresh((NO_SUCH_PIN, 1), (NO_SUCH_PIN, 1))
    with pytest.raises(SetupError, match="No matching distribution found for numpy"):
        environment.ensure({"course"}, course)
    assert len(calls(course)) == 2


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("The virtual environment was not created: ensurepip", "python3-venv"),
        ("[Errno 28] No space left on device", "the disk is full"),
    ],
)
def test_a_python_without_venv_says_what_to_install(
    course, monkeypatch, output, sentence
):
    def run(command, **options):
        return subprocess.CompletedProcess(command, 1, output, "")

    monkeypatch.setattr(environment.subprocess, "run", run)
    with pytest.raises(SetupError, match=sentence):
        environment.create(course / ".venv")


def test_an_environment_is_made_in_place_of_a_broken_one(course, monkeypatch):
    commands = []

    def run(command, **options):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(environment.subprocess, "run", run)
    environment.create(course / ".venv")
    venv = str(course / ".venv")
    assert commands == [[sys.executable, "-m", "venv", "--clear", venv]]


def test_progress_says_what_takes_long_and_passes_every_line_on(capsys):
    lines = SUCCESS.splitlines(keepends=True)
    assert list(environment.show_progress(iter(lines))) == lines
    said = [line.rpartition(",")[0] for line in capsys.readouterr().out.splitlines()]
    assert said == [
        "  Finding and downloading packages: 1",
        "  Downloading torch-2.13.0.whl, 190 MB",
        "  Installing 2 packages, which takes a while",
    ]


def test_progress_of_many_packages_stays_short(capsys):
    list(environment.show_progress(["Collecting a\n", "Downloading a\n"] * 100))
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[4] for line in said] == ["1,", "31,", "61,", "91,"]


# Running in it

HANDED = """
import signal, sys, time
def answer(number, frame):
    sys.exit(7)
signal.signal(signal.SIGINT, answer)
print("ready", flush=True)
time.sleep(30)
"""
PARENT = f"""
import sys
from pathlib import Path
from minitransformer.course.environment import hand_over
code = hand_over([sys.executable, "-c", {HANDED!r}], Path("."))
print("handed back", code)
"""


def test_interrupting_is_for_the_command_to_answer():
    command = [sys.executable, "-c", PARENT]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=environment.ROOT,
    )
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert output == "handed back 7\n"
    assert process.returncode == 0


def test_handing_over_gives_back_the_exit_code_and_the_keyboard(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    command = [sys.executable, "-c", "import sys; sys.exit(5)"]
    assert environment.hand_over(command, tmp_path) == 5
    assert signal.getsignal(signal.SIGINT) is before


# Older Pythons


def old_python():
    """A Python that is too old for the course, if this machine has one that runs."""
    found = [shutil.which(f"python3.{minor}") for minor in (8, 9, 10)]
    found += sorted(Path.home().glob(".pyenv/versions/3.[89].*/bin/python"))
    for path in filter(None, found):
        if not subprocess.run([path, "-c", ""], capture_output=True).returncode:
            return path
    return None


def test_an_old_python_prints_the_sentence_and_no_traceback():
    python = old_python()
    if python is None:
        pytest.skip("there is no Python 3.8 to 3.10 on this machine")
    command = [python, "-m", "minitransformer", "test"]
    result = subprocess.run(
        command, cwd=environment.ROOT, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "the course needs Python 3.11 or newer" in result.stderr
    assert "Traceback" not in result.stderr
