"""A facility that is full: users share its places, and nobody's jobs are lost or too many."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from esap_batch.facilities import load_facilities
from esap_batch.jobs import JobCounts, JobState, group_name
from esap_batch.progress import PROGRESS
from hooks.dirac_wms import DiracSettings, DiracWms
from hooks.settings import config_dir, runner_dir
from localgrid.grid import Grid
from tests.e2e.conftest import Runs

DAG, FACILITY, JOBS = "hello_world", "escape-local", 16


def test_two_experiments_share_a_full_facility(
    grid: Grid, users: Callable[[str], Runs], wait_for: Any
) -> None:
    (escape,) = [f for f in load_facilities(config_dir() / "facilities.yaml") if f.name == FACILITY]
    limit = escape.limits.max_active_jobs
    assert limit is not None
    assert limit < JOBS
    people = {name: users(name) for name in ("frank", "sofia")}
    dirac = {
        name: DiracWms(
            DiracSettings(grid.info["diracx"]["url"], grid.layout.diracx_credentials / f"{name}.json"),
            runner_dir(),
        )
        for name in people
    }
    groups: dict[str, str] = {}
    seen: list[dict[str, JobCounts]] = []

    def look() -> dict[str, int]:
        """See what each has at the facility now."""
        counts = {name: dirac[name].counts([group])[group] for name, group in groups.items()}
        seen.append(counts)
        return {name: c[JobState.QUEUED] + c[JobState.RUNNING] for name, c in counts.items()}

    def start(name: str) -> str:
        run = people[name].start(
            DAG, n_jobs=JOBS, message=uuid.uuid4().hex, behaviour="slow", duration_s=4, facility=FACILITY
        )
        groups[name] = group_name(DAG, run, "submit_jobs")
        return run

    def told(name: str) -> str:
        said = people[name].api.xcom(DAG, runs[name], "await_jobs", PROGRESS)
        return said["text"] if said else ""

    runs = {"frank": start("frank")}
    wait_for(lambda: look()["frank"] == limit)
    wait_for(lambda: "waiting for a place at the facility" in told("frank"))
    runs["sofia"] = start("sofia")
    wait_for(lambda: (now := look())["sofia"] >= 2 and now["frank"] > 0)
    wait_for(lambda: look() and all(sum(c.values()) == JOBS for c in seen[-1].values()))
    assert {people[name].end(DAG, run) for name, run in runs.items()} == {"success"}
    assert max(sum(c[JobState.QUEUED] + c[JobState.RUNNING] for c in one.values()) for one in seen) <= limit
    look()
    assert [*seen[-1].values()] == [{JobState.DONE: JOBS}] * 2
    assert "wait for places at" in people["frank"].told(DAG, runs["frank"], "submit_jobs")
