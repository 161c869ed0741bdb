"""Triton kernels: the twins of functions elsewhere, under the same names.

Where Triton is missing, a module here that imports it raises :class:`NeedsTriton`.
"""

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def require_triton() -> None:
    """Do nothing where Triton is installed; elsewhere say what to do.

    Raises:
        NeedsTriton: Triton is not installed.
    """
    if find_spec("triton") is None:
        raise NeedsTriton(
            "Kernels are written in Triton, which is not installed here; it is made "
            "for Linux (x86-64). There: pip install 'minitransformer[kernels]', or in "
            "the folder of the course .venv/bin/pip install -e '.[kernels]'. On "
            "Windows use WSL, on macOS a Linux container; book/elsewhere.md says how. "
            "Or just read: the outputs of lessons are stored."
        )


class NeedsTriton(ImportError):
    """Triton is missing; a notebook shows the message alone, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


class _Loader(SourceFileLoader):
    """Load a module, or say what it lacks."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module."""
        try:
            return super().exec_module(module)
        except ModuleNotFoundError as error:
            if str(error.name).partition(".")[0] != "triton":
                raise
        require_triton()


class _Finder(MetaPathFinder):
    """Find the modules of this package where there is no Triton."""

    def find_spec(
        self, fullname: str, path: Any, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to load a module of this package, None for all others."""
        if not fullname.startswith(f"{__name__}."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


if find_spec("triton") is None:
    sys.meta_path.insert(0, _Finder())
