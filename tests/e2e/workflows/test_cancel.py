"""A run that its user ends takes its jobs with it, whatever it was doing."""

from __future__ import annotations

import uuid
from typing import Any

from esap_batch.jobs import JobState, group_name
from localgrid.grid import Grid
from localgrid.setup import postgres
from tests.e2e.conftest import Placed, Runs

DAG = "hello_world"


def running(alice: Runs, placed: Placed, wait_for: Any) -> tuple[str, str]:
    """Start a run and wait until its jobs run and the triggerer watches them."""
    run = alice.start(
        DAG, n_jobs=3, message=uuid.uuid4().hex, behaviour="slow", duration_s=600, facility=placed.facility
    )
    group = group_name(DAG, run, "submit_jobs")
    wait_for(lambda: placed.backend.counts([group])[group][JobState.RUNNING] > 0)
    wait_for(lambda: "jobs 0 of 3 done" in alice.told(DAG, run, "await_jobs"))
    return run, group


def test_failing_a_run_by_hand_kills_its_jobs(alice: Runs, placed: Placed, wait_for: Any) -> None:
    run, group = running(alice, placed, wait_for)
    alice.api.set_state(DAG, run, "failed")
    wait_for(lambda: placed.backend.counts([group])[group] == {JobState.CANCELLED: 3})
    assert alice.end(DAG, run) == "failed"
    assert "was cancelled" in alice.told(DAG, run, "report_end")


def test_a_cleared_wait_kills_its_jobs_and_submits_them_again(
    alice: Runs, placed: Placed, wait_for: Any
) -> None:
    run, group = running(alice, placed, wait_for)
    alice.api.clear(DAG, run, "await_jobs")
    wait_for(lambda: placed.backend.counts([group])[group][JobState.CANCELLED] == 3)
    wait_for(lambda: "submitting 3 jobs again" in alice.told(DAG, run, "await_jobs"))
    wait_for(lambda: sum(placed.backend.counts([group])[group].values()) == 6)
    alice.api.set_state(DAG, run, "failed")
    wait_for(lambda: placed.backend.counts([group])[group] == {JobState.CANCELLED: 6})


def test_a_restart_of_the_triggerer_kills_nothing(
    grid: Grid, alice: Runs, placed: Placed, wait_for: Any
) -> None:
    run, group = running(alice, placed, wait_for)
    grid.stop("airflow-triggerer")
    grid.start("airflow-triggerer")
    assert placed.backend.counts([group])[group][JobState.CANCELLED] == 0
    alice.api.set_state(DAG, run, "failed")
    wait_for(lambda: placed.backend.counts([group])[group] == {JobState.CANCELLED: 3})


def test_another_triggerer_that_takes_over_kills_nothing(
    grid: Grid, alice: Runs, placed: Placed, wait_for: Any
) -> None:
    """A triggerer that was silent for too long finds that its triggers are another one's."""
    run, group = running(alice, placed, wait_for)

    def sql(statement: str) -> list[tuple[object, ...]]:
        return postgres.query(grid.layout, statement, "airflow")

    ((other,),) = sql(
        "insert into job (job_type, state, hostname, latest_heartbeat)"
        " values ('TriggererJob', 'running', 'other', now() + interval '1 hour') returning id"
    )
    ((trigger,),) = sql(f"select trigger_id from task_instance where run_id = '{run}' and state = 'deferred'")
    try:
        sql(f"update trigger set triggerer_id = {other} where id = {trigger}")
        wait_for(lambda: "another triggerer watches" in alice.told(DAG, run, "await_jobs"))
        assert placed.backend.counts([group])[group][JobState.CANCELLED] == 0
    finally:
        sql(f"delete from job where id = {other}")
    # The one that is left takes it again, and now its user ends it.
    wait_for(lambda: sql(f"select triggerer_id from trigger where id = {trigger}") != [(other,)])
    alice.api.set_state(DAG, run, "failed")
    wait_for(lambda: placed.backend.counts([group])[group] == {JobState.CANCELLED: 3})


def test_a_run_that_is_ended_while_it_submits_leaves_no_job(
    alice: Runs, placed: Placed, wait_for: Any
) -> None:
    run = alice.start(
        DAG, n_jobs=300, message=uuid.uuid4().hex, behaviour="slow", duration_s=600, facility=placed.facility
    )
    group = group_name(DAG, run, "submit_jobs")
    wait_for(lambda: alice.task_state(DAG, run, "submit_jobs") == "running")
    alice.api.set_state(DAG, run, "failed")
    assert alice.end(DAG, run) == "failed"
    assert alice.task_state(DAG, run, "clean_up") == "success"
    wait_for(lambda: set(placed.backend.counts([group])[group]) <= {JobState.CANCELLED})
