"""Lessons and tests pass where it is hard, twice in a row; the site: see tests/book."""

import pytest

from minitransformer.course.environment import ROOT
from minitransformer.course.sandbox import bubblewrap
from tests import elsewhere

SOME = [
    "lessons/7_kernels/7_6_reading_a_roofline.ipynb",
    "tests/attention/test_masks.py",
    "tests/course/test_release.py",
    "tests/embeddings/test_vocabulary.py",
    "tests/exercises/test_0_start_here.py",
    "tests/test_data.py",
    "tests/tokenization/test_bpe.py",
]
HOW_HARD = """
import socket, sys
from pathlib import Path
import minitransformer

print(Path.cwd().name, Path(minitransformer.__file__).parents[1] == Path.cwd())
for place in (Path.cwd(), Path(sys.argv[1])):
    try:
        (place / "new").write_text("")
    except OSError as error:
        print(error.strerror)
try:
    socket.create_connection(("192.0.2.1", 80), timeout=5)
except OSError as error:
    print(error.strerror)
with socket.create_server(("127.0.0.1", 0)) as server:
    print(socket.create_connection(server.getsockname()) is not None)
print(hash("a"))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    if bubblewrap() is None:
        pytest.skip("no bubblewrap here, which would make it hard")
    return tmp_path_factory.mktemp("hard")


def test_it_is_hard_there(folder):
    seen = [
        elsewhere.run(["-c", HOW_HARD, str(ROOT)], folder, seed=seed)[1].splitlines()
        for seed in (1, 2)
    ]
    assert seen[0][:-1] == [
        f"{elsewhere.NAME} True",
        "Read-only file system",
        "Read-only file system",
        "Network is unreachable",
        "True",
    ]
    assert seen[0][:-1] == seen[1][:-1]
    assert seen[0] != seen[1]


@pytest.mark.parametrize("seed", [1, 2])
def test_some_lessons_and_tests_pass_there(folder, seed):
    pytest_ = ["-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    code, said = elsewhere.run([*pytest_, *SOME], folder, seed=seed)
    assert code == 0, said
    assert " passed" in said
