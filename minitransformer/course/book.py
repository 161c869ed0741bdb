"""Build the website of the course with Jupyter Book, from the lessons where they stand.

Lessons are not run: the book shows the outputs they are stored with. A browser prints
the same pages, one after the other, as a PDF.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from minitransformer.course.environment import ROOT

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MINUTES = 20  # what a browser may take to set and print all pages


def build(output: Path, root: Path = ROOT, builder: str = "html") -> str:
    """Build the site, into ``_build/html`` of a folder.

    Args:
        output: the folder to build in.
        root: folder of the course.
        builder: ``html``, or ``singlehtml`` for all pages in one.

    Returns:
        What is wrong with the pages: warnings, one a line; empty if nothing is.
    """
    start = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", start, "build", str(root), "--builder", builder]
    command += ["--config", str(root / "book" / "_config.yml")]
    command += ["--toc", str(root / "book" / "_toc.yml")]
    command += ["--path-output", str(output), "-W", "-n", "--keep-going", "-q"]
    # The pages describe the package beside them, not another one that is installed.
    environment = {**os.environ, "PYTHONPATH": str(root)}
    run = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True
    )
    return run.stderr.strip() or (run.stdout if run.returncode else "")


def stand_alone(page: Path) -> Path:
    """Write a page that holds the whole book again, with links that a PDF can have.

    Args:
        page: what the builder ``singlehtml`` made, in the folder ``book`` of its own.

    Returns:
        The new page, beside that folder: what it shows is found from there. Its links
        lead to other places of the page or to the web; links to other files are text.
    """
    text = page.read_text(encoding="utf-8")
    # Formulas are set once, without the second, hidden copy that a screen reader reads.
    once = '"options": {"enableMenu": false, "enableAssistiveMml": false, '
    text = text.replace('"options": {', once, 1)
    text = text.replace(f'href="{page.parent.name}/{page.name}#', 'href="#')
    text = re.sub(r'(<a\b[^>]*?) href="(?!#|https?:)[^"]*"', r"\1", text)
    new = page.parents[1] / "book.html"
    new.write_text(text, encoding="utf-8")
    return new


def print_page(page: Path, pdf: Path) -> str:
    """Print a page as a PDF, with its formulas set and its headings as bookmarks.

    Args:
        page: an HTML file.
        pdf: where the PDF comes.

    Returns:
        What went wrong; empty if nothing did.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        return f"a PDF needs one of {', '.join(BROWSERS)}: install Chromium"
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, "--headless", "--disable-gpu", "--no-pdf-header-footer"]
        command += [f"--user-data-dir={profile}", "--generate-pdf-document-outline"]
        command += [f"--virtual-time-budget={MINUTES * 60_000}"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:  # in a container
            command.append("--no-sandbox")
        command += [f"--print-to-pdf={pdf}", page.as_uri()]
        try:
            run = subprocess.run(
                command, capture_output=True, text=True, timeout=MINUTES * 60
            )
        except subprocess.TimeoutExpired:
            return f"{browser} printed nothing in {MINUTES} minutes"
    return "" if pdf.is_file() and run.returncode == 0 else run.stderr


def main(argv: list[str]) -> int:
    """Build the site or the PDF and say where it is."""
    parser = argparse.ArgumentParser(prog="python3 -m minitransformer book")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "book", help="where _build/html comes"
    )
    parser.add_argument(
        "--pdf", action="store_true", help="print the book as _build/book.pdf instead"
    )
    options = parser.parse_args(argv)
    built = options.output.resolve() / "_build"
    builder = "singlehtml" if options.pdf else "html"
    takes = "some minutes" if options.pdf else "a minute or two"
    print(f"Building the book, {takes} ...", flush=True)
    problems = build(built.parent, builder=builder)
    result = built / "book.pdf" if options.pdf else built / "html" / "index.html"
    if options.pdf and not problems:
        page = stand_alone(built / builder / "book" / "index.html")
        problems = print_page(page, result)
    if problems:
        print(problems, file=sys.stderr)
        return 1
    print(f"The book is built: open {result}")
    return 0
