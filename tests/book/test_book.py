"""The website builds without a warning, and every page of it works in a browser."""

import itertools
import json
import re
from html import escape, unescape

import pytest

from minitransformer import papers
from minitransformer.course import book
from minitransformer.course.environment import ROOT
from minitransformer.course.sandbox import bubblewrap
from tests import elsewhere
from tests.book import visiting

pytest.importorskip("jupyter_book", reason="the extra [book] is not installed")
BUILD = """
import sys
from pathlib import Path
from minitransformer.course import book

print(book.build(Path(sys.argv[1])))
"""
KINDS = (
    "book/index.html",
    "book/part_5.html",
    "lessons/7_kernels/7_6_reading_a_roofline.html",
    "book/exercises.html",
    "book/atlas.html",
    "book/explorer.html",
    "book/api/layers.html",
    "search.html?q=merge",
)


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Build the book once, where that is hard; give its folder and the warnings."""
    output = tmp_path_factory.mktemp("book")
    if bubblewrap() is None:
        warnings = book.build(output)
    else:
        _, said = elsewhere.run(["-c", BUILD, str(output)], output)
        warnings = said.strip()
    return output / "_build" / "html", warnings


@pytest.fixture(scope="module")
def site(build):
    return build[0]


@pytest.fixture(scope="module")
def visits(site, browser):
    return visiting.visit(browser, site)


def test_the_site_builds_without_a_warning(build):
    site, warnings = build
    assert warnings == ""
    assert (site / "book" / "index.html").is_file()


def test_every_page_of_the_contents_is_visited(visits):
    contents = (ROOT / "book" / "_toc.yml").read_text().splitlines()
    pages = {line.split()[-1] for line in contents if "file: " in line}
    assert len(pages) >= 9
    assert {f"{page}.html" for page in pages} <= {visit.page for visit in visits}


@pytest.mark.parametrize("check", visiting.CHECKS, ids=lambda check: check.__name__)
def test_a_browser_finds_nothing_wrong(visits, site, check):
    assert "\n".join(check(visits, site)) == ""


def test_every_module_is_in_the_reference(site):
    package = ROOT / "minitransformer"
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in package.rglob("[a-z]*.py")
        if "course" not in path.parts
    ]
    reference = "".join(
        path.read_text(encoding="utf-8") for path in site.glob("book/api/*.html")
    )
    assert len(modules) >= 7
    assert [name for name in modules if f'id="module-{name}"' not in reference] == []


def test_the_exercises_page_shows_every_exercise_and_its_notebook(site):
    page = (site / "book" / "exercises.html").read_text(encoding="utf-8")
    page = straight(page)
    notebooks = sorted(ROOT.glob("exercises/*/*.ipynb"))
    assert len(notebooks) >= 2
    for path in notebooks:
        link = re.search(rf'href="[^"]*_downloads/[^"]*/{path.name}"', page)
        assert link, path.name
        about = json.loads(path.read_text(encoding="utf-8"))["metadata"]
        for exercise in about["minitransformer"]["exercises"]:
            title = escape(straight(exercise["title"]), quote=False)
            difficulty = exercise["difficulty"]
            row = page[page.index(title, link.end()) :].split("</tr>")[0]
            dots = "●" * difficulty + "○" * (5 - difficulty)
            assert f'aria-label="{difficulty} of 5">{dots}</span>' in row
            assert f"<p>{exercise['minutes']}</p>" in row


@pytest.mark.parametrize("part", range(1, 8))
def test_a_part_page_shows_each_of_its_lessons_with_what_it_needs(site, part):
    page = (site / "book" / f"part_{part}.html").read_text(encoding="utf-8")
    shown = re.search(r'<svg class="part-map".*?</svg>', page)[0]
    lessons = sorted(ROOT.glob(f"lessons/{part}_*/*.ipynb"))
    assert len(lessons) >= 2
    for path in lessons:
        number = ".".join(path.stem.split("_")[:2])
        about = json.loads(path.read_text(encoding="utf-8"))["metadata"]
        assert f">{number}</text>" in shown
        assert f"{number} builds on " in shown
        assert f'href="../{path.relative_to(ROOT).with_suffix(".html")}"' in page
        assert f"{about['minitransformer']['minutes']} minutes · builds on " in page


def test_a_lesson_leads_on_to_those_that_build_on_it(site):
    page = (site / "book" / "part_1.html").read_text(encoding="utf-8")
    assert "70 minutes · builds on 1.1 · leads to 1.3" in page


def test_a_lesson_leads_to_its_exercises_on_their_page(site):
    lesson = site / "lessons" / "1_tokenization" / "1_1_byte_pair_encoding.html"
    place = 'href="../../book/exercises.html#exercises-1-1-byte-pair-encoding"'
    assert place in lesson.read_text(encoding="utf-8")


def straight(text):
    """Return ``text`` with the straight quotes that the book sets as curly ones."""
    return text.translate(str.maketrans("‘’“”", "''\"\""))


def test_the_atlas_shows_all_that_is_known_of_a_paper(site):
    source = (site / "book" / "atlas.html").read_text(encoding="utf-8")
    page = straight(unescape(source))
    for paper in papers.load():
        for text in (paper.title, paper.claim, paper.paper_figure, paper.our_figure):
            assert straight(text) in page
        assert papers.FAMILIES[paper.family] in page
        assert f"https://arxiv.org/abs/{paper.arxiv}" in page
        assert f">{paper.verdict}<" in page
        assert straight(paper.caveat) in page


def test_the_atlas_is_filtered_by_family_and_verdict_from_the_keyboard(site, browser):
    ledger = papers.load()
    views = [paper for paper in ledger if paper.family == "V"]
    partly = [paper for paper in views if paper.verdict == "partly"]
    assert 0 < len(partly) < len(views) < len(ledger)
    with visiting.serve(site) as base:
        tab = browser.new_page()
        tab.goto(f"{base}book/atlas.html")
        shown = tab.locator("table.atlas tbody tr:visible")
        count = tab.locator(".atlas-filter [role=status]")
        assert shown.count() == len(ledger)
        buttons = tab.get_by_role("group", name="Verdict").get_by_role("button")
        assert buttons.all_inner_texts() == ["all", *papers.VERDICTS]
        family = tab.get_by_role("button", name=papers.FAMILIES["V"], exact=True)
        family.press("Enter")
        assert family.get_attribute("aria-pressed") == "true"
        assert shown.count() == len(views)
        tab.get_by_role("button", name="partly", exact=True).press("Enter")
        assert shown.count() == len(partly)
        assert count.inner_text() == f"{len(partly)} of {len(ledger)} papers"
        tab.get_by_role("group", name="Family").get_by_text("all").press("Enter")
        tab.get_by_role("group", name="Verdict").get_by_text("all").press("Enter")
        assert shown.count() == len(ledger)
        tab.close()


def test_without_scripts_the_atlas_shows_every_paper(site, browser):
    with visiting.serve(site) as base:
        tab = browser.new_page(java_script_enabled=False)
        tab.goto(f"{base}book/atlas.html")
        assert tab.locator("table.atlas tbody tr:visible").count() == len(papers.load())
        assert tab.locator(".atlas-filter").count() == 0
        tab.close()


def test_quotes_are_compared_straight():
    assert straight("“The text’s ‘end’”") == "\"The text's 'end'\""


def test_lessons_and_conventions_show_formulas(site):
    for page in ("book/conventions", "lessons/1_tokenization/1_1_byte_pair_encoding"):
        assert 'class="math' in (site / f"{page}.html").read_text(encoding="utf-8")


def test_the_front_door_leads_to_the_welcome_page(site, browser):
    with visiting.serve(site) as base:
        tab = browser.new_page()
        tab.goto(base)
        tab.wait_for_url("**/book/index.html")
        assert tab.locator("figure img:visible").count() == 1
        tab.close()


@pytest.mark.parametrize(("word", "shown"), [("rotary",) * 2, ("Renyi", "Rényi")])
def test_search_shows_the_word_where_it_stands_in_a_lesson(site, browser, word, shown):
    events = []
    with visiting.serve(site) as base:
        tab = visiting.open_page(browser, base, events)
        tab.goto(f"{base}search.html?q={word}")
        lesson = tab.locator("#search-results li:has(> a[href*='lessons/'])").first
        excerpt = lesson.locator("p.context").inner_text(timeout=10_000)
        tab.close()
    assert shown in excerpt
    assert ".ipynb" not in excerpt
    assert events == []


@pytest.mark.parametrize(
    ("words", "lesson", "place"),
    [
        ("rotary", "4_1_sinusoids_and_rotation", 5),
        ("RoPE", "4_2_what_rope_does", 1),
        ("byte-pair", "1_1_byte_pair_encoding", 1),
        ("byte pair", "1_1_byte_pair_encoding", 1),
        ("Rényi", "1_3_optimal_subword_encoding", 1),
        ("Renyi", "1_3_optimal_subword_encoding", 1),
        ("attention", "3_1_scaled_dot_product_attention", 5),
    ],
)
def test_a_word_typed_on_any_page_leads_to_its_lesson_without_a_server(
    site, browser, words, lesson, place
):
    tab = browser.new_page()
    tab.goto((site / "book" / "index.html").as_uri())
    tab.keyboard.press("Control+k")
    tab.keyboard.type(words)
    tab.keyboard.press("Enter")
    hits = tab.locator("#search-results li > a")
    hits.first.wait_for(timeout=10_000)
    first = hits.evaluate_all("links => links.map(link => link.href)")[:place]
    assert any(lesson in link for link in first), first
    tab.close()


def test_papers_lead_to_the_bibliography_and_from_there_to_arxiv(site, browser):
    tab = browser.new_page()
    lesson = site / "lessons" / "4_positions" / "4_1_sinusoids_and_rotation.html"
    tab.goto(lesson.as_uri())
    tab.get_by_role("link", name="RoFormer", exact=False).press("Enter")
    entry = tab.locator(".references > p:target")
    assert "Jianlin Su, " in entry.inner_text()
    links = entry.get_by_role("link")
    assert links.all_inner_texts()[0] == "arXiv\N{NO-BREAK SPACE}2104.09864"
    assert links.first.get_attribute("href") == "https://arxiv.org/abs/2104.09864"
    links.last.press("Enter")
    assert "RoFormer" in tab.locator("table.atlas td:has(:target)").inner_text()
    tab.close()


def test_every_paper_of_the_ledger_is_in_the_bibliography_with_its_address(site):
    page = (site / "book" / "bibliography.html").read_text(encoding="utf-8")
    for paper in papers.load():
        place = f"paper-arxiv-{paper.arxiv.replace('.', '-')}"
        entry = re.search(rf'<p id="{place}">.*?</p>', page, re.DOTALL)[0]
        assert f'href="https://arxiv.org/abs/{paper.arxiv}"' in entry
        assert escape(paper.authors) in entry
        assert f'href="atlas.html#atlas-{paper.key}"' in entry


def test_a_figure_fills_a_phone_from_edge_to_edge(site, browser):
    tab = browser.new_page(viewport={"width": visiting.PHONE, "height": 900})
    lesson = site / "lessons" / "4_positions" / "4_1_sinusoids_and_rotation.html"
    tab.goto(lesson.as_uri())
    boxes = [image.bounding_box() for image in tab.locator(".cell_output img").all()]
    assert len(boxes) >= 2
    assert {(box["x"], box["width"]) for box in boxes} == {(0, visiting.PHONE)}
    tab.close()


def test_the_chosen_color_scheme_lasts_from_page_to_page(site, browser):
    theme = "document.documentElement.dataset.theme"
    with visiting.serve(site) as base:
        tab = browser.new_page(color_scheme="light")
        tab.goto(f"{base}book/atlas.html")
        assert tab.evaluate(theme) == "light"
        for _ in range(3):  # the button goes round: system, light, dark
            if tab.evaluate(theme) == "light":
                tab.locator("button.theme-switch-button:visible").first.press("Enter")
        assert tab.evaluate(theme) == "dark"
        tab.goto(f"{base}book/conventions.html")
        assert tab.evaluate(theme) == "dark"
        tab.close()


def test_previous_and_next_follow_the_contents(site):
    contents = (ROOT / "book" / "_toc.yml").read_text(encoding="utf-8")
    root = site.resolve()
    pages = [root / f"{p}.html" for p in re.findall(r"(?:root|file): (\S+)", contents)]
    assert len(pages) >= 40
    for page, following in itertools.pairwise(pages):
        assert neighbor(page, "right-next") == following
        assert neighbor(following, "left-prev") == page


def neighbor(page, direction):
    """Return the page that the link of this class leads to."""
    source = page.read_text(encoding="utf-8")
    link = re.search(rf'class="{direction}"\s+href="([^"]+)"', source)
    return (page.parent / link[1]).resolve()


@pytest.mark.parametrize("width", [1440, visiting.PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_kind_of_page_keeps_the_rules_of_accessibility(
    site, browser, scheme, width
):
    access = pytest.importorskip("tests.book.access")
    with visiting.serve(site) as base:
        assert access.look(browser, base, KINDS, scheme, width) == []
