"""Leave out of the tests the lessons that need Triton, where there is none."""

from importlib.util import find_spec
from pathlib import Path

KERNELS = Path(__file__).parent.glob("7_kernels/*.ipynb")
NEED = [path.name for path in KERNELS if "require_triton()" in path.read_text("utf-8")]
collect_ignore = [f"7_kernels/{name}" for name in NEED if not find_spec("triton")]
