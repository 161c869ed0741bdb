"""The book job builds the site where it is told, and fails on any warning."""

import shutil

import pytest

from minitransformer.course import book
from minitransformer.course.environment import ROOT


def test_a_clean_build_says_where_the_book_is(monkeypatch, capsys, tmp_path):
    built = []
    monkeypatch.setattr(book, "build", lambda output: built.append(output) or "")
    assert book.main(["--output", str(tmp_path)]) == 0
    assert built == [tmp_path]
    assert str(tmp_path / "_build" / "html" / "index.html") in capsys.readouterr().out


def test_a_warning_is_shown_and_fails_the_job(monkeypatch, capsys):
    monkeypatch.setattr(book, "build", lambda output: f"WARNING: {output} is odd")
    assert book.main([]) == 1
    assert f"WARNING: {ROOT / 'book'} is odd" in capsys.readouterr().err


def small_course(root, text, page="page"):
    """Write a course whose book has one page, and build it."""
    pytest.importorskip("jupyter_book", reason="the extra [book] is not installed")
    unbuilt = shutil.ignore_patterns("_build")
    shutil.copytree(ROOT / "book", root / "book", ignore=unbuilt)
    (root / "minitransformer").symlink_to(ROOT / "minitransformer")
    (root / "book" / "_toc.yml").write_text(f"format: jb-book\nroot: book/{page}\n")
    (root / "book" / "page.md").write_text(f"# A page\n\n{text}\n")
    return book.build(root, root)


def test_a_sound_page_builds_without_a_warning(tmp_path):
    assert small_course(tmp_path, "Text with [a link](#a-page) and $x^2$.") == ""
    assert (tmp_path / "_build" / "html" / "book" / "page.html").is_file()


def test_every_broken_reference_is_a_warning(tmp_path):
    links = "[x](no_page.md) [y](#minitransformer.no_name) ![A dot.](no.png)"
    warnings = small_course(tmp_path, links)
    assert "cross-reference target not found: 'no_page.md'" in warnings
    assert "cross-reference target not found: 'minitransformer.no_name'" in warnings
    assert "no.png" in warnings


def test_a_table_of_contents_that_names_no_file_is_an_error(tmp_path):
    assert "book/none" in small_course(tmp_path, "Text.", page="none")
