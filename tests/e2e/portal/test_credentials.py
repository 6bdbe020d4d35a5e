"""Runs that act with their user's own login at DIRAC, which ends under way."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esap_batch.jobs import JobState, group_name
from esap_batch.progress import MARK, PROGRESS, SUSPENDED
from hooks.dirac_wms import DiracWms
from localgrid.grid import Grid
from tests.connecting import DIRAC, browser, connect, disconnect, end_at_diracx, held
from tests.e2e.conftest import Runs

DAG, FACILITY = "hello_world", "cscs"


@pytest.fixture
def connected(grid: Grid) -> Iterator[None]:
    """Let alice have connected DIRAC, and disconnect it in the end."""
    connect(grid.info, "alice")
    yield
    disconnect(grid.info, "alice")


def secrets_of(grid: Grid) -> set[str]:
    """Give the secrets that the broker has at the moment, and those of its connections."""
    connections = json.loads(Path(grid.info["connections_file"]).read_text())
    return {*held(grid.info, "alice"), *(connections[c]["password"] for c in ("esap_broker", "esap_vault"))}


def assert_nowhere(grid: Grid, alice: Runs, run: str, secrets: set[str]) -> None:
    """No secret is in any log of the grid, or in what the run's tasks have left."""
    files = [*Path(grid.info["logs"]).glob("*.log"), *Path(grid.info["airflow_home"], "logs").rglob("*.log")]
    texts = {str(path): path.read_text(errors="replace") for path in files}
    for task in alice.api.tasks(DAG, run):
        path = f"/dags/{DAG}/dagRuns/{run}/taskInstances/{task}/xcomEntries"
        for entry in alice.api.get(path)["xcom_entries"]:
            texts[f"{task} {entry['key']}"] = json.dumps(alice.api.xcom(DAG, run, task, entry["key"]))
    assert len(texts) > 10
    assert [where for where, text in texts.items() if any(s in text for s in secrets)] == []


@pytest.fixture
def no_site(grid: Grid) -> Iterator[None]:
    """Let DIRAC's jobs wait; other tests have the site again, whatever happens."""
    grid.stop("site")
    yield
    grid.start("site")


@pytest.mark.usefixtures("connected", "no_site")
def test_a_run_whose_login_ends_under_way_waits_for_a_new_one(
    grid: Grid, alice: Runs, dirac: DiracWms, wait_for: Any
) -> None:
    secrets = secrets_of(grid)
    run = alice.start(DAG, n_jobs=2, message=uuid.uuid4().hex, facility=FACILITY)
    wait_for(lambda: (alice.api.xcom(DAG, run, "await_jobs", PROGRESS) or {}).get("queued") == 2)
    end_at_diracx(grid.info, "alice")
    wait_for(lambda: alice.api.xcom(DAG, run, "await_jobs", MARK) == SUSPENDED)
    told = alice.api.xcom(DAG, run, "await_jobs", PROGRESS)["text"]
    assert "suspended until alice logs in again" in told
    assert f"{grid.info['airflow']['url']}/batch-broker/credentials" in told
    with browser(grid.info, "alice") as http:
        found = http.get("/batch-broker/api/credentials").json()["credentials"]
    (standing,) = [c for c in found if c["system"] == DIRAC]
    assert standing["standing"] == "ended"
    assert "refused" in standing["ended_because"]
    grid.start("site")
    group = group_name(DAG, run, "submit_jobs")
    wait_for(lambda: dirac.counts([group])[group][JobState.DONE] == 2)  # the jobs themselves go on
    assert alice.task_state(DAG, run, "await_jobs") == "deferred"
    connect(grid.info, "alice")
    wait_for(lambda: not alice.api.xcom(DAG, run, "await_jobs", MARK))
    assert alice.end(DAG, run) == "success"
    assert alice.api.tasks(DAG, run)["await_jobs"]["try_number"] == 1
    assert_nowhere(grid, alice, run, secrets | secrets_of(grid))


@pytest.mark.usefixtures("connected")
def test_a_run_asks_for_a_login_before_it_submits_and_can_be_ended(
    grid: Grid, alice: Runs, dirac: DiracWms, wait_for: Any
) -> None:
    end_at_diracx(grid.info, "alice")
    run = alice.start(DAG, n_jobs=2, message=uuid.uuid4().hex, facility=FACILITY)
    wait_for(lambda: alice.api.xcom(DAG, run, "submit_jobs", MARK) == SUSPENDED)
    group = group_name(DAG, run, "submit_jobs")
    assert dirac.counts([group])[group] == {}
    alice.api.set_state(DAG, run, "failed")
    assert alice.end(DAG, run) == "failed"
    wait_for(lambda: alice.task_state(DAG, run, "clean_up") == "success")
