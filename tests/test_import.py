"""The package is light, and works where the extras are not."""

import subprocess
import sys

import pytest

EXTRAS = "gensim matplotlib tokenizers jupyterlab tqdm nbgrader nbformat triton"
BLOCK = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {EXTRAS.split()!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocker())
"""


def run(code):
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def loaded_by(code):
    return set(run(f"{code}\nimport sys\nprint(*sys.modules)").split())


def test_importing_the_package_loads_no_heavy_library():
    loaded = loaded_by("import minitransformer")
    assert not loaded & {"torch", "triton", "numpy", "gensim", "matplotlib"}


@pytest.mark.parametrize("module", ["tokenization.bpe", "data", "papers"])
def test_parts_that_need_no_torch_do_not_load_it(module):
    assert "torch" not in loaded_by(f"import minitransformer.{module}")


def test_tokenizers_and_data_import_without_the_extras():
    code = """
from minitransformer import data
from minitransformer.tokenization.bpe import BPE
tokenizer = BPE.train_from_iterator(["ab ab"], vocab_size=257)
print(tokenizer.decode(tokenizer.encode("ab ab").ids))
"""
    assert run(BLOCK + code).strip() == "ab ab"


def test_the_commands_need_the_standard_library_alone():
    everything = [*EXTRAS.split(), "numpy", "torch", "yaml", "pytest"]
    code = BLOCK.replace(repr(EXTRAS.split()), repr(everything))
    code += "from minitransformer.__main__ import usage; print(usage())"
    assert "open the course in JupyterLab" in run(code)
