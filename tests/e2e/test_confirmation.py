"""A large production waits for a person's word."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.conftest import Runs

DAG = "cta_irf"
LARGE: dict[str, Any] = {"statistical_uncertainty": 0.015, "zenith_deg": 21}


def answer(alice: Runs, run: str, choice: str) -> None:
    path = f"/dags/{DAG}/dagRuns/{run}/taskInstances/confirm_events/-1/hitlDetails"
    body = {"chosen_options": [choice], "params_input": {}}
    found = alice.api.call("PATCH", path, json=body)
    assert found.status_code == 200, found.text


def waiting(alice: Runs, wait_for: Any, **conf: Any) -> str:
    run = alice.start(DAG, **{**LARGE, **conf})
    wait_for(lambda: alice.task_state(DAG, run, "confirm_events") == "awaiting_input")
    return run


def test_rejecting_submits_nothing(alice: Runs, wait_for: Any) -> None:
    run = waiting(alice, wait_for, zenith_deg=22)
    answer(alice, run, "Reject")
    assert alice.end(DAG, run) == "failed"
    assert alice.task_state(DAG, run, "submit_simulation") == "upstream_failed"


def test_approving_goes_on(alice: Runs, wait_for: Any) -> None:
    run = waiting(alice, wait_for, zenith_deg=23)
    answer(alice, run, "Approve")
    wait_for(lambda: alice.task_state(DAG, run, "select_facility") == "success")
    alice.api.set_state(DAG, run, "failed")
    wait_for(lambda: alice.task_state(DAG, run, "clean_up") == "success")


@pytest.mark.parametrize("user_says", ["Maybe"])
def test_another_word_is_refused(alice: Runs, wait_for: Any, user_says: str) -> None:
    run = waiting(alice, wait_for, zenith_deg=24)
    path = f"/dags/{DAG}/dagRuns/{run}/taskInstances/confirm_events/-1/hitlDetails"
    found = alice.api.call("PATCH", path, json={"chosen_options": [user_says], "params_input": {}})
    assert found.status_code >= 400 or alice.end(DAG, run) == "failed"
    alice.api.set_state(DAG, run, "failed")
