"""Triton kernels: the twins of functions elsewhere, under the same names."""

from importlib.util import find_spec


def require_triton() -> None:
    """Do nothing where Triton is installed; elsewhere say what to do.

    Raises:
        NeedsTriton: Triton is not installed.
    """
    if find_spec("triton") is None:
        raise NeedsTriton(
            "This notebook runs kernels in Triton, which is not installed here; it is "
            "made for Linux (x86-64). There: .venv/bin/pip install -e '.[kernels]'. On "
            "Windows use WSL, on macOS a Linux container; book/elsewhere.md says how. "
            "Or just read: the outputs of lessons are stored."
        )


class NeedsTriton(ImportError):
    """Triton is missing; a notebook shows the message alone, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]
