"""Keep the built site self-contained: MathJax beside the pages, no Thebe loader."""

from importlib.util import find_spec
from pathlib import Path
from shutil import copytree

USED = ("tex-chtml.js", "output/chtml/fonts/woff-v2", "input/tex/extensions")


def copy_mathjax(app, error):
    """Copy the parts of MathJax that the pages load."""
    if error is not None or app.builder.format != "html":
        return
    home = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static/mathjax"
    files = [f for part in USED for f in [home / part, *(home / part).rglob("*")]]

    def other(folder, names):
        inside = {n for n in names if Path(folder, n) in files}
        above = {n for n in names if any(Path(folder, n) in f.parents for f in files)}
        return set(names) - inside - above

    target = Path(app.outdir, "_static/mathjax")
    copytree(home, target, ignore=other, dirs_exist_ok=True)


def drop_thebe(app, pagename, templatename, context, doctree):
    """Leave out the live-code loader, which would ask another host."""

    def is_thebe(asset):
        body = asset.attributes.get("body", "")
        return "thebe" in f"{asset.filename} {body}".lower()

    for kind in ("script_files", "css_files"):
        context[kind] = [asset for asset in context[kind] if not is_thebe(asset)]


def setup(app):
    """Register with Sphinx."""
    app.config.mathjax_path = "mathjax/tex-chtml.js"
    app.connect("build-finished", copy_mathjax)
    app.connect("html-page-context", drop_thebe, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
