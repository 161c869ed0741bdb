"""The API pages: without Python's own words, and where there is no Triton, too."""

from importlib.util import find_spec


def skip_generated(app, what, name, thing, skip, options):
    """Skip the fields of named tuples, whose docstrings only count them."""
    if (getattr(thing, "__doc__", None) or "").startswith("Alias for field number"):
        return True
    return None


def stand_in(app, config):
    """Let the modules of kernels be imported without Triton, to be described."""
    if find_spec("triton") is None:
        config.autodoc_mock_imports = ["triton"]


def setup(app):
    """Register with Sphinx."""
    app.connect("autodoc-skip-member", skip_generated)
    app.connect("config-inited", stand_in)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
