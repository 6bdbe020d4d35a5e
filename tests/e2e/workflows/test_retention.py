"""Housekeeping on a real service, with runs whose end is put back by a year in its database."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localgrid.grid import Grid
from localgrid.setup import postgres
from tests.e2e.conftest import Runs
from tests.e2e.uws import Uws

DAG = "hello_world"


@pytest.fixture
def age(grid: Grid) -> Callable[[str], None]:
    """Give a function that makes a run of hello_world a year older."""

    def put_back(run_id: str) -> None:
        done = postgres.query(
            grid.layout,
            "update dag_run set end_date = end_date - interval '1 year', "
            "updated_at = updated_at - interval '1 year', start_date = start_date - interval '1 year' "
            f"where dag_id = '{DAG}' and run_id = '{run_id}' returning id",
            "airflow",
        )
        assert len(done) == 1

    return put_back


def housekeeping(users: Callable[[str], Runs], *, dry_run: bool) -> Any:
    carol = users("carol")
    run = carol.start("housekeeping", dry_run=dry_run)
    assert carol.end("housekeeping", run, within=600) == "success", carol.told(
        "housekeeping", run, "delete_history"
    )
    return carol.api.xcom("housekeeping", run, "delete_history")


def test_what_is_old_and_published_goes_and_nothing_else(
    users: Callable[[str], Runs],
    alice: Runs,
    age: Callable[[str], None],
    grid: Grid,
    wait_for: Any,
    request: pytest.FixtureRequest,
) -> None:
    uws = Uws(alice.api)
    path = uws.make()
    uws.post(f"{path}/phase", PHASE="RUN")
    old = uws.run_id(path)
    failed = alice.start(DAG, message=uuid.uuid4().hex, behaviour="corrupt_output")
    assert [alice.end(DAG, run, within=600) for run in (old, failed)] == ["success", "failed"]
    alive = alice.start(DAG, message=uuid.uuid4().hex, behaviour="slow", duration_s=600)
    request.addfinalizer(lambda: alice.api.set_state(DAG, alive, "failed"))
    wait_for(lambda: alice.task_state(DAG, alive, "await_jobs") == "deferred", 600)
    for run in (old, failed, alive):
        age(run)

    told = housekeeping(users, dry_run=True)
    assert told["runs"] == [f"{DAG}/{old}"], "nothing that is young, nothing that goes on"
    assert f"{DAG}/{failed}" in told["kept"], "its product is claimed and not published"
    assert alice.state(DAG, old) == "success"

    told = housekeeping(users, dry_run=False)
    assert told["runs"] == [f"{DAG}/{old}"]
    assert alice.api.call("GET", f"/dags/{DAG}/dagRuns/{old}").status_code == 404
    assert uws.phase(path) == "ARCHIVED"
    assert alice.state(DAG, failed) == "failed"
    assert alice.task_state(DAG, alive, "await_jobs") == "deferred", "nothing happens to what goes on"
    assert Path(grid.home, "airflow", "logs", f"dag_id={DAG}", f"run_id={old}").exists(), "logs are young"
    rows = postgres.query(grid.layout, f"select 1 from xcom where run_id = '{old}'", "airflow")
    assert rows == []
