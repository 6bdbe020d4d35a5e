from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from esap_batch.health import CHECKS, CLOCK, CONNECTION, JOB, SOFTWARE, STORAGE, Check, Health, Outcome
from esap_batch.jobs import Attempt, JobState, group_name
from esap_batch.probe import FOUND
from esap_batch.products import work_lfn
from hooks import facility_health
from hooks.broker import LoginNeeded
from hooks.errors import BackendRefused, BackendUnavailable
from hooks.storage_element import StorageElement
from operators.check_facility import CheckFacility, TellHealth, account_for
from tests.unit.conftest import DAG_ID, RUN_ID, World
from triggers.probe import ProbeEnded

GROUP = group_name(DAG_ID, RUN_ID, "check/lapalma")
ENDED = {"status": "ended"}
SITE = "ESAP.LaPalma.local"
DOWN = BackendUnavailable("DiracX", "http://dirac", "refused")


def task() -> CheckFacility:
    return CheckFacility(task_id="check", facility="lapalma")


def begun(world: World) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as deferral:
        task().execute(world.context(user=None))
    return deferral.value


def judged(world: World, event: dict[str, Any] = ENDED, sent_at: float | None = None) -> Health:
    at = time.time() if sent_at is None else sent_at
    document = task().resume(world.context(user=None), event, "alice", at)
    assert json.loads(json.dumps(document)) == document
    assert world.health["lapalma"] == Health.of(document)
    return world.health["lapalma"]


def ends(world: World, state: JobState, report: dict[str, Any] | None = None) -> None:
    (old,) = world.backend.known[GROUP]
    world.backend.replace(GROUP, old, state)
    if report:
        world.backend.written[old.job_id] = report


def writes(world: World, **found: Any) -> None:
    content = {"time": time.time(), "software": {}, "runtimes": {}, **found}
    lfn = f"{work_lfn(GROUP)}/{FOUND}"
    world.storage.put(world.site().pfns([lfn])[lfn], json.dumps(content).encode())
    ends(world, JobState.DONE, {"reason": "OK"})


def test_a_job_is_sent_by_an_account_of_the_facilitys_own_experiment(world: World) -> None:
    deferral = begun(world)
    (batch,) = world.backend.batches
    assert (batch.group, batch.site, len(batch.jobs)) == (GROUP, SITE, 1)
    assert batch.jobs[0].inputs[0].pfn
    assert batch.jobs[0].outputs[0].pfn == world.site().pfns([batch.jobs[0].outputs[0].lfn]).popitem()[1]
    assert world.opened[0]["user"] == "alice"
    assert isinstance(deferral.trigger, ProbeEnded)
    assert deferral.kwargs is not None
    assert deferral.trigger.until == deferral.kwargs["submitted_at"] + 300


def test_the_batch_is_named_by_what_is_signed_there(world: World) -> None:
    begun(world)
    signed = json.loads(world.path(f"{work_lfn(GROUP)}/run.json").read_text())
    dag_id, _, run_id = signed["run"].partition("/")
    assert group_name(dag_id, run_id, signed["task"]) == GROUP


def test_a_facility_in_order_passes_every_check_and_nothing_is_left_of_it(world: World) -> None:
    begun(world)
    writes(world)
    health = judged(world)
    assert [(c.name, c.outcome) for c in health.checks] == [(name, Outcome.PASSED) for name in CHECKS]
    assert not world.path(work_lfn(GROUP)).exists()
    assert world.events[-1] == f"clean_up {GROUP}"


def test_what_the_job_found_is_told(world: World) -> None:
    sent_at = time.time()
    begun(world)
    writes(world, time=sent_at - 100, software={"esap-fits 0.2.0": "/sw is not there"})
    health = judged(world, sent_at=sent_at)
    assert health.outcome(CLOCK) == Check(CLOCK, Outcome.FAILED, "the worker's is at least 100 s behind")
    assert health.outcome(SOFTWARE).detail == "esap-fits 0.2.0: /sw is not there"
    assert health.lacking == ("esap-fits 0.2.0",)
    assert "software" not in health.fault  # it speaks against those only who need it


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(DOWN, Outcome.FAILED), (LoginNeeded("dirac", "alice", "expired", "http://here"), Outcome.UNKNOWN)],
)
def test_without_an_answer_there_is_no_job(world: World, error: Exception, outcome: Outcome) -> None:
    world.backend.loads = {SITE: error}
    task().execute(world.context(user=None))
    (check,) = world.health["lapalma"].checks
    assert (check.name, check.outcome) == (CONNECTION, outcome)
    assert world.backend.batches == []


def test_a_connection_that_is_not_there_is_a_fault_of_the_connection(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_ref: Any, **_options: Any) -> None:
        raise BackendUnavailable("Airflow", "here", "there is no connection dirac_local")

    monkeypatch.setattr("operators.site.open_backend", missing)
    task().execute(world.context(user=None))
    assert "there is no connection dirac_local" in world.health["lapalma"].fault


def test_storage_that_cannot_be_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(StorageElement, "put", full)
    task().execute(world.context(user=None))
    assert world.health["lapalma"].outcome(STORAGE) == Check(STORAGE, Outcome.FAILED, "no space left")
    assert world.backend.batches == []


def test_a_job_that_cannot_be_sent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: Any) -> None:
        raise DOWN

    monkeypatch.setattr(world.backend, "submit", refuse)
    task().execute(world.context(user=None))
    assert "it cannot be sent: DiracX at http://dirac does not answer" in world.health["lapalma"].fault


def fails(world: World) -> None:
    ends(world, JobState.FAILED, {"reason": "UPLOAD_FAILED", "message": "no."})


def gets_lost(world: World) -> None:
    ends(world, JobState.LOST)


def writes_where_nobody_sees_it(world: World) -> None:
    ends(world, JobState.DONE, {"reason": "OK"})


@pytest.mark.parametrize(
    ("happens", "name", "told"),
    [
        (fails, STORAGE, "UPLOAD_FAILED: no."),
        (gets_lost, JOB, "it left no report: LOST"),
        (writes_where_nobody_sees_it, STORAGE, "this service does not see"),
    ],
)
def test_a_job_that_does_not_end_well(
    world: World, happens: Callable[[World], None], name: str, told: str
) -> None:
    begun(world)
    happens(world)
    check = judged(world).outcome(name)
    assert check.outcome is Outcome.FAILED
    assert told in check.detail


def test_a_job_that_waits_says_only_that_the_facility_is_full_and_is_taken_back(world: World) -> None:
    begun(world)
    health = judged(world, {"status": "waits", "message": "it still waits or runs"})
    assert (health.fault, health.outcome(JOB).outcome) == ("", Outcome.UNKNOWN)
    assert health.outcome(SOFTWARE).outcome is Outcome.UNKNOWN
    assert [a.state for a in world.backend.known[GROUP]] == [JobState.CANCELLED]


def test_a_back_end_that_falls_silent_meanwhile(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(world)
    assert "connection failed (gone)" in judged(world, {"status": "silent", "message": "gone"}).fault

    def silent(_group: str) -> list[Attempt]:
        raise DOWN

    monkeypatch.setattr(world.backend, "attempts", silent)
    assert "connection failed (DiracX at http://dirac does not answer" in judged(world).fault


def test_a_job_that_is_just_being_killed_is_no_fault_of_the_facility(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_group: str) -> None:
        raise BackendRefused("esap_slurm", "host", "some of its jobs have not ended")

    monkeypatch.setattr(world.backend, "clean_up", refuse)
    begun(world)
    health = judged(world, {"status": "waits", "message": "it still waits or runs"})
    assert (health.fault, health.outcome(CONNECTION).outcome) == ("", Outcome.PASSED)
    assert world.path(f"{work_lfn(GROUP)}/run.json").exists()


def test_a_facility_that_nobody_may_test_is_not_known(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {**facility_health.check_settings(), "users": {"ska": "sofia"}}
    monkeypatch.setattr(facility_health, "check_settings", lambda: settings)
    assert (account_for("lapalma"), account_for("escape-local")) == (None, "sofia")
    task().execute(world.context(user=None))
    assert world.health["lapalma"].fault == ""
    assert world.health["lapalma"].outcome(CONNECTION).outcome is Outcome.UNKNOWN


def test_the_table_is_shown_and_a_fault_fails_the_run(world: World) -> None:
    well = Health("a", 0.0, (Check(CONNECTION, Outcome.PASSED),))
    ill = replace(well, facility="b", checks=(Check(CLOCK, Outcome.FAILED, "90 s ahead"),))
    shown = TellHealth(task_id="tell", found=[well.document()]).execute(world.context())
    assert world.ti.pushed["table"] == shown
    with pytest.raises(AirflowFailException, match="out of order: b"):
        TellHealth(task_id="tell", found=[well.document(), ill.document()]).execute(world.context())
    assert "- b: clock failed: 90 s ahead" in world.ti.pushed["table"]
