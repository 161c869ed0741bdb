"""Visit every page of a site in a browser, and list what is wrong with it.

:func:`visit` notes facts, one :class:`Visit` a page and screen width; each function of
``CHECKS`` turns them into problems, one sentence each.
"""

import functools
import http.server
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote, urldefrag

DESKTOP, PHONE = 1300, 390
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
FACTS = """async () => {
  await window.MathJax?.startup?.promise;
  const all = selector => [...document.querySelectorAll(selector)];
  const article = (document.querySelector("article") ?? document.body).cloneNode(true);
  article.querySelectorAll("code, pre, script, mjx-container").forEach(e => e.remove());
  return {
    language: document.documentElement.lang,
    title: document.title,
    headings: all("h1").filter(e => e.checkVisibility()).length,
    overflow: document.documentElement.scrollWidth - window.innerWidth,
    images: all("img").map(e => [e.src, e.getAttribute("alt") ?? "", e.naturalWidth]),
    links: all("a[href]").map(e => e.href),
    ids: all("[id]").map(e => e.id),
    untypeset: all(".math").filter(e => !e.querySelector("mjx-container")).length
      + all("mjx-merror").length,
    text: article.textContent,
  };
}"""


@dataclass
class Visit:
    """One page as the browser saw it."""

    page: str
    width: int
    facts: dict
    events: list[str]

    @property
    def where(self):
        return f"{self.page} at {self.width} px"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serve files without a log."""

    def log_message(self, *_):
        pass


@contextmanager
def serve(folder):
    """Serve a folder on this machine; give its address."""
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def open_page(browser, base, events, **options):
    """Open a tab that notes errors and cannot reach any other host."""
    tab = browser.new_page(**options)

    def stay(route):
        if route.request.url.startswith((base, "data:", "blob:")):
            route.continue_()
        else:
            events.append(f"asks another host: {route.request.url}")
            route.abort()

    def note_console(message):
        if message.type in ("error", "warning"):
            events.append(f"console: {message.text}")

    def note_failure(request):
        if request.failure != "net::ERR_ABORTED":  # the tab went on to the next page
            events.append(f"request failed: {request.url}")

    def note_response(response):
        if response.status >= 400:
            events.append(f"{response.status} for {response.url}")

    tab.route("**/*", stay)
    tab.on("console", note_console)
    tab.on("pageerror", lambda error: events.append(f"script error: {error}"))
    tab.on("requestfailed", note_failure)
    tab.on("response", note_response)
    return tab


def visit(browser, folder):
    """Visit all pages of a site at both widths."""
    files = (path.relative_to(folder) for path in sorted(folder.rglob("*.html")))
    pages = [file.as_posix() for file in files if file.parts[0] != "_static"]
    visits = []
    with serve(folder) as base:
        for width in (DESKTOP, PHONE):
            events = []
            size = {"width": width, "height": 900}
            tab = open_page(browser, base, events, viewport=size)
            for page in pages:
                if leads_on(folder / page):
                    continue
                tab.goto(base + page, wait_until="load")
                facts = tab.evaluate(FACTS)
                facts["links"] = [
                    url.removeprefix(base) if url.startswith(base) else url
                    for url in facts["links"]
                ]
                visits.append(Visit(page, width, facts, list(events)))
                events.clear()
            tab.close()
    return visits


def leads_on(path):
    """Tell whether a page only sends the reader to another one."""
    return 'http-equiv="Refresh"' in path.read_text(encoding="utf-8")


def events(visits, folder):
    """Errors in the console, failed requests, requests to other hosts."""
    return [f"{visit.where}: {event}" for visit in visits for event in visit.events]


def images(visits, folder):
    """Images that do not load or that have no description."""
    problems = []
    for visit in visits:
        for source, alt, width in visit.facts["images"]:
            name = source.rsplit("/", 1)[-1]
            if not width:
                problems.append(f"{visit.where}: {name} does not load")
            if len(alt.strip()) < 3 or alt.endswith(name):
                problems.append(f"{visit.where}: {name} has no alt text")
    return problems


def links(visits, folder):
    """Links inside the site that lead nowhere."""
    ids = {visit.page: {*visit.facts["ids"], ""} for visit in visits}
    problems = []
    for visit in visits:
        for url in visit.facts["links"]:
            if re.match(r"https?://", url):
                continue
            target, anchor = map(unquote, urldefrag(url))
            target = target.split("?")[0] or "index.html"
            if not (folder / target).is_file():
                problems.append(f"{visit.where}: no page for {url}")
            elif anchor not in ids.get(target, {""}):
                problems.append(f"{visit.where}: no anchor for {url}")
    return problems


def phone(visits, folder):
    """Pages that are wider than the screen."""
    return [
        f"{visit.where}: {visit.facts['overflow']} px too wide"
        for visit in visits
        if visit.facts["overflow"] > 0
    ]


def formulas(visits, folder):
    """Formulas that are shown as they were typed."""
    raw = re.compile(r"\\[(\[]|\\[a-z]+\{|\$\$|\$[^$\s][^$\n]*\$")
    problems = []
    for visit in visits:
        if visit.facts["untypeset"]:
            problems.append(f"{visit.where}: {visit.facts['untypeset']} not typeset")
        if found := raw.search(visit.facts["text"]):
            problems.append(f"{visit.where}: shows {found[0]!r}")
    return problems


def basics(visits, folder):
    """Pages without a language, a title or exactly one main heading."""
    problems = []
    for visit in visits:
        if visit.facts["language"] != "en":
            problems.append(f"{visit.where}: language is {visit.facts['language']!r}")
        if not visit.facts["title"].strip():
            problems.append(f"{visit.where}: no title")
        if visit.facts["headings"] != 1:
            problems.append(f"{visit.where}: {visit.facts['headings']} main headings")
    return problems


CHECKS = (events, images, links, phone, formulas, basics)
