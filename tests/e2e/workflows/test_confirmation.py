"""A large production waits for a person's word."""

from __future__ import annotations

from typing import Any

import httpx

from localgrid.grid import Grid
from tests.e2e.conftest import Runs

DAG = "cta_irf"
LARGE: dict[str, Any] = {"statistical_uncertainty": 0.015, "zenith_deg": 21}


def answer(alice: Runs, run: str, choice: str) -> httpx.Response:
    path = f"/dags/{DAG}/dagRuns/{run}/taskInstances/confirm_events/-1/hitlDetails"
    return alice.api.call("PATCH", path, json={"chosen_options": [choice], "params_input": {}})


def waiting(grid: Grid, alice: Runs, wait_for: Any, **conf: Any) -> str:
    run = alice.start(DAG, **{**LARGE, **conf})
    wait_for(lambda: alice.task_state(DAG, run, "confirm_events") == "awaiting_input")
    # The scheduler has to have heard of it, or Airflow asks again (see ConfirmWork).
    log = grid.layout.log("airflow-scheduler")
    wait_for(lambda: any(run in x and "state=awaiting_input" in x for x in log.read_text().splitlines()))
    return run


def test_rejecting_submits_nothing(grid: Grid, alice: Runs, wait_for: Any) -> None:
    run = waiting(grid, alice, wait_for, zenith_deg=22)
    assert answer(alice, run, "Reject").status_code == 200
    assert alice.end(DAG, run) == "failed"
    assert alice.task_state(DAG, run, "submit_simulation") == "upstream_failed"
    assert "rejected this production" in alice.told(DAG, run, "confirm_events")


def test_approving_goes_on(grid: Grid, alice: Runs, wait_for: Any) -> None:
    run = waiting(grid, alice, wait_for, zenith_deg=23)
    assert answer(alice, run, "Approve").status_code == 200
    wait_for(lambda: alice.task_state(DAG, run, "select_facility") == "success")
    alice.api.set_state(DAG, run, "failed")
    assert alice.end(DAG, run) == "failed"


def test_another_word_is_refused(grid: Grid, alice: Runs, wait_for: Any) -> None:
    run = waiting(grid, alice, wait_for, zenith_deg=24)
    assert answer(alice, run, "Maybe").status_code == 400
    alice.api.set_state(DAG, run, "failed")
    assert alice.end(DAG, run) == "failed"
