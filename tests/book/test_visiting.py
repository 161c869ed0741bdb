"""Each thing that can be wrong with a page is found, and a sound page has none."""

import pytest

from tests.book import visiting

SOUND = """<!doctype html><html lang="en"><head><title>A page</title>
<link rel="icon" href="data:,"></head><body><h1 id="top">A page</h1>{}</body></html>"""
FAULTS = {
    "an error in the console": (
        visiting.events,
        "<script>console.error('no')</script>",
        "console: no",
    ),
    "a script that stops": (visiting.events, "<script>no()</script>", "script error"),
    "a request to another host": (
        visiting.events,
        '<script src="http://192.0.2.1/x.js"></script>',
        "asks another host: http://192.0.2.1/x.js",
    ),
    "an image that is missing": (
        visiting.images,
        '<img src="no.png" alt="A dot.">',
        "no.png does not load",
    ),
    "an image without alt text": (
        visiting.images,
        '<img src="dot.svg">',
        "dot.svg has no alt text",
    ),
    "an image with its name as alt text": (
        visiting.images,
        '<img src="dot.svg" alt="../_images/dot.svg">',
        "dot.svg has no alt text",
    ),
    "a link to no page": (
        visiting.links,
        '<a href="no.html">x</a>',
        "no page for no.html",
    ),
    "a link to no anchor": (
        visiting.links,
        '<a href="page.html#no">x</a>',
        "no anchor for page.html#no",
    ),
    "a link out of the site's files": (
        visiting.links,
        '<a href="file:///page.html">x</a>',
        "no page for file:///page.html",
    ),
    "a page too wide for a phone": (
        visiting.phone,
        '<div style="width: 600px">x</div>',
        "390 px: ",
    ),
    "a formula that was not typeset": (
        visiting.formulas,
        '<span class="math">x</span>',
        "1 not typeset",
    ),
    "a formula left in the text": (visiting.formulas, "<p>$x^2$</p>", "shows '$x^2$'"),
    "two main headings": (visiting.basics, "<h1>Again</h1>", "2 main headings"),
}


def test_a_sound_page_has_no_fault(tmp_path, browser):
    (tmp_path / "page.html").write_text(SOUND.format('<a href="page.html#top">x</a>'))
    visits = visiting.visit(browser, tmp_path)
    assert [check(visits, tmp_path) for check in visiting.CHECKS] == [[]] * 6


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found(tmp_path, browser, fault):
    check, body, problem = FAULTS[fault]
    (tmp_path / "page.html").write_text(SOUND.format(body))
    (tmp_path / "dot.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    )
    visits = visiting.visit(browser, tmp_path)
    assert problem in "\n".join(check(visits, tmp_path))


def test_a_page_without_language_or_title_is_found(tmp_path, browser):
    (tmp_path / "page.html").write_text("<h1>A page</h1>")
    problems = visiting.basics(visiting.visit(browser, tmp_path), tmp_path)
    assert "page.html at 390 px: language is ''" in problems
    assert "page.html at 390 px: no title" in problems


def test_a_control_without_a_name_and_pale_text_are_found(tmp_path, browser):
    access = pytest.importorskip("tests.book.access")
    faults = '<button></button><p style="color: #bbb">Pale.</p>'
    frame = SOUND.format("<button></button>").replace('"', "&quot;")
    faults += f'<iframe title="A frame" srcdoc="{frame}"></iframe>'
    (tmp_path / "sound.html").write_text(SOUND.format("<p>Text.</p>"))
    (tmp_path / "page.html").write_text(SOUND.format(faults))
    with visiting.serve(tmp_path) as base:
        assert access.look(browser, base, ["sound.html"], "light", 390) == []
        problems = access.look(browser, base, ["page.html"], "light", 390)
    assert [problem.split(": ")[1] for problem in problems] == [
        "Buttons must have discernible text",
        "Elements must meet minimum color contrast ratio thresholds",
        "Buttons must have discernible text",
    ]
