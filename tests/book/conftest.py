"""A browser for the tests that look at pages."""

import shutil

import pytest

from tests.book import visiting


@pytest.fixture(scope="module")
def browser():
    """Start Chromium, or skip the tests that need it."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium here: the site was built, but nobody looked at it")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=found, args=visiting.ARGUMENTS)
