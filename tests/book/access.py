"""Look at pages with axe-core: the rules of WCAG 2.2, A and AA, as far as it can."""

from axe_playwright_python.sync_playwright import Axe

OPTIONS = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"],
    "resultTypes": ["violations"],
    "iframes": False,  # each frame is looked at by itself
}


def look(browser, base, pages, scheme, width):
    """Return what is wrong with pages in a color scheme, one sentence a place."""
    size = {"width": width, "height": 900}
    tab = browser.new_page(color_scheme=scheme, viewport=size)
    problems = []
    for page in pages:
        tab.goto(base + page, wait_until="load")
        tab.evaluate("async () => { await window.MathJax?.startup?.promise; }")
        for frame in tab.frames:
            problems += [
                f"{page}: {rule['help']}: {place['html'][:120]}"
                for rule in Axe().run(frame, options=OPTIONS).response["violations"]
                for place in rule["nodes"]
            ]
    tab.close()
    return problems
