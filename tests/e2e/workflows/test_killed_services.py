"""Services are killed one after the other in mid-run; the run ends with the right jobs and files."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import Any

from esap_batch.jobs import JobState, group_name
from hooks.dirac_wms import DiracWms
from hooks.rucio_lake import RucioLake
from localgrid.grid import Grid
from tests.e2e.conftest import Runs
from tests.e2e.workflows.test_killed_workers import kill_once

DAG = "hello_world"
JOBS = 12


def test_everything_is_killed_once_and_the_run_ends_well(
    grid: Grid, alice: Runs, dirac: DiracWms, lake: RucioLake, wait_for: Any
) -> None:
    run = alice.start(
        DAG, n_jobs=JOBS, message=uuid.uuid4().hex, behaviour="slow", duration_s=8, facility="lapalma"
    )
    assert kill_once(alice, run, "submit_jobs", 0.3, with_supervisor=False, wait_for=wait_for)
    group = group_name(DAG, run, "submit_jobs")
    wait_for(lambda: dirac.counts([group])[group][JobState.DONE] > 0)
    for service in ("airflow-triggerer", "diracx", "airflow-scheduler", "rucio", "rucio-daemons"):
        grid.kill(service)
        assert service in {s.name for s in grid.status() if not s.healthy}
        grid.start(service)
    assert alice.end(DAG, run, within=420) == "success"
    jobs = Counter(a.key for a in dirac.submissions(group))
    assert jobs == Counter((i, 1) for i in range(JOBS))
    assert dirac.counts([group])[group] == {JobState.DONE: JOBS}
    dataset = alice.api.xcom(DAG, run, "ingest_products")["dataset"]
    assert lake.is_published(dataset)
    assert len(lake.files(dataset)) == JOBS + 3


def test_a_run_waits_for_a_lake_that_is_down_and_goes_on(grid: Grid, alice: Runs, wait_for: Any) -> None:
    grid.kill("rucio")
    run = alice.start(DAG, n_jobs=1, message=uuid.uuid4().hex)
    wait_for(lambda: alice.task_state(DAG, run, "check_duplicate") == "up_for_retry")
    assert "Rucio at" in alice.told(DAG, run, "check_duplicate")
    grid.start("rucio")
    assert alice.end(DAG, run) == "success"


def test_a_task_that_failed_for_good_goes_on_when_it_is_cleared(
    grid: Grid, alice: Runs, dirac: DiracWms, lake: RucioLake, wait_for: Any
) -> None:
    run = alice.start(DAG, n_jobs=2, message=uuid.uuid4().hex, behaviour="slow", duration_s=5)
    wait_for(lambda: alice.task_state(DAG, run, "await_jobs") == "deferred")
    grid.kill("rucio")
    wait_for(lambda: alice.task_state(DAG, run, "await_jobs") in ("up_for_retry", "failed"))
    alice.api.set_task_state(DAG, run, "await_jobs", "failed")
    grid.start("rucio")
    assert alice.end(DAG, run) == "failed"
    alice.api.clear(DAG, run, "submit_jobs")
    assert alice.end(DAG, run) == "success"
    dataset = alice.api.xcom(DAG, run, "ingest_products")["dataset"]
    assert len(lake.files(dataset)) == 5
