"""Pictures of the list of DAGs and of runs that have ended."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from localgrid.demo import example
from localgrid.screenshots.browser import ANIMATION_MS, look_at, remember

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from localgrid.airflow_api import AirflowApi


def finished_run(api: AirflowApi, dag_id: str, task: str) -> str:
    """Give the newest run of the example in which `task` has done its work; SystemExit when there is none."""
    found = api.get(f"/dags/{dag_id}/dagRuns", order_by="-run_after", state="success")
    for run in found["dag_runs"]:
        if run["conf"] == example(dag_id) and api.xcom(dag_id, run["dag_run_id"], task):
            return str(run["dag_run_id"])
    raise SystemExit(
        f"no run of {dag_id} that has made the example's product: run `make demo USE_CASE={dag_id}` first"
    )


def take_list(page: Page, target: Path) -> None:
    """Take the list of DAGs, a line for each."""
    remember(page, "dags_list_display", "table")
    look_at(page, "/dags", 1280, 800)
    page.screenshot(path=target)


def take_graph(page: Page, dag_id: str, run_id: str, target: Path) -> None:
    """Take the graph of a run, from top to bottom, beside its tasks."""
    panels = {"details-panel,main-panel": {"expandToSizes": {}, "layout": [33, 67]}}
    remember(page, f"direction-{dag_id}", "DOWN")
    remember(page, "react-resizable-panels:graph-ltr", panels)
    remember(page, "default_dag_view", "graph")
    look_at(page, f"/dags/{dag_id}/runs/{run_id}", 1700, 1180)
    page.locator(".react-flow__node").first.wait_for()
    page.add_style_tag(content=".react-flow__minimap { display: none }")  # it lies over the last tasks
    page.wait_for_timeout(ANIMATION_MS)
    page.screenshot(path=target)


def take_log(page: Page, dag_id: str, run_id: str, task: str, target: Path) -> None:
    """Take the log of a task, with the lines about progress in sight."""
    remember(page, "default_dag_view", "grid")
    look_at(page, f"/dags/{dag_id}/runs/{run_id}/tasks/{task}", 1280, 1000)
    page.screenshot(path=target)


def take_xcom(page: Page, dag_id: str, run_id: str, task: str, target: Path) -> None:
    """Take what a task has told about its progress, all of it unfolded."""
    remember(page, "default_dag_view", "grid")
    look_at(page, f"/dags/{dag_id}/runs/{run_id}/tasks/{task}/xcom", 1280, 880)
    page.get_by_role("button", name="Expand").click()
    page.wait_for_timeout(ANIMATION_MS)
    page.screenshot(path=target)
