"""Leave out of the API pages what Python writes into named tuples by itself."""


def skip_generated(app, what, name, thing, skip, options):
    """Skip the fields of named tuples, whose docstrings only count them."""
    if (getattr(thing, "__doc__", None) or "").startswith("Alias for field number"):
        return True
    return None


def setup(app):
    """Register with Sphinx."""
    app.connect("autodoc-skip-member", skip_generated)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
