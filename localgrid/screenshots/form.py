"""Pictures of trigger forms."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from localgrid.screenshots.browser import ANIMATION_MS, look_at

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

WIDTH, HEIGHT = 1000, 1400


def take_form(page: Page, dag_id: str, columns: Sequence[Sequence[str]], target: Path) -> None:
    """Take sections of a trigger form. Airflow opens one at a time, so they are put side by side.

    :param columns: titles of sections, from top to bottom and from left to right.
    """
    look_at(page, f"/dags/{dag_id}", WIDTH, HEIGHT)
    page.get_by_role("button", name="Trigger").first.click()
    dialog = page.locator("[role=dialog][data-state=open]")
    drawn = [[_section(page, dialog, title) for title in column] for column in columns]
    _put_side_by_side(page, drawn, target)


def _section(page: Page, dialog: Locator, title: str) -> bytes:
    section = dialog.locator("[data-scope=accordion][data-part=item]").filter(
        has=page.get_by_role("button", name=title, exact=True)
    )
    section.wait_for()
    if section.get_attribute("data-state") != "open":
        section.get_by_role("button", name=title, exact=True).click()
    page.wait_for_timeout(ANIMATION_MS)
    return section.screenshot()


def _put_side_by_side(page: Page, columns: Sequence[Sequence[bytes]], target: Path) -> None:
    style = "display:flex;gap:16px;padding:16px;background:#fff;width:fit-content;align-items:flex-start"
    drawn = "".join(f"<div>{''.join(map(_image, column))}</div>" for column in columns)
    page.set_viewport_size({"width": 950 * len(columns), "height": HEIGHT})
    page.set_content(f"<div id=all style='{style}'>{drawn}</div>", wait_until="networkidle")
    page.locator("#all").screenshot(path=target)


def _image(png: bytes) -> str:
    return f"<img style='display:block' src='data:image/png;base64,{base64.b64encode(png).decode()}'>"
