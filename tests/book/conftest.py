"""What several tests of the website need."""

import importlib
import sys

import pytest

from minitransformer.course.environment import ROOT


@pytest.fixture(scope="module")
def extension(request):
    """The Sphinx extension that a module of tests names as ``EXTENSION``."""
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    try:
        return importlib.import_module(request.module.EXTENSION)
    finally:
        sys.path.pop(0)
