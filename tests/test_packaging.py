"""What is installed: the package and its data, and numpy and torch suffice for it."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile

import pytest

from minitransformer.course.environment import ROOT

DATA = {
    "minitransformer/py.typed",
    "minitransformer/papers.toml",
    "minitransformer/plot/explorer.html",
    "minitransformer/models/house/config.json",
    "minitransformer/models/house/model.safetensors",
    "minitransformer/models/house/tokenizer.json",
    "minitransformer/models/house/README.md",
}
ALONE = """
import importlib, pkgutil, sys

import numpy, torch

sys.modules.update(dict.fromkeys({extras!r}))  # as if they were not installed
import minitransformer

for module in pkgutil.walk_packages(minitransformer.__path__, "minitransformer."):
    if module.name.startswith("minitransformer.course") or "__main__" in module.name:
        continue
    try:
        importlib.import_module(module.name)
    except ImportError as error:
        print(module.name, "|", error)
"""
EXTRAS = (
    "gensim matplotlib safetensors tokenizers tqdm triton IPython transformers pandas "
    "nbformat nbclient nbgrader jupyter_core PIL yaml pytest hypothesis playwright"
)
NEEDS = {
    "minitransformer.kernels": "minitransformer[kernels]",
    "minitransformer.plot": "minitransformer[course]",
    "minitransformer.training": "minitransformer[course]",
}


def run(code):
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_with_numpy_and_torch_alone_a_module_works_or_says_what_it_needs():
    refused = run(ALONE.format(extras=set(EXTRAS.split()))).splitlines()
    for line in refused:
        module, _, message = line.partition(" | ")
        part = ".".join(module.split(".")[:2])
        assert part in NEEDS, line
        assert NEEDS[part] in message, line


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """A folder with a wheel and an sdist."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    code = (
        "from hatchling.build import build_sdist, build_wheel\n"
        f"build_wheel({str(folder)!r}), build_sdist({str(folder)!r})"
    )
    run(code)
    return folder


@pytest.fixture(scope="module")
def built(dist):
    """What a wheel and an sdist hold: two sets of names, below the top of an sdist."""
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as file:
        in_wheel = set(file.namelist())
    with tarfile.open(sdist) as file:
        in_sdist = {name.partition("/")[2] for name in file.getnames()}
    return in_wheel, in_sdist


def test_a_wheel_and_an_sdist_carry_all_modules_and_data(built):
    modules = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "minitransformer").rglob("*.py")
    }
    for names in built:
        assert names >= modules | DATA


def test_a_wheel_and_an_sdist_carry_nothing_of_lessons_and_tests(built):
    in_wheel, in_sdist = built
    tops = {name.partition("/")[0] for name in in_wheel}
    assert {top.partition("-")[0] for top in tops} == {"minitransformer"}
    assert {name.partition("/")[0] for name in in_sdist} <= {
        *("minitransformer", "pyproject.toml", "PKG-INFO", ".gitignore"),
        *("README.md", "LICENSE", "CHANGELOG.md"),
    }


def test_a_program_that_uses_an_installed_wheel_is_type_checked(dist, tmp_path):
    venv.create(tmp_path / "user", with_pip=False)
    python = tmp_path / "user" / ("Scripts" if os.name == "nt" else "bin") / "python"
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.check_output([python, "-c", query], text=True).strip()
    (wheel,) = dist.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    program = tmp_path / "program.py"
    program.write_text(
        "from minitransformer.tokenization.bpe import BPE\n"
        "tokenizer = BPE.train_from_iterator(['ab'], vocab_size=257)\n"
        "ids: list[int] = tokenizer.encode('ab').ids\n"
        "wrong: str = tokenizer.encode('ab').ids\n"
    )
    options = ["--strict", "--cache-dir", tmp_path, "--python-executable", python]
    command = [sys.executable, "-m", "mypy", *options, program]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    (error, _) = result.stdout.splitlines()
    assert ":4: error: Incompatible types" in error, result.stdout
