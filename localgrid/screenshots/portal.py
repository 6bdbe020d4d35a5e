"""Pictures of the portal's pages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from localgrid.airflow_api import AirflowApi

PHONE_WIDTH, PHONE_HEIGHT = 360, 780


def job_of(api: AirflowApi, dag_id: str, run_id: str) -> int:
    """Give the number of the job that a run belongs to; SystemExit when the portal does not know it."""
    headers = {"Authorization": f"Bearer {api.token}"}
    answer = httpx.get(f"{api.url}/batch/", params={"workflow": dag_id}, headers=headers, timeout=60)
    answer.raise_for_status()  # the list makes jobs of runs that were started in Airflow
    for line in answer.text.splitlines():
        if "/batch/jobs/" in line:
            number = line.split("/batch/jobs/", 1)[1].split('"', 1)[0]
            page = httpx.get(f"{api.url}/batch/jobs/{number}", headers=headers, timeout=60).text
            if f"/dags/{dag_id}/runs/{run_id}" in page:
                return int(number)
    raise SystemExit(f"no job of run {run_id} of {dag_id}")


def take_jobs(page: Page, target: Path) -> None:
    """Take the list of jobs."""
    _take(page, "/batch/", 1280, 620, target)


def take_new(page: Page, workflow: str, target: Path) -> None:
    """Take the form of a workflow."""
    _take(page, f"/batch/new/{workflow}", 1280, 980, target)


def take_job(page: Page, number: int, target: Path) -> None:
    """Take all of the page of a job that has its results."""
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(f"/batch/jobs/{number}", wait_until="networkidle")
    page.screenshot(path=target, full_page=True)


def take_phone(page: Page, number: int, target: Path) -> None:
    """Take the top of a job's page at a phone's width."""
    _take(page, f"/batch/jobs/{number}", PHONE_WIDTH, PHONE_HEIGHT, target)


def _take(page: Page, path: str, width: int, height: int, target: Path) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.goto(path, wait_until="networkidle")
    page.screenshot(path=target)
