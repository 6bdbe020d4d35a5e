"""Campaigns: budgets, faults of the tape, services killed in mid-flight, held and resumed."""

from __future__ import annotations

import itertools
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from esap_batch.budget import entry_lfn, user_budget
from esap_batch.jobs import group_name
from hooks.dirac_wms import DiracWms
from hooks.lake_bulk import BulkLake
from hooks.rucio_lake import RucioLake
from hooks.settings import config_dir
from localgrid.grid import Grid
from localgrid.samples.blank import fill_blank
from tests.e2e.conftest import Runs

DAG, CAMPAIGN = "cta_reprocessing", "campaign_crab_2026"
PROCESS = "process_observations"
FILES, SIZE = 4, 1000
numbers = itertools.count(200_000, 1000)


@pytest.fixture
def tape(grid: Grid) -> Iterator[Any]:
    """Control the tape stand-in; faults end with the test."""

    def control(**values: Any) -> None:
        httpx.put(f"{grid.info['fts']['url']}/_control", json=values).raise_for_status()

    control(stage_delay=0)
    yield control
    control(stage_delay=1, hold=False, fail={})


@pytest.fixture
def project(lake: RucioLake, tmp_path: Path) -> Any:
    """Put observations of a new project on tape; give request fields that select them."""

    def fill(count: int) -> dict[str, Any]:
        first, name = next(numbers), f"PI-{uuid.uuid4().hex[:8]}"
        fill_blank(lake, tmp_path, project=name, first=first, count=count, files=FILES, size=SIZE)
        return {"project": name, "obs_ids": f"{first}-{first + count - 1}", "processor": "esap-noop"}

    return fill


def published(lake: RucioLake, project: str) -> list[int]:
    bulk = BulkLake(lake)
    found = bulk.metadata(bulk.find("dl3", [{"project": project, "kind": "observation"}]))
    return sorted(int(m["obs_id"]) for name, m in found.items() if lake.is_published(name))


def attempts(dirac: DiracWms, run: str, blocks: int = 1) -> Counter[tuple[int, int, int]]:
    """Count submissions by block, job and attempt."""
    groups = [group_name(DAG, run, f"campaign block {n}") for n in range(blocks)]
    return Counter((n, *a.key) for n, g in enumerate(groups) for a in dirac.submissions(g))


def taken(lake: RucioLake, user: str) -> int:
    bulk, month = BulkLake(lake), datetime.now(UTC).strftime("%Y-%m")
    names = bulk.find("esap", [{"esap_ledger": f"user/{user}/{month}"}])
    return sum(int(m["esap_bytes"]) for m in bulk.metadata(names).values())


@pytest.fixture
def leave_in_budget(lake: RucioLake) -> Iterator[Any]:
    """Let another run take all but some bytes of a user's month, for this test; give the limit."""
    bulk, made = BulkLake(lake), []

    def leave(user: str, size: int) -> int:
        month = datetime.now(UTC).strftime("%Y-%m")
        budget = user_budget(config_dir() / "budgets.yaml", user, month)
        number = len(bulk.find("esap", [{"esap_ledger": budget.account}])) + 1
        made.append(entry_lfn(budget.account, number))
        rest = budget.limit - taken(lake, user) - size
        assert bulk.append(budget.account, made[-1], "test/another run", rest)
        return budget.limit

    yield leave
    bulk.describe({lfn: {"esap_bytes": 0} for lfn in made})


def test_two_runs_cannot_both_take_the_last_bytes_and_another_user_has_budget_of_their_own(
    alice: Runs, users: Any, lake: RucioLake, project: Any, leave_in_budget: Any, tape: Any
) -> None:
    bob = users("bob")
    first, second, others = project(3), project(3), project(3)
    volume = 3 * FILES * SIZE
    limit = leave_in_budget("bob", volume + volume // 2)
    runs = [bob.start(DAG, **first), bob.start(DAG, **second)]
    free = alice.start(DAG, **others)
    ends = {run: bob.end(DAG, run) for run in runs}
    assert sorted(ends.values()) == ["failed", "success"]
    refused = next(run for run, state in ends.items() if state == "failed")
    assert "over the budget of user bob" in bob.told(DAG, refused, "reserve_recall")
    assert bob.task_state(DAG, refused, PROCESS) == "upstream_failed"
    assert len(published(lake, first["project"])) + len(published(lake, second["project"])) == 3
    assert taken(lake, "bob") <= limit
    assert alice.end(DAG, free) == "success"
    assert len(published(lake, others["project"])) == 3


def test_two_users_who_want_the_same_observations_share_the_work(
    alice: Runs, users: Any, lake: RucioLake, project: Any, tape: Any
) -> None:
    same = project(6)
    tape(hold=True)  # neither ends before the other has begun
    runs = [(user, user.start(DAG, **same, facility="lapalma")) for user in (alice, users("bob"))]
    for user, run in runs:
        user.wait_for(lambda u=user, r=run: u.task_state(DAG, r, PROCESS) in ("deferred", "success")
                      or u.task_state(DAG, r, "report_end") == "success")  # fmt: skip
    tape(hold=False)
    assert [user.end(DAG, run) for user, run in runs] == ["success", "success"]
    ends = [user.api.xcom(DAG, run, "report_end") for user, run in runs]
    assert sum(end.get("done", 0) for end in ends) == 6
    assert len(published(lake, same["project"])) == 6


def test_a_fault_on_one_percent_of_the_files_and_a_killed_scheduler(
    grid: Grid, alice: Runs, lake: RucioLake, dirac: DiracWms, project: Any, tape: Any, wait_for: Any
) -> None:
    """100 files: one does not come; the rest is done once, and the next run does what was missing."""
    asked = project(25)
    first = int(asked["obs_ids"].split("-")[0])
    broken = f"obs_{first + 7:06d}_tel001_02"
    tape(fail={broken: "the tape is torn"})
    run = alice.start(
        DAG, **asked, allowed_failure_fraction=0.05, max_running=8, window_gb=12 * FILES * SIZE / 1e9
    )
    wait_for(lambda: len(published(lake, asked["project"])) >= 3)
    grid.kill("airflow-scheduler")
    grid.start("airflow-scheduler")
    assert alice.end(DAG, run, within=600) == "success"
    end = alice.api.xcom(DAG, run, "report_end")
    assert (end["done"], end["failed"], end["failures"]) == (24, 1, {"TAPE_STUCK": 1})
    told = alice.told(DAG, run, PROCESS)
    assert broken in told
    assert "the tape is torn" in told
    everything = set(range(first, first + 25))
    assert set(published(lake, asked["project"])) == everything - {first + 7}
    assert set(attempts(dirac, run).values()) == {1}
    assert len(attempts(dirac, run)) == 24
    tape(fail={})
    second = alice.start(DAG, **asked)
    assert alice.end(DAG, second) == "success"
    again = alice.api.xcom(DAG, second, "report_end")
    assert again["done"] == 1
    assert set(published(lake, asked["project"])) == everything


def test_an_observation_goes_on_without_a_file_where_that_is_allowed(
    alice: Runs, lake: RucioLake, project: Any, tape: Any
) -> None:
    asked = project(1)
    number = int(asked["obs_ids"].split("-")[0])
    tape(fail={f"obs_{number:06d}_tel001_03": "worn out"})
    run = alice.start(DAG, **asked, missing_fraction=0.25)
    assert alice.end(DAG, run, within=420) == "success"
    bulk = BulkLake(lake)
    (about,) = bulk.metadata(
        bulk.find("dl3", [{"project": asked["project"], "kind": "observation"}])
    ).values()
    assert (about["esap_missing_files"], about["esap_complete"], about["esap_parent_files"]) == (1, False, 3)


def test_too_many_failures_hold_the_campaign_until_somebody_lets_it_go_on(
    grid: Grid, alice: Runs, lake: RucioLake, project: Any, tape: Any, wait_for: Any
) -> None:
    asked = project(5)
    first = int(asked["obs_ids"].split("-")[0])
    tape(fail={f"obs_{first + n:06d}_tel001_00": "drive 3 is broken" for n in (0, 1, 2)})
    run = alice.start(DAG, **asked, hold_after=3)
    wait_for(lambda: alice.task_state(DAG, run, PROCESS) == "awaiting_input", within=300)
    log = grid.layout.log("airflow-scheduler")
    wait_for(lambda: any(run in x and "state=awaiting_input" in x for x in log.read_text().splitlines()))
    path = f"/dags/{DAG}/dagRuns/{run}/taskInstances/{PROCESS}/-1/hitlDetails"
    question = alice.api.get(path)
    assert "3 observations have failed with TAPE_STUCK" in question["body"]
    assert "drive 3 is broken" in question["body"]
    assert "HELD" in alice.api.xcom(DAG, run, PROCESS, "progress")["text"]
    tape(fail={})
    answer = alice.api.call("PATCH", path, json={"chosen_options": ["Go on"], "params_input": {}})
    assert answer.status_code == 200
    assert alice.end(DAG, run, within=420) == "success"
    assert published(lake, asked["project"]) == list(range(first, first + 5))


def test_a_run_that_is_ended_while_it_recalls_and_submits_leaves_nothing(
    alice: Runs, lake: RucioLake, dirac: DiracWms, project: Any, tape: Any, wait_for: Any
) -> None:
    asked = project(40)
    run = alice.start(DAG, **asked, facility="lapalma", max_running=40)
    groups = [group_name(DAG, run, f"campaign block {n}") for n in range(2)]
    wait_for(lambda: any(dirac.attempts(group) for group in groups))
    alice.api.set_state(DAG, run, "failed")
    assert alice.end(DAG, run) == "failed"
    assert alice.task_state(DAG, run, "clean_up") == "success"
    wait_for(lambda: all(a.state.is_terminal for group in groups for a in dirac.attempts(group)))
    assert BulkLake(lake).recalls(group_name(DAG, run, "campaign")) == []


def test_a_paused_campaign_starts_nothing_and_goes_on_when_it_is_resumed(
    alice: Runs, users: Any, lake: RucioLake, project: Any, tape: Any, wait_for: Any
) -> None:
    admin = users("carol")
    asked = project(3)
    tape(hold=True)
    run = alice.start(DAG, **asked)
    wait_for(lambda: alice.task_state(DAG, run, PROCESS) == "deferred")
    admin.api.call("PATCH", f"/dags/{DAG}", json={"is_paused": True}).raise_for_status()
    try:
        tape(hold=False)
        wait_for(lambda: alice.task_state(DAG, run, PROCESS) == "scheduled", within=60)
        assert published(lake, asked["project"]) == []
    finally:
        admin.api.call("PATCH", f"/dags/{DAG}", json={"is_paused": False}).raise_for_status()
    assert alice.end(DAG, run, within=420) == "success"
    assert len(published(lake, asked["project"])) == 3


def test_a_campaign_runs_as_its_owner_and_nobody_else_may_start_it(users: Any) -> None:
    bob, admin = users("bob"), users("carol")
    admin.api.call("PATCH", f"/dags/{CAMPAIGN}", json={"is_paused": False}).raise_for_status()
    try:
        assert bob.api.trigger(CAMPAIGN, {}).status_code == 403
        run = admin.start(CAMPAIGN, dry_run=True)
        assert admin.end(CAMPAIGN, run) == "success"
        assert admin.api.xcom(CAMPAIGN, run, "validate_request")["owner"] == "alice"
        assert admin.api.xcom(CAMPAIGN, run, "report_end")["outcome"] == "listed"
    finally:
        admin.api.call("PATCH", f"/dags/{CAMPAIGN}", json={"is_paused": True}).raise_for_status()
