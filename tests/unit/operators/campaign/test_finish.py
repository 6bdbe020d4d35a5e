from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from airflow.sdk import TaskInstanceState
from airflow.sdk.exceptions import AirflowFailException

from esap_batch.carousel import Outcome
from esap_batch.jobs import JobState
from esap_batch.use_cases import cta_reprocessing
from operators.campaign.finish import CleanUpCampaign, ReportCampaign
from operators.campaign.reserve import ledger
from operators.submission import SUBMITTING
from tests.unit.operators.campaign.conftest import Tasks
from tests.unit.operators.campaign.world import RUN, World, observations

LEDGER = "user/alice/2026-11"
PLAN = {"dry_run": False, "todo": 4}


def clean_up(tasks: Tasks, plan: Any = PLAN, reserved: Any = None, done: Any = None) -> None:
    tasks.ti.xcoms = {
        "request": tasks.world.steering, "facility": {"facility": "lapalma"}, "search": plan,
        "reserve": reserved, "process": done,
    }  # fmt: skip
    tasks.ti.states = {"process": TaskInstanceState.SUCCESS if done else TaskInstanceState.FAILED}
    CleanUpCampaign(
        task_id="clean_up", steering="request", facility="facility", search="search", reserve="reserve",
        process="process", use_case=cta_reprocessing,
    ).execute(tasks.context)  # fmt: skip


def under_way(tasks: Tasks) -> World:
    """Give a campaign of which two jobs run and one recall is under way, with 400 bytes reserved."""
    world = tasks.world = World({"window_gb": 3e-7})
    world.plan(observations(4))
    world.turn()
    world.recall_some(2)
    world.turn()
    world.lake.append(LEDGER, f"/ctao/esap/budget/{LEDGER}/000001", RUN, 400)
    return world


def work_files(world: World) -> list[str]:
    return [p for p in world.storage.files if world.worker().tag in p]


def test_a_cancelled_run_leaves_no_job_no_recall_and_no_budget_taken(tasks: Tasks) -> None:
    world = under_way(tasks)
    assert world.backend.alive
    for _ in range(2):
        clean_up(tasks, reserved={"bytes": 400})
    assert world.backend.alive == []
    assert world.lake.rules == {}
    lake: Any = world.lake
    assert [(e.run, e.size) for e in ledger(lake, LEDGER)] == [(RUN, 300)]
    world.reap()
    assert world.occupied == 0


def test_a_turn_that_is_under_way_is_waited_for(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    world = under_way(tasks)
    mark = f"{world.worker().area}/{SUBMITTING}"
    world.storage.mark(mark)

    def end_turn(_seconds: float) -> None:
        before = len(world.backend.alive)
        world.recall_some()
        world.turn()
        assert len(world.backend.alive) > before
        world.storage.delete([mark])

    monkeypatch.setattr("operators.submission.time.sleep", end_turn)
    clean_up(tasks, reserved={"bytes": 400})
    assert world.backend.alive == []
    assert world.lake.rules == {}


def test_jobs_that_were_being_started_while_they_were_killed_are_killed_too(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = under_way(tasks)
    ((running, job), *_) = world.backend.alive
    late, cancel = [replace(job, attempt=2)], world.backend.cancel

    def cancel_too_early(group: str) -> int:
        killed = cancel(group)
        if group == running:
            world.backend.known[group] += late
            late.clear()
        return killed

    monkeypatch.setattr(world.backend, "cancel", cancel_too_early)
    clean_up(tasks, reserved={"bytes": 400})
    assert late == []
    assert world.backend.alive == []


def test_the_documents_stay_until_everything_is_done(tasks: Tasks) -> None:
    world = under_way(tasks)
    clean_up(tasks)
    clean_up(tasks, done={"failed": 1})
    assert work_files(world)
    world.finish()
    clean_up(tasks, done={"failed": 0})
    assert work_files(world) == []


def test_a_run_that_is_cleaned_up_can_be_taken_up_again(tasks: Tasks) -> None:
    world = under_way(tasks)
    clean_up(tasks, reserved={"bytes": 400})
    world.reap()
    world.lake.rules.clear()
    assert world.finish().is_over
    assert sum(world.tally().observations.values()) == 4


def test_what_jobs_had_done_when_the_run_was_ended_is_not_done_again(tasks: Tasks) -> None:
    world = under_way(tasks)
    world.run_some(1)
    (done,) = (
        a
        for _, a in ((g, a) for g, known in world.backend.known.items() for a in known)
        if a.state is JobState.DONE
    )
    for _ in range(2):
        clean_up(tasks, reserved={"bytes": 400})
        world.backend.written.pop(done.job_id, None)  # it went with the sandbox
    world.reap()
    world.finish()
    items = world.items()
    assert [(items[n].outcome, items[n].attempt) for n in (1, 2)] == [(Outcome.DONE, 1), (Outcome.DONE, 2)]


def test_transient_products_of_jobs_that_were_killed_are_deleted(tasks: Tasks) -> None:
    world = under_way(tasks)
    world.run_some(1)
    assert [p for p in world.storage.files if "/dl2_" in p]
    clean_up(tasks)
    assert not [p for p in world.storage.files if "/dl2_" in p]


def test_a_dry_run_leaves_nothing(tasks: Tasks) -> None:
    tasks.world.plan(observations(1))
    clean_up(tasks, plan={"dry_run": True, "todo": 1})
    assert work_files(tasks.world) == []


def test_nothing_was_planned_so_nothing_is_cleaned_up(tasks: Tasks) -> None:
    clean_up(tasks, plan=None)
    assert tasks.world.calls == []


def report(tasks: Tasks, states: dict[str, str], **xcoms: Any) -> dict[str, Any]:
    tasks.ti.states, tasks.ti.xcoms = states, xcoms
    return ReportCampaign(task_id="end", search="search", process="process").execute(tasks.context)


@pytest.mark.parametrize(
    ("plan", "done", "outcome"),
    [
        (PLAN, {"done": 4, "failed": 0}, "published"),
        ({"dry_run": True, "todo": 4}, None, "listed"),
        ({"dry_run": False, "todo": 0}, None, "nothing to do"),
    ],
)
def test_a_run_that_has_done_its_work_says_what_came_of_it(
    tasks: Tasks, plan: dict[str, Any], done: Any, outcome: str
) -> None:
    state = TaskInstanceState.SUCCESS if done else TaskInstanceState.SKIPPED
    told = report(tasks, {"process": state}, search=plan, process=done)
    assert told == {"outcome": outcome, **(done or plan)}


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ({"process": "failed", "search": "success"}, "see the log of process"),
        ({"process": "upstream_failed", "reserve": "failed"}, "see the log of reserve"),
        ({"process": "removed"}, "The run was cancelled. What was published until then stays"),
    ],
)
def test_a_run_that_has_not_fails_and_says_where_to_look(
    tasks: Tasks, states: dict[str, str], message: str
) -> None:
    with pytest.raises(AirflowFailException, match=message):
        report(tasks, states, search=PLAN, process={"done": 1, "failed": 0})
