from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from esap_batch.jobs import JobState, group_name
from hooks.broker import LoginNeeded
from hooks.errors import BackendUnavailable
from operators import orphans as module
from operators import site as site_module
from operators.campaign.reserve import ledger
from operators.orphans import EndOrphans, end_batch
from tests.unit.conftest import DAG_ID, GROUP, RUN, RUN_ID, FakePlaces, World
from tests.unit.operators.campaign.conftest import Tasks, tasks  # noqa: F401 - a fixture
from tests.unit.operators.campaign.test_finish import LEDGER, under_way
from tests.unit.operators.campaign.world import RUN as CAMPAIGN_RUN

SERVICE = "https://batch.example"
GONE, STEP = "hello_world/deleted", "submit_jobs"
ORPHAN, ANOTHER = (group_name("hello_world", "deleted", task) for task in (STEP, "another"))


def run(world: World, *, dry_run: bool = False) -> dict[str, int]:
    told = EndOrphans(task_id="end_orphans").execute(world.context(params={"dry_run": dry_run}))
    assert told["dry_run"] is dry_run
    return dict(told["ended"])


@pytest.fixture(autouse=True)
def service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the service a name, to sign with and to look for."""
    for one in (module, site_module):
        monkeypatch.setattr(one, "service_name", lambda: SERVICE)


@pytest.fixture
def orphan(world: World) -> World:
    """Give a world in which two jobs of a run go on that was deleted, beside a run that is known."""
    world.submission(2)
    world.backend.known[ORPHAN] = world.backend.known.pop(GROUP)
    world.site().sign(ORPHAN, GONE, STEP)
    world.site().sign(group_name(DAG_ID, RUN_ID, STEP), RUN, STEP)
    world.ti.runs = {RUN: "failed"}
    world.events.clear()
    return world


def alive(world: World) -> int:
    return sum(not a.state.is_terminal for a in world.backend.known[ORPHAN])


def test_jobs_of_a_run_that_was_deleted_are_killed(orphan: World) -> None:
    assert run(orphan) == {ORPHAN: 2}
    assert {a.state for a in orphan.backend.known[ORPHAN]} == {JobState.CANCELLED}
    assert orphan.events == [f"cancel {ORPHAN}", f"clean_up {ORPHAN}"]
    assert orphan.opened[-1] == {
        "type": "dirac",
        "connection": "dirac_local",
        "user": "alice",
        "owner": "alice",
        "closing": True,
    }
    assert run(orphan) == {ORPHAN: 0}


def test_places_are_given_back(orphan: World, places: FakePlaces) -> None:
    run(orphan)
    assert orphan.events[-1] == f"give back lapalma {ORPHAN}"


def test_a_dry_run_only_tells(orphan: World) -> None:
    assert run(orphan, dry_run=True) == {ORPHAN: 0}
    assert alive(orphan) == 2
    assert orphan.events == []


@pytest.mark.parametrize("changed", [{"service": "https://other"}, {"facility": "closed-since"}, None])
def test_what_is_not_ours_is_left_alone(orphan: World, changed: dict[str, str] | None) -> None:
    path = orphan.path(f"/ctao/esap/work/{ORPHAN}/run.json")
    if changed:
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    else:
        path.unlink()
    assert run(orphan) == {}
    assert alive(orphan) == 2


def test_a_service_without_a_name_ends_nothing(orphan: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "service_name", lambda: "")
    with pytest.raises(
        AirflowFailException, match=r"\[api\] base_url is not set: what this service has signed"
    ):
        run(orphan)
    assert alive(orphan) == 2


@pytest.mark.parametrize("lacking", ["run", "task", "owner"])
def test_a_signature_that_lacks_something_keeps_no_other_waiting(orphan: World, lacking: str) -> None:
    orphan.site().sign(ANOTHER, GONE, "another")
    path = orphan.path(f"/ctao/esap/work/{ORPHAN}/run.json")
    signed = json.loads(path.read_text())
    del signed[lacking]
    path.write_text(json.dumps(signed))
    assert run(orphan) == {ANOTHER: 0}
    assert alive(orphan) == 2


def test_a_signature_that_nobody_can_read_keeps_no_other_waiting(orphan: World) -> None:
    orphan.site().sign(ANOTHER, GONE, "another")
    orphan.path(f"/ctao/esap/work/{ORPHAN}/run.json").write_text("{")
    assert run(orphan) == {ANOTHER: 0}
    assert alive(orphan) == 2


def test_a_forged_signature_ends_nothing_of_a_run_that_is_known(
    orphan: World,
) -> None:
    known = group_name(DAG_ID, RUN_ID, STEP)
    orphan.site().sign(known, GONE, STEP)
    orphan.events.clear()
    assert run(orphan) == {ORPHAN: 2}
    assert orphan.events == [f"cancel {ORPHAN}", f"clean_up {ORPHAN}"]


def fails(orphan: World, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let one batch fail, and have another one beside it."""
    orphan.site().sign(ANOTHER, GONE, "another")
    cancel = orphan.backend.cancel

    def refuse(group: str) -> int:
        if group == ORPHAN:
            raise error
        return cancel(group)

    monkeypatch.setattr(orphan.backend, "cancel", refuse)


def test_a_facility_that_is_silent_is_asked_again_and_keeps_no_other_waiting(
    orphan: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(orphan, monkeypatch, BackendUnavailable("DiracX", "http://x", "down"))
    with pytest.raises(AirflowException, match=f"batch {ORPHAN}: DiracX at http://x does not answer"):
        run(orphan)
    assert f"cancel {ANOTHER}" in orphan.events


def test_jobs_that_nobody_may_reach_are_left(orphan: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fails(orphan, monkeypatch, LoginNeeded("DiracX", "alice", "it has ended", "http://x"))
    assert run(orphan) == {ANOTHER: 0}


def test_the_jobs_of_a_user_who_is_in_no_group_any_more_are_ended_too(orphan: World) -> None:
    path = orphan.path(f"/ctao/esap/work/{ORPHAN}/run.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"owner": "nobody"}))
    assert run(orphan) == {ORPHAN: 2}
    assert alive(orphan) == 0


def test_a_campaign_loses_jobs_recalls_and_what_it_has_reserved(tasks: Tasks) -> None:  # noqa: F811
    world = under_way(tasks)
    work = world.worker()
    assert world.backend.alive
    for _ in range(2):
        end_batch(work.site, work.tag, CAMPAIGN_RUN)
    assert world.backend.alive == []
    assert world.lake.rules == {}
    lake: Any = world.lake
    assert [(e.run, e.size) for e in ledger(lake, LEDGER)] == [(CAMPAIGN_RUN, 300)]


def test_the_signature_names_the_service(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.site().sign(ORPHAN, RUN, STEP)
    signed = json.loads(world.path(f"/ctao/esap/work/{ORPHAN}/run.json").read_text())
    assert signed == {
        "run": RUN,
        "task": STEP,
        "owner": "alice",
        "service": SERVICE,
        "facility": "lapalma",
        "storage_rse": "LAPALMA-DISK",
    }
    monkeypatch.setattr(module, "service_name", lambda: "https://other.example")
    assert run(world) == {}
