"""Airflow's UI in headless Chromium."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

BROWSER = Path("/usr/bin/chromium")
SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
PATIENCE_MS = 60_000
ANIMATION_MS = 800  # opening of a section, fitting of the graph: nothing tells when they have ended
# Until its texts are there the UI shows their names, from right to left; until its data are there, grey bars.
IS_DRAWN = """() => getComputedStyle(document.body).direction == "ltr"
    && !document.querySelector(".chakra-skeleton")"""


@contextmanager
def browser(url: str, user: str, password: str) -> Iterator[Page]:
    """Open Airflow's UI as `user`, with its light theme."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=SWITCHES)
        page = chromium.new_page(base_url=url, color_scheme="light", viewport={"width": 1280, "height": 800})
        page.set_default_timeout(PATIENCE_MS)
        page.goto("/", wait_until="networkidle")
        page.fill("input[name=username]", user)
        page.fill("input[name=password]", password)
        page.click("button[type=submit]")
        page.wait_for_url(f"{url}/**")
        yield page
        chromium.close()


def look_at(page: Page, path: str, width: int, height: int) -> None:
    """Go to a page of the UI and wait until it is drawn."""
    page.set_viewport_size({"width": width, "height": height})
    page.goto(path, wait_until="networkidle")
    page.wait_for_function(IS_DRAWN)
    page.wait_for_timeout(ANIMATION_MS)


def remember(page: Page, setting: str, value: Any) -> None:
    """Set one of the things that the UI keeps in the browser."""
    page.evaluate("([name, value]) => localStorage.setItem(name, value)", [setting, json.dumps(value)])
