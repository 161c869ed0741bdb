"""Print the oldest versions that ``pyproject.toml`` admits, as constraints for pip.

``python tests/lowest.py > lowest.txt``, then in a fresh environment ``pip install
-c lowest.txt -e '.[course,test]'``. The extra ``kernels`` is left out: each PyTorch for
GPUs brings the Triton it was built for. With PyTorch 2.6 some
tests are skipped: FlexAttention, which others are compared with, takes only sizes of
powers of two there, and sharded training needs a GPU.
"""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def requirements() -> dict[str, str]:
    """Return all that the package and its extras need: name -> range of versions."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    pairs = (re.match(r"([\w-]+)(.*?)(?:;.*)?$", line) for line in lines)
    return {pair[1]: pair[2].strip() for pair in pairs if pair}


def lowest() -> dict[str, str]:
    """Return the lower bound of every range: name -> version."""
    found = {name: re.match(r"[>=]=([\d.]+)", r) for name, r in requirements().items()}
    return {name: match[1] for name, match in found.items() if match}


if __name__ == "__main__":
    print("\n".join(f"{n}=={v}" for n, v in lowest().items() if n != "triton"))
