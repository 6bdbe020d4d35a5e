from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred

from esap_batch.jobs import JobState
from sensors import jobs as module
from sensors.jobs import AwaitJobs
from tests.unit.conftest import DATASET, GROUP, FakePlaces, World
from triggers.jobs import JobsEnded

ENDED = {"status": "ended"}


def task(submission: Any, **settings: Any) -> AwaitJobs:
    return AwaitJobs(task_id="await_jobs", submission=submission, **settings)


def begin_or_go_on(await_jobs: AwaitJobs, world: World, limit: int | None) -> Any:
    context = world.context()
    return await_jobs.execute(context) if limit is None else await_jobs.resume(context, ENDED, limit)


def deferred(await_jobs: AwaitJobs, world: World, limit: int | None = None) -> Any:
    """Let a task run until it waits; with `limit` it goes on after a trigger instead of beginning."""
    with pytest.raises(TaskDeferred) as wait:
        begin_or_go_on(await_jobs, world, limit)
    assert wait.value.method_name == "resume"
    assert wait.value.kwargs is not None
    return wait.value


def submitted(world: World) -> list[str]:
    return [e for e in world.events if e.startswith("submit")]


def test_while_jobs_run_it_waits_in_the_triggerer(world: World) -> None:
    submission = world.submission(2)
    world.done(0)
    wait = deferred(task(submission, patience=7), world)
    assert isinstance(wait.trigger, JobsEnded)
    assert wait.trigger.serialize()[1] == {
        "ref": {"type": "dirac", "connection": "dirac_local", "user": "alice", "owner": "alice"},
        "group": GROUP,
        "total": 2,
        "patience": 7,
        "places": None,
        "facility": "lapalma",
        "waiting": 0,
    }
    assert wait.kwargs == {"limit": 3}
    assert world.events == ["put out_0.json"]


def test_a_finished_batch_gives_a_manifest_beside_its_journal(world: World) -> None:
    submission = world.submission(2)
    world.done(1)
    world.done(0)
    given = task(submission).execute(world.context())
    assert world.ti.pushed["progress"] == {"text": "jobs 2 of 2 done", "done": 2, "of": 2, "failed": 0}
    reference = given.pop("manifest")
    where = {"facility": "lapalma", "storage_rse": "LAPALMA-DISK"}
    assert given == {"group": GROUP, **where, "done": 2, "failed": 0}
    manifest = json.loads(world.path(reference["lfn"]).read_text())
    assert [f["lfn"] for f in manifest["files"]] == [f"{DATASET}/out_0.json", f"{DATASET}/out_1.json"]
    assert manifest["activity"]["step"] == "submit_jobs"
    assert manifest["activity"]["started"] == "2026-11-21T06:00:00Z"


def test_only_the_jobs_that_failed_are_submitted_again_and_waited_for(world: World) -> None:
    submission = world.submission(3)
    world.done(0)
    world.fail(1)
    world.done(2)
    wait = deferred(task(submission), world, limit=3)
    assert submitted(world) == ["submit 1:2"]
    assert wait.kwargs == {"limit": 3}
    world.done(1, attempt=2)
    given = task(submission).resume(world.context(), ENDED, 3)
    assert (given["done"], given["failed"]) == (3, 0)
    assert submitted(world) == ["submit 1:2"]


def test_a_job_that_the_back_end_does_not_know_is_submitted(world: World) -> None:
    submission = world.submission(2)
    world.done(0)
    del world.backend.known[GROUP][1]
    deferred(task(submission), world, limit=3)
    assert submitted(world) == ["submit 1:1"]


@pytest.mark.parametrize("state", [JobState.CANCELLED, JobState.LOST, JobState.FAILED, JobState.DONE])
def test_a_job_that_ended_without_a_report_is_tried_again(world: World, state: JobState) -> None:
    submission = world.submission(1)
    world.end_silently(0, 1, state)
    deferred(task(submission), world, limit=3)
    assert submitted(world) == ["submit 0:2"]


def test_a_job_that_ended_well_counts_only_with_its_report(world: World) -> None:
    submission = world.submission(1)
    world.done(0)
    del world.backend.written["0-1"]
    deferred(task(submission), world)
    assert submitted(world) == ["submit 0:2"]


def test_it_gives_up_for_good_naming_job_reason_and_what_to_do(world: World) -> None:
    submission = world.submission(2)
    world.done(0)
    for attempt in (1, 2, 3):
        world.fail(1, attempt, "PAYLOAD_FAILED")
    with pytest.raises(AirflowFailException) as failure:
        task(submission).resume(world.context(), ENDED, 3)
    text = str(failure.value)
    assert text.startswith("1 of 2 jobs failed for good at La Palma on-site computing")
    assert (
        "job 1 (attempt 3, id 1-3): DIAGNOSIS PAYLOAD_FAILED: it broke. ACTION read the payload's log" in text
    )
    assert submitted(world) == []


def test_what_another_try_cannot_mend_is_not_tried_again(world: World) -> None:
    submission = world.submission(1)
    world.fail(0, reason="BAD_DESCRIPTION")
    with pytest.raises(AirflowFailException, match="BAD_DESCRIPTION"):
        task(submission).execute(world.context())
    assert submitted(world) == []


def test_what_one_node_may_lack_is_tried_once_more(world: World) -> None:
    submission = world.submission(1)
    world.fail(0, reason="SOFTWARE_MISSING")
    wait = deferred(task(submission), world)
    assert submitted(world) == ["submit 0:2"]
    world.fail(0, 2, reason="SOFTWARE_MISSING")
    with pytest.raises(AirflowFailException, match="choose a facility that has the software"):
        task(submission).resume(world.context(), ENDED, wait.kwargs["limit"])


def test_jobs_of_an_earlier_try_that_had_more_of_them_do_not_count(world: World) -> None:
    world.submission(3)
    for index in range(3):
        world.done(index)
    fewer = world.submission(2)
    given = task(fewer).execute(world.context())
    assert (given["done"], given["failed"]) == (2, 0)


def test_many_failures_are_summed_up(world: World) -> None:
    submission = world.submission(5)
    for index in range(5):
        world.fail(index, reason="BAD_DESCRIPTION")
    with pytest.raises(AirflowFailException, match=r"5 of 5 jobs .* \(and 2 more, see the log\)$"):
        task(submission).execute(world.context())


def test_a_share_of_jobs_may_fail(world: World) -> None:
    submission = world.submission(2, allowed_failures=1)
    world.done(0)
    world.fail(1, reason="BAD_DESCRIPTION")
    given = task(submission).execute(world.context())
    assert (given["done"], given["failed"]) == (1, 1)
    manifest = json.loads(world.path(given["manifest"]["lfn"]).read_text())
    assert [len(manifest["files"]), len(manifest["failed"])] == [1, 1]
    (missing,) = manifest["missing"]
    assert missing == {
        "job": 1,
        "files": [f"{DATASET}/out_1.json"],
        "diagnosis": "BAD_DESCRIPTION",
        "message": "it broke.",
        "action": "this is a fault of the workflow: tell its maintainers",
    }


def test_without_any_finished_job_nothing_was_made_whatever_is_allowed(world: World) -> None:
    submission = world.submission(2, allowed_failures=2)
    for index in range(2):
        world.fail(index, reason="BAD_DESCRIPTION")
    with pytest.raises(AirflowFailException, match="so nothing was made: job 0"):
        task(submission).execute(world.context())


def cleared(world: World) -> None:
    """Let the next start of the task be one that a user has asked for."""
    world.ti.try_number = 2


def test_the_number_of_attempts_does_not_depend_on_how_fast_the_first_one_fails(world: World) -> None:
    submission = world.submission(1)
    world.fail(0)
    assert deferred(task(submission), world).kwargs == {"limit": 3}


def test_a_clear_grants_as_many_attempts_again(world: World) -> None:
    submission = world.submission(1)
    for attempt in (1, 2, 3):
        world.fail(0, attempt)
    cleared(world)
    wait = deferred(task(submission), world)
    assert submitted(world) == ["submit 0:4"]
    assert wait.kwargs == {"limit": 6}


def test_a_lost_output_makes_a_job_of_a_done_one(world: World) -> None:
    submission = world.submission(2)
    world.done(0)
    world.done(1)
    world.path(f"{DATASET}/out_1.json").unlink()
    deferred(task(submission), world)
    assert submitted(world) == ["submit 1:2"]


def test_an_output_that_is_lost_every_time_fails_for_good(world: World) -> None:
    submission = world.submission(1)
    for attempt in (1, 2, 3):
        world.done(0, attempt)
    world.path(f"{DATASET}/out_0.json").unlink()
    with pytest.raises(AirflowFailException, match=r"OUTPUT_LOST: .*out_0\.json is not there"):
        task(submission).resume(world.context(), ENDED, 3)


def test_an_invalid_intermediate_output_is_made_again(world: World) -> None:
    submission = world.submission(2)
    world.done(0)
    world.done(1, verdict="invalid")
    deferred(task(submission, require_valid=True), world)
    assert submitted(world) == ["submit 1:2"]


def test_an_intermediate_output_that_stays_invalid_fails_for_good(world: World) -> None:
    submission = world.submission(1)
    for attempt in (1, 2, 3):
        world.done(0, attempt, verdict="invalid")
    with pytest.raises(AirflowFailException, match=r"OUTPUT_INVALID: the validator refuses out_0\.json"):
        task(submission, require_valid=True).resume(world.context(), ENDED, 3)


def test_an_invalid_product_is_left_to_the_verification(world: World) -> None:
    submission = world.submission(1)
    world.done(0, verdict="invalid")
    assert task(submission).execute(world.context())["done"] == 1
    assert submitted(world) == []


@pytest.mark.parametrize("fault", ["lost", "invalid"])
def test_a_clear_grants_attempts_to_jobs_whose_outputs_were_bad_too(world: World, fault: str) -> None:
    submission = world.submission(1)
    for attempt in (1, 2, 3):
        world.done(0, attempt, verdict="valid" if fault == "lost" else "invalid")
    if fault == "lost":
        world.path(f"{DATASET}/out_0.json").unlink()
    cleared(world)
    deferred(task(submission, require_valid=True), world)
    assert submitted(world) == ["submit 0:4"]


def limits(memory_mb: int) -> Any:
    return {"wall_time_s": 3600, "memory_mb": memory_mb, "disk_mb": 2000}


def test_a_job_that_ran_out_of_memory_gets_more_and_no_other_job_does(world: World) -> None:
    submission = world.submission(3)
    world.fail(0, reason="MEMORY_LIMIT", limits=limits(500))
    world.fail(1, limits=limits(500))
    world.done(2)
    deferred(task(submission), world, limit=3)
    given = {job.index: job.limits.memory_mb for job in world.backend.batches[-1].jobs}
    assert given == {0: 1000, 1: 500, 2: 2000}
    assert world.site().batch(submission).jobs[0].limits.memory_mb == 2000, "the journal stays"


def test_a_try_that_broke_off_before_it_submitted_raises_the_limit_once(world: World) -> None:
    submission = world.submission(1)
    world.fail(0, reason="MEMORY_LIMIT", limits=limits(500))
    for _ in range(2):
        deferred(task(submission), world, limit=3)
        world.backend.known[GROUP] = world.backend.known[GROUP][:1]
    assert [b.jobs[0].limits.memory_mb for b in world.backend.batches[1:]] == [1000, 1000]


def test_a_raised_limit_is_not_lost_when_the_next_attempt_is_killed(world: World) -> None:
    submission = world.submission(1)
    world.fail(0, reason="MEMORY_LIMIT", limits=limits(500))
    world.fail(0, 2, reason="PAYLOAD_FAILED", limits=limits(1000))
    world.end_silently(0, 3, JobState.CANCELLED)
    deferred(task(submission), world, limit=4)
    assert world.backend.batches[-1].jobs[0].limits.memory_mb == 1000


def test_a_job_that_had_all_the_facility_gives_has_failed_for_good(world: World) -> None:
    submission = world.submission(1)
    world.fail(0, reason="MEMORY_LIMIT", limits=limits(2000))
    with pytest.raises(AirflowFailException, match="2000 MB of memory is the most that La Palma"):
        task(submission).resume(world.context(), ENDED, 3)
    assert submitted(world) == []


def test_finished_jobs_stay_finished_when_their_sandboxes_are_gone(world: World) -> None:
    submission = world.submission(3)
    world.done(0)
    world.done(2)
    for attempt in (1, 2, 3):
        world.fail(1, attempt, "MEMORY_LIMIT", limits(500))
    with pytest.raises(AirflowFailException):
        task(submission).resume(world.context(), ENDED, 3)
    world.forget()
    cleared(world)
    deferred(task(submission), world)
    assert submitted(world) == ["submit 1:4"]
    assert world.backend.batches[-1].jobs[1].limits.memory_mb == 1000
    world.done(1, attempt=4)
    assert task(submission).resume(world.context(), ENDED, 6)["done"] == 3


def test_finished_jobs_stay_finished_when_the_back_end_has_forgotten_them(world: World) -> None:
    submission = world.submission(2)
    world.done(0)
    world.fail(1, reason="BAD_DESCRIPTION")
    with pytest.raises(AirflowFailException):
        task(submission).execute(world.context())
    world.forget()
    world.backend.known[GROUP].clear()
    cleared(world)
    deferred(task(submission), world)
    assert submitted(world) == ["submit 1:1"]


def test_a_user_who_clears_gets_another_go_also_where_trying_again_did_not_help(world: World) -> None:
    submission = world.submission(1)
    world.fail(0, reason="BAD_DESCRIPTION")
    cleared(world)
    wait = deferred(task(submission), world)
    assert submitted(world) == ["submit 0:2"]
    world.fail(0, 2, reason="BAD_DESCRIPTION")
    with pytest.raises(AirflowFailException, match="attempt 2"):
        task(submission).resume(world.context(), ENDED, wait.kwargs["limit"])


def test_a_job_that_was_another_when_it_ran_is_repeated(world: World) -> None:
    submission = world.submission(2)
    world.done(0)
    world.done(1)
    world.backend.written["1-1"]["digest"] = "of other inputs, software or settings"
    deferred(task(submission), world)
    assert submitted(world) == ["submit 1:2"]


def test_a_job_of_the_version_before_is_known_by_its_inputs(world: World) -> None:
    submission = world.submission(2)
    world.done(0)
    world.done(1)
    del world.backend.written["0-1"]["digest"]
    world.backend.written["1-1"] |= {"digest": "", "inputs": [{"lfn": "/ctao/x", "adler32": "00000001"}]}
    deferred(task(submission), world)
    assert submitted(world) == ["submit 1:2"]


def test_after_a_change_of_the_software_every_finished_job_is_repeated(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.submission(2)
    world.done(0)
    world.done(1)
    monkeypatch.setattr("tests.unit.conftest.SOFTWARE", [{"name": "esap-noop", "version": "0.2.0"}])
    submission = world.submission(2)
    deferred(task(submission), world)
    assert submitted(world) == ["submit 0:2,1:2"]


def test_a_back_end_that_stays_silent_is_worth_another_try(world: World) -> None:
    submission = world.submission(1)
    event = {"status": "silent", "message": "DiracX does not answer"}
    with pytest.raises(AirflowException, match="DiracX does not answer") as failure:
        task(submission).resume(world.context(), event, 3)
    assert not isinstance(failure.value, AirflowFailException)


def test_a_batch_whose_journal_is_gone_is_never_guessed(world: World) -> None:
    submission = world.submission(1)
    world.done(0)
    world.path(submission["journal"]["lfn"]).unlink()
    with pytest.raises(AirflowFailException, match="clear the submitting task"):
        task(submission).execute(world.context())


def test_jobs_get_places_as_others_end(world: World, places: FakePlaces) -> None:
    submission = world.submission(4)
    world.backend.known[GROUP] = world.backend.known[GROUP][:2]
    places.given = [1]
    wait = deferred(task(submission), world)
    assert world.events == ["places at lapalma for alice of ctao: 2 + 2", "submit 2:1"]
    arguments = wait.trigger.serialize()[1]
    assert arguments["waiting"] == 1
    assert arguments["places"] == {"facility": "lapalma", "experiment": "ctao", "user": "alice"}
    for index in range(3):
        world.done(index)
    world.events.clear()
    with pytest.raises(TaskDeferred) as again:
        task(submission).resume(world.context(), {"status": "places"}, 3)
    assert world.events == ["places at lapalma for alice of ctao: 0 + 1", "submit 3:1"]
    assert again.value.trigger.serialize()[1]["waiting"] == 0
    world.done(3)
    assert task(submission).resume(world.context(), ENDED, 3)["done"] == 4


def test_without_a_place_nothing_is_given_up(world: World, places: FakePlaces) -> None:
    submission = world.submission(2)
    world.backend.known.clear()
    places.given = [0]
    wait = deferred(task(submission), world)
    assert submitted(world) == []
    assert wait.trigger.serialize()[1]["waiting"] == 2


def test_jobs_are_tried_again_beside_those_that_run(world: World, places: FakePlaces) -> None:
    submission = world.submission(4)
    for index in range(3):
        world.fail(index)
    world.events.clear()
    places.given = [2]
    with pytest.raises(TaskDeferred) as wait:
        task(submission).resume(world.context(), {"status": "places"}, 3)
    asked = "places at lapalma for alice of ctao: 1 + 3"
    assert world.events == ["put reports.json", asked, "submit 0:2,1:2"]
    assert wait.value.trigger.serialize()[1]["waiting"] == 1


def test_a_report_is_fetched_once_however_often_there_are_places(world: World, places: FakePlaces) -> None:
    submission = world.submission(3)
    world.done(0)
    fetched: list[Any] = []
    fetch = world.backend.reports
    world.backend.reports = lambda attempts: fetched.extend(attempts) or fetch(attempts)  # type: ignore[method-assign,func-returns-value]
    for turn in range(2):
        if turn:
            world.done(1)
        places.given = [0]
        with pytest.raises(TaskDeferred):
            task(submission).resume(world.context(), {"status": "places"}, 3)
    assert [a.index for a in fetched] == [0, 1]


def test_a_job_that_is_tried_again_needs_a_place_too(world: World, places: FakePlaces) -> None:
    submission = world.submission(3)
    for index in range(3):
        world.fail(index)
    places.given = [2]
    wait = deferred(task(submission), world, limit=3)
    assert submitted(world) == ["submit 0:2,1:2"]
    assert wait.trigger.serialize()[1]["waiting"] == 1


def test_inputs_are_kept_for_as_long_as_jobs_may_need_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that has ended has let them go in a day, and is cleared then."""
    asked: list[Any] = []

    def hold(_lake: Any, staged: Any) -> list[str]:
        asked.append(staged)
        return []

    monkeypatch.setattr(module, "hold_inputs", hold)
    staged = [{"dataset": "/ctao/esap/work/g/inputs", "rule": "rule-1", "lifetime_s": 60}]
    deferred(task({**world.submission(1), "staged": staged}), world)
    assert asked == [staged]
