"""A SLURM site as runs see it: who is let in, and what happens while it is out of reach."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

from esap_batch.jobs import group_name
from localgrid.grid import Grid
from tests.e2e.conftest import Runs
from tests.integration.backends.places import Slurm

DAG, FACILITY = "hello_world", "fair-slurm"


def test_a_user_whom_the_site_has_not_admitted_is_refused_by_name(users: Callable[[str], Runs]) -> None:
    bob = users("bob")
    run = bob.start(DAG, n_jobs=1, message=uuid.uuid4().hex, facility=FACILITY)
    assert bob.end(DAG, run) == "failed"
    assert bob.task_state(DAG, run, "select_facility") == "failed"
    assert "it does not take this user's key" in bob.told(DAG, run, "select_facility")
    assert bob.api.tasks(DAG, run)["submit_jobs"]["try_number"] == 0


def test_a_run_outlives_a_login_node_that_is_away(
    grid: Grid, users: Callable[[str], Runs], wait_for: Any
) -> None:
    frank = users("frank")
    run = frank.start(
        DAG, n_jobs=2, message=uuid.uuid4().hex, behaviour="slow", duration_s=20, facility=FACILITY
    )
    wait_for(lambda: "jobs 0 of 2 done" in frank.told(DAG, run, "await_jobs"))
    grid.stop("sshd")
    try:
        wait_for(lambda: "does not answer" in frank.told(DAG, run, "await_jobs"))
    finally:
        grid.start("sshd")
    assert frank.end(DAG, run, within=400) == "success"
    backend = Slurm(grid).open("frank")
    attempts = backend.attempts(group_name(DAG, run, "submit_jobs"))
    assert Counter(a.key for a in attempts) == {(0, 1): 1, (1, 1): 1}
    assert frank.api.tasks(DAG, run)["submit_jobs"]["try_number"] == 1
