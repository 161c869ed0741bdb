"""The book job builds the site where it is told, and fails on any warning."""

import re
import shutil

import pytest

from minitransformer.course import book
from minitransformer.course.environment import ROOT


def test_a_clean_build_says_where_the_book_is(monkeypatch, capsys, tmp_path):
    built = []
    monkeypatch.setattr(book, "build", lambda *to, builder: built.extend(to) or "")
    assert book.main(["--output", str(tmp_path)]) == 0
    assert built == [tmp_path]
    assert str(tmp_path / "_build" / "html" / "index.html") in capsys.readouterr().out


def test_a_warning_is_shown_and_fails_the_job(monkeypatch, capsys):
    monkeypatch.setattr(book, "build", lambda to, builder: f"WARNING: {to} is odd")
    assert book.main([]) == 1
    assert f"WARNING: {ROOT / 'book'} is odd" in capsys.readouterr().err


def test_with_pdf_all_pages_are_built_as_one_and_printed(monkeypatch, capsys, tmp_path):
    steps = []
    monkeypatch.setattr(book, "build", lambda to, builder: steps.append(builder) or "")
    monkeypatch.setattr(book, "stand_alone", lambda page: steps.append(page) or page)
    monkeypatch.setattr(book, "print_page", lambda *paths: steps.extend(paths) or "")
    assert book.main(["--pdf", "--output", str(tmp_path)]) == 0
    built = tmp_path / "_build"
    page = built / "singlehtml" / "book" / "index.html"
    assert steps == ["singlehtml", page, page, built / "book.pdf"]
    assert f"open {built / 'book.pdf'}" in capsys.readouterr().out


def test_what_does_not_build_is_not_printed(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(book, "build", lambda to, builder: f"WARNING: {to} is odd")
    monkeypatch.setattr(book, "print_page", lambda *paths: pytest.fail("it printed"))
    assert book.main(["--pdf", "--output", str(tmp_path)]) == 1
    assert f"WARNING: {tmp_path} is odd" in capsys.readouterr().err


def test_without_a_browser_the_pdf_says_what_it_needs(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(book, "build", lambda to, builder: "")
    monkeypatch.setattr(book, "stand_alone", lambda page: page)
    monkeypatch.setattr(book.shutil, "which", lambda name: None)
    assert book.main(["--pdf", "--output", str(tmp_path)]) == 1
    assert "a PDF needs one of chromium, " in capsys.readouterr().err


def small_course(root, text, page="page", builder="html"):
    """Write a course whose book has one page, and build it."""
    pytest.importorskip("jupyter_book", reason="the extra [book] is not installed")
    unbuilt = shutil.ignore_patterns("_build")
    shutil.copytree(ROOT / "book", root / "book", ignore=unbuilt)
    (root / "minitransformer").symlink_to(ROOT / "minitransformer")
    (root / "book" / "_toc.yml").write_text(f"format: jb-book\nroot: book/{page}\n")
    (root / "book" / "page.md").write_text(f"# A page\n\n{text}\n")
    return book.build(root, root, builder)


def test_a_sound_page_builds_without_a_warning(tmp_path):
    assert small_course(tmp_path, "Text with [a link](#a-page) and $x^2$.") == ""
    assert (tmp_path / "_build" / "html" / "book" / "page.html").is_file()


def test_a_pdf_has_pages_bookmarks_and_formulas_that_are_set(tmp_path):
    if not any(map(shutil.which, book.BROWSERS)):
        pytest.skip("no Chromium here")
    text = "Text and $x^2$.\n\n## A section\n\nMore text."
    assert small_course(tmp_path, text, builder="singlehtml") == ""
    pdf = tmp_path / "page.pdf"
    page = tmp_path / "_build" / "singlehtml" / "book" / "page.html"
    assert book.print_page(book.stand_alone(page), pdf) == ""
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type /Page\b", content)) == 1
    assert re.search(rb"/Title \(A section\)", content)
    assert re.search(rb"/FontName /\w+\+MathJax_", content)


def test_the_page_of_a_pdf_links_to_itself_and_to_the_web_alone(tmp_path):
    page = tmp_path / "book" / "page.html"
    page.parent.mkdir()
    links = ("book/page.html#x", "#y", "https://arxiv.org/", "_downloads/z.ipynb")
    sheet = '<link href="_static/course.css"/>'
    page.write_text(sheet + "".join(f'<a class="c" href="{link}">' for link in links))
    new = book.stand_alone(page)
    assert new.parent == tmp_path
    assert new.read_text().startswith(sheet)
    found = re.findall('<a class="c"(?: href="(.*?)")?>', new.read_text())
    assert found == ["#x", "#y", "https://arxiv.org/", ""]


def test_every_broken_reference_is_a_warning(tmp_path):
    links = "[x](no_page.md) [y](#minitransformer.no_name) ![A dot.](no.png)"
    warnings = small_course(tmp_path, links)
    assert "cross-reference target not found: 'no_page.md'" in warnings
    assert "cross-reference target not found: 'minitransformer.no_name'" in warnings
    assert "no.png" in warnings


def test_a_table_of_contents_that_names_no_file_is_an_error(tmp_path):
    assert "book/none" in small_course(tmp_path, "Text.", page="none")
