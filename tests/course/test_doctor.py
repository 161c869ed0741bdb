"""The doctor finds what is wrong, and names the remedy."""

import builtins
import collections
import json
import sys
from importlib import metadata

import pytest

from minitransformer.course import doctor, environment
from minitransformer.course.doctor import Finding


@pytest.fixture
def course(tmp_path):
    """A checkout with pins, without an environment."""
    names = doctor.NAMES_THAT_MATTER
    text = "# pins\n" + "".join(f"{name}==1.2.3\n" for name in names)
    (tmp_path / "constraints.txt").write_text(text)
    (tmp_path / "pyproject.toml").write_text("[project]")
    return tmp_path


def without(monkeypatch, *names):
    """Let importing ``names`` fail."""
    real = builtins.__import__

    def no_import(name, *rest, **options):
        if name.partition(".")[0] in names:
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", no_import)


def test_this_python_is_fine():
    assert doctor.check_python().mark == "ok"


def test_an_old_python_is_a_problem(monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 10, 0))
    finding = doctor.check_python()
    assert finding.mark == "problem"
    assert finding.remedy == "install Python 3.11 or newer"


def test_a_missing_environment_is_a_problem_with_its_command(course):
    finding = doctor.check_environment(course)
    assert finding.mark == "problem"
    assert "python3 -m minitransformer" in finding.remedy


def test_an_environment_is_shown_with_its_extras(course):
    python = environment.python_of(course / ".venv")
    python.parent.mkdir(parents=True)
    python.touch()
    stamp = {"digest": environment.digest(course), "extras": ["test", "course"]}
    (course / ".venv" / "minitransformer.json").write_text(json.dumps(stamp))
    assert doctor.check_environment(course) == Finding(
        "ok", "environment", ".venv with course, test"
    )


def test_pins_are_read_off_the_constraints(course):
    (course / "constraints.txt").write_text("# a==9\nJinja2==3.1\nruamel.yaml==0.1\n\n")
    assert doctor.pins(course) == {"Jinja2": "3.1", "ruamel.yaml": "0.1"}


def test_every_package_that_matters_is_pinned():
    assert set(doctor.NAMES_THAT_MATTER) <= set(doctor.pins())


def test_packages_are_compared_with_the_pins(course, monkeypatch):
    versions = dict.fromkeys(doctor.NAMES_THAT_MATTER, "1.2.3")
    versions |= {"torch": "1.2.3+cpu", "numpy": "1.2.4"}
    del versions["gensim"]

    def version(name):
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(doctor.metadata, "version", version)
    found = {finding.subject: finding for finding in doctor.check_packages(course)}
    assert list(found) == list(doctor.NAMES_THAT_MATTER)
    assert found["tokenizers"].mark == "ok"
    assert found["torch"].mark == "ok"
    assert found["numpy"].mark == "note"
    assert found["numpy"].text == "1.2.4; stored outputs were made with 1.2.3"
    assert found["gensim"].mark == "problem"
    assert "python3 -m minitransformer" in found["gensim"].remedy


def fake_torch(monkeypatch, gpu):
    class Cuda:
        @staticmethod
        def is_available():
            return gpu is not None

        @staticmethod
        def get_device_name():
            return gpu

    torch = type(sys)("torch")
    torch.cuda = Cuda
    monkeypatch.setitem(sys.modules, "torch", torch)


def test_a_gpu_is_named(monkeypatch):
    fake_torch(monkeypatch, "Some GPU")
    first, _ = doctor.check_torch()
    assert first == Finding("ok", "GPU", "Some GPU")


@pytest.mark.parametrize(("present", "mark"), [(True, "ok"), (False, "note")])
def test_no_gpu_is_no_problem_and_triton_is_optional(monkeypatch, present, mark):
    def version(name):
        if not present:
            raise metadata.PackageNotFoundError(name)
        return "3.9.0"

    fake_torch(monkeypatch, None)
    monkeypatch.setattr(doctor.metadata, "version", version)
    gpu, triton = doctor.check_torch()
    assert (gpu.mark, triton.mark) == ("note", mark)
    assert ("lessons 7.1 to 7.5 need it" in triton.text) is not present


@pytest.mark.parametrize(
    ("system", "machine", "remedy"),
    [
        ("Linux", "x86_64", "run python3 -m minitransformer"),
        ("Linux", "aarch64", "book/elsewhere.md"),
        ("Darwin", "arm64", "book/elsewhere.md"),
        ("Windows", "AMD64", "book/elsewhere.md"),
    ],
)
def test_without_triton_every_system_is_told_its_way(
    monkeypatch, system, machine, remedy
):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    fake_torch(monkeypatch, None)
    monkeypatch.setattr(doctor.metadata, "version", version)
    monkeypatch.setattr(doctor.platform, "system", lambda: system)
    monkeypatch.setattr(doctor.platform, "machine", lambda: machine)
    triton = list(doctor.check_torch())[-1]
    assert triton.mark == "note"
    assert f"not installed on {system} {machine}" in triton.text
    assert remedy in triton.remedy


def test_the_page_that_the_doctor_names_is_there():
    page = (doctor.ROOT / "book" / "elsewhere.md").read_text(encoding="utf-8")
    for word in ("Windows", "macOS", "WSL", "Triton", "GPU", "MINITRANSFORMER_VENV"):
        assert word in page


def test_what_is_not_installed_is_not_looked_at(monkeypatch):
    without(monkeypatch, "torch", "matplotlib")
    assert list(doctor.check_torch()) == []
    assert list(doctor.check_fonts()) == []


def test_the_font_has_the_signs_of_the_lessons():
    (finding,) = doctor.check_fonts()
    assert finding.mark == "ok"


def test_a_font_without_the_signs_is_a_problem(monkeypatch):
    from matplotlib import ft2font

    class Font:
        def __init__(self, path):
            pass

        def get_char_index(self, code):
            return 0 if chr(code) == "Ω" else 1

    monkeypatch.setattr(ft2font, "FT2Font", Font)
    (finding,) = doctor.check_fonts()
    assert (finding.mark, finding.text) == ("problem", "no glyphs for ['Ω']")
    assert "matplotlib" in finding.remedy


@pytest.mark.parametrize(("gigabytes", "mark"), [(0.4, "problem"), (5.0, "ok")])
def test_little_room_is_a_problem(monkeypatch, tmp_path, gigabytes, mark):
    usage = collections.namedtuple("usage", "free")(int(gigabytes * 1e9))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage)
    finding = doctor.check_disk(tmp_path)
    assert finding.mark == mark
    assert finding.text == f"{gigabytes} GB free"
    assert bool(finding.remedy) is (mark == "problem")


@pytest.mark.parametrize(
    ("programs", "marks"),
    [
        ({}, ["note", "note"]),
        ({"google-chrome": "/chrome"}, ["ok", "note"]),
        ({"chromium-browser": "/chromium", "bwrap": "/bwrap"}, ["ok", "ok"]),
    ],
)
def test_programs_that_few_need_are_only_noted(programs, marks):
    findings = list(doctor.check_programs(programs.get))
    assert [finding.mark for finding in findings] == marks
    for finding in findings:
        assert bool(finding.remedy) is (finding.mark == "note")


@pytest.fixture
def at_home(monkeypatch, tmp_path):
    """No other environment to go on in."""
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    return tmp_path


def test_every_finding_is_one_line_with_its_remedy(at_home, monkeypatch, capsys):
    findings = [
        Finding("ok", "Python", "3.11"),
        Finding("problem", "disk", "0.1 GB free", "free some space"),
    ]
    monkeypatch.setattr(doctor, "examine", lambda: iter(findings))
    assert doctor.main([]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "ok       Python       3.11",
        "problem  disk         0.1 GB free -> free some space",
        "",
        "1 to mend.",
    ]


def test_notes_are_no_problems(at_home, monkeypatch, capsys):
    findings = [Finding("note", "GPU", "none")]
    monkeypatch.setattr(doctor, "examine", lambda: iter(findings))
    assert doctor.main([]) == 0
    assert "All is well." in capsys.readouterr().out


def test_the_doctor_looks_from_inside_the_environment(at_home, monkeypatch):
    python = environment.python_of(at_home / ".venv")
    python.parent.mkdir(parents=True)
    python.touch()
    handed = []
    monkeypatch.setattr(doctor, "hand_over", lambda *call: handed.append(call) or 1)
    assert doctor.main([]) == 1
    assert handed == [([str(python), "-m", "minitransformer", "doctor"], at_home)]


def test_a_real_examination_asks_every_question():
    findings = list(doctor.examine())
    subjects = [finding.subject for finding in findings]
    assert subjects[:2] == ["Python", "environment"]
    for subject in ("torch", "processor", "GPU", "fonts", "disk", "browser", "sandbox"):
        assert subjects.count(subject) == 1
    assert {finding.mark for finding in findings} <= {"ok", "note", "problem"}
