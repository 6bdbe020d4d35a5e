"""Pictures of runs that wait for a person's answer."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from localgrid.airflow_api import ENDED
from localgrid.demo import example
from localgrid.samples.blank import fill_blank
from localgrid.screenshots.browser import look_at

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from hooks.rucio_lake import RucioLake
    from localgrid.airflow_api import AirflowApi
    from localgrid.grid import Grid

TOO_PRECISE = 0.015  # relative uncertainty that needs more showers than run without a question
PROJECT, FIRST, COUNT, FILES = "PI-2026-009", 901_001, 5, 4
ON_BROKEN_DRIVE = (901_002, 901_004)
PATIENCE_S = 300


def take_confirmation(page: Page, grid: Grid, api: AirflowApi, target: Path) -> None:
    """Ask for so much that the run wants to be confirmed, take the question, and say no."""
    request = {**example("cta_irf"), "statistical_uncertainty": TOO_PRECISE}
    run_id = _start_until_asked(grid, api, "cta_irf", request, "confirm_events")
    look_at(page, f"/dags/cta_irf/runs/{run_id}/tasks/confirm_events/required_actions", 1280, 560)
    page.screenshot(path=target)
    page.get_by_role("button", name="Reject").click()
    _await_end(grid, api, "cta_irf", run_id)


def take_held(page: Page, grid: Grid, api: AirflowApi, lake: RucioLake, target: Path) -> None:
    """Break a tape drive so that the campaign is held, take the question, and give the campaign up."""
    with tempfile.TemporaryDirectory(prefix="esap-dl0-") as folder:
        fill_blank(lake, Path(folder), project=PROJECT, first=FIRST, count=COUNT, files=FILES)
    task = "process_observations"
    request = {
        "project": PROJECT,
        "processor": "esap-noop",
        "hold_after": len(ON_BROKEN_DRIVE),
        "retry_failed": True,  # those that failed when the last picture was taken
    }
    with _broken_drive(grid):
        run_id = _start_until_asked(grid, api, "cta_reprocessing", request, task)
        look_at(page, f"/dags/cta_reprocessing/runs/{run_id}/tasks/{task}/required_actions", 1280, 620)
        page.screenshot(path=target)
        page.get_by_role("button", name="Give up").click()
        _await_end(grid, api, "cta_reprocessing", run_id)


@contextmanager
def _broken_drive(grid: Grid) -> Iterator[None]:
    control = f"{grid.info['fts']['url']}/_control"
    faults = {f"obs_{number:06d}_tel001_00": "drive 3 is broken" for number in ON_BROKEN_DRIVE}
    httpx.put(control, json={"fail": faults}).raise_for_status()
    try:
        yield
    finally:
        httpx.put(control, json={"fail": {}}).raise_for_status()


def _start_until_asked(grid: Grid, api: AirflowApi, dag_id: str, request: dict[str, Any], task: str) -> str:
    answer = api.trigger(dag_id, request)
    answer.raise_for_status()
    run_id = str(answer.json()["dag_run_id"])
    grid.wait(
        lambda: api.tasks(dag_id, run_id)[task]["state"] == "awaiting_input",
        f"the question of {task}",
        timeout_s=PATIENCE_S,
    )
    return run_id


def _await_end(grid: Grid, api: AirflowApi, dag_id: str, run_id: str) -> None:
    grid.wait(lambda: api.run(dag_id, run_id)["state"] in ENDED, "the end of the run", timeout_s=PATIENCE_S)
