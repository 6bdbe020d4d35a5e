"""`python -m localgrid.screenshots`: the pictures of the README, taken from a finished run on the local grid.

Needs Debian's `chromium` and `fonts-dejavu`, and a run of `python -m localgrid.demo` before it.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from localgrid.airflow_api import ENDED, AirflowApi
from localgrid.demo import example
from localgrid.grid import Grid
from localgrid.layout import PROJECT

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

BROWSER = Path("/usr/bin/chromium")
SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
USER, DAG = "alice", "cta_irf"
TOO_PRECISE = 0.015  # relative uncertainty that needs more showers than run without a question
COLUMNS = (("Observation", "Array"), ("Simulation", "Precision", "Running"))  # sections of the form
FORM_WIDTH, FORM_HEIGHT = 1000, 1400
ANIMATION_MS = 800  # opening of a section, fitting of the graph: nothing tells when they have ended
console = Console()


@contextmanager
def browser(url: str, password: str) -> Iterator[Page]:
    """Open Airflow's UI as `USER` in headless Chromium, with its light theme."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=SWITCHES)
        page = chromium.new_page(base_url=url, color_scheme="light", viewport={"width": 1280, "height": 800})
        page.goto("/", wait_until="networkidle")
        page.fill("input[name=username]", USER)
        page.fill("input[name=password]", password)
        page.click("button[type=submit]")
        page.wait_for_url(lambda address: "login" not in address)
        yield page
        chromium.close()


def look_at(page: Page, path: str, width: int, height: int) -> None:
    """Go to a page of the UI and wait until it is drawn."""
    page.set_viewport_size({"width": width, "height": height})
    page.goto(path, wait_until="networkidle")
    page.wait_for_timeout(ANIMATION_MS)


def take_form(page: Page, target: Path) -> None:
    """Take every section of the trigger form. Airflow opens one at a time, so they are put side by side."""
    look_at(page, f"/dags/{DAG}", FORM_WIDTH, FORM_HEIGHT)
    page.get_by_role("button", name="Trigger").first.click()
    dialog = page.locator("[role=dialog][data-state=open]")
    columns = [[_section(page, dialog, title) for title in column] for column in COLUMNS]
    _put_side_by_side(page, columns, target)


def _section(page: Page, dialog: Locator, title: str) -> bytes:
    button = dialog.get_by_role("button", name=title, exact=True)
    button.click()
    page.wait_for_timeout(ANIMATION_MS)
    section = dialog.locator("[data-scope=accordion][data-part=item][data-state=open]")
    return section.screenshot()


def _put_side_by_side(page: Page, columns: list[list[bytes]], target: Path) -> None:
    style = "display:flex;gap:16px;padding:16px;background:#fff;width:fit-content;align-items:flex-start"
    drawn = "".join(f"<div>{''.join(map(_image, column))}</div>" for column in columns)
    page.set_viewport_size({"width": 1900, "height": 1400})
    page.set_content(f"<div id=all style='{style}'>{drawn}</div>", wait_until="networkidle")
    page.locator("#all").screenshot(path=target)


def _image(png: bytes) -> str:
    return f"<img style='display:block' src='data:image/png;base64,{base64.b64encode(png).decode()}'>"


def take_list(page: Page, target: Path) -> None:
    """Take the list of DAGs."""
    look_at(page, "/dags", 1280, 620)
    page.screenshot(path=target)


def take_graph(page: Page, run_id: str, target: Path) -> None:
    """Take the graph of a run, from top to bottom, beside its tasks."""
    panels = {"details-panel,main-panel": {"expandToSizes": {}, "layout": [33, 67]}}
    _remember(page, f"direction-{DAG}", "DOWN")
    _remember(page, "react-resizable-panels:graph-ltr", panels)
    _remember(page, "default_dag_view", "graph")
    look_at(page, f"/dags/{DAG}/runs/{run_id}", 1700, 1150)
    page.locator(".react-flow__node").first.wait_for()
    page.add_style_tag(content=".react-flow__minimap { display: none }")  # it lies over the last tasks
    page.wait_for_timeout(ANIMATION_MS)
    page.screenshot(path=target)


def take_log(page: Page, run_id: str, task: str, target: Path) -> None:
    """Take the log of a task, with the lines about progress in sight."""
    _remember(page, "default_dag_view", "grid")
    look_at(page, f"/dags/{DAG}/runs/{run_id}/tasks/{task}", 1280, 1000)
    page.screenshot(path=target)


def _remember(page: Page, setting: str, value: Any) -> None:
    """Set one of the things that the UI keeps in the browser."""
    page.evaluate("([name, value]) => localStorage.setItem(name, value)", [setting, json.dumps(value)])


def take_confirmation(page: Page, grid: Grid, api: AirflowApi, target: Path) -> None:
    """Ask for so much that the run wants to be confirmed, take the question, and say no."""
    answer = api.trigger(DAG, {**example(DAG), "statistical_uncertainty": TOO_PRECISE})
    answer.raise_for_status()
    run_id, task = answer.json()["dag_run_id"], "confirm_events"
    grid.wait(lambda: api.tasks(DAG, run_id)[task]["state"] == "awaiting_input", "a question", timeout_s=60)
    look_at(page, f"/dags/{DAG}/runs/{run_id}/tasks/{task}/required_actions", 1280, 560)
    page.screenshot(path=target)
    page.get_by_role("button", name="Reject").click()
    grid.wait(lambda: api.run(DAG, run_id)["state"] in ENDED, "the end of the run", timeout_s=60)


def finished_run(api: AirflowApi) -> str:
    """Give the newest run of the example that has made a product; SystemExit when there is none."""
    found = api.get(f"/dags/{DAG}/dagRuns", order_by="-run_after", state="success")
    for run in found["dag_runs"]:
        if run["conf"] == example(DAG) and api.xcom(DAG, run["dag_run_id"], "ingest_products"):
            return str(run["dag_run_id"])
    raise SystemExit(f"no run of {DAG} that has made the example's product: run `make demo` first")


def main(
    target: Annotated[Path, typer.Argument(help="where the pictures go")] = PROJECT / "docs" / "images",
) -> None:
    """Take the pictures of the README."""
    grid = Grid()
    grid.up()
    api = AirflowApi.of(grid.info, USER)
    run_id = finished_run(api)
    product = api.xcom(DAG, run_id, "ingest_products")["production_id"]
    password = json.loads(Path(grid.info["airflow"]["passwords_file"]).read_text())[USER]
    target.mkdir(parents=True, exist_ok=True)
    with browser(api.url, password) as page:
        take_list(page, target / "dags.png")
        take_form(page, target / "trigger_form.png")
        take_graph(page, run_id, target / "graph.png")
        take_log(page, run_id, "await_simulation", target / "progress.png")
        take_confirmation(page, grid, api, target / "confirmation.png")
    shutil.copyfile(grid.home / "products" / product / "irf.png", target / "cta_irf.png")
    console.print(f"{len(list(target.glob('*.png')))} pictures in {target}")


if __name__ == "__main__":
    typer.run(main)
