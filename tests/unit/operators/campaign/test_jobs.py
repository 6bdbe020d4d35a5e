from __future__ import annotations

import json
import posixpath
from dataclasses import replace

import pytest

from esap_batch.carousel import Outcome, Phase
from esap_batch.jobs import JobState, group_name
from operators.campaign import jobs
from operators.site import parts_of
from tests.unit.operators.campaign.world import World, observations


@pytest.fixture
def world() -> World:
    """Give a campaign of two observations whose jobs are queued."""
    made = World()
    made.plan(observations(2))
    made.turn()
    made.recall_some()
    made.turn()
    return made


def test_a_job_gets_the_files_of_its_observation_and_where_to_leave_its_own(world: World) -> None:
    (batch,) = world.backend.batches
    assert (batch.site, batch.job_type, len(batch.jobs)) == ("ESAP.LaPalma.local", "DL0_Reprocessing", 2)
    job = batch.jobs[1]
    assert [f.lfn for f in job.inputs] == [f.lfn for f in world.observations[1].files]
    places = [*(f.pfn for f in job.inputs), *(o.pfn for o in job.outputs)]
    assert all(pfn.startswith("file://se/LAPALMA-DISK/ctao/") for pfn in places)


def test_a_job_is_submitted_once_whatever_happens_to_the_worker(world: World) -> None:
    block = world.worker().blocks([0])[0]
    ready = [i for i in block.items if i.phase is Phase.RUNNING]
    again = [
        type(i)(i.index, i.observation, i.product, Phase.READY, rule=i.rule, fresh=i.fresh) for i in ready
    ]
    submitted = jobs.submit(world.worker(), block.replaced(again), again)
    assert [i.attempt for i in submitted.items] == [1, 1]
    assert len(world.backend.specs) == 2


def test_the_work_area_of_transient_products_says_whose_it_is(world: World) -> None:
    """Without that no housekeeping would ever delete it."""
    work, (batch,) = world.worker(), world.backend.batches
    transient = batch.jobs[0].outputs[0].pfn
    area = posixpath.dirname(transient)
    signed = json.loads(world.storage.files[f"{area}/run.json"])
    assert work.use_case.is_transient(batch.jobs[0].outputs[0].lfn)
    assert group_name(*parts_of(signed["run"]), signed["task"]) == batch.group == posixpath.basename(area)


def test_nothing_is_asked_of_the_back_end_for_a_block_without_jobs() -> None:
    world = World()
    (block,) = world.plan(observations(2))
    assert jobs.collect(world.worker(), block, []) == (block, [])
    assert jobs.submit(world.worker(), block, []) == block
    assert world.calls == []


def test_a_job_that_ran_out_of_memory_gets_twice_as_much_then_the_most_there_is_then_fails(
    world: World,
) -> None:
    world.reasons = {1: ["MEMORY_LIMIT"] * 3}
    world.finish()
    group = world.worker().group(0)
    given = [world.backend.specs[group, 0, n].limits.memory_mb for n in (1, 2)]
    assert given == [1000, 2000]
    assert (group, 0, 3) not in world.backend.specs  # it has had all that the facility gives
    failed = world.items()[1]
    assert (failed.outcome, failed.reason, failed.attempt) == (Outcome.FAILED, "MEMORY_LIMIT", 2)
    assert "last words" in failed.message
    assert "ACTION ask for more memory" in failed.message
    assert world.items()[2].outcome is Outcome.DONE


@pytest.mark.parametrize(("reason", "tries"), [("PAYLOAD_FAILED", 3), ("BAD_DESCRIPTION", 1)])
def test_a_job_is_tried_as_often_as_that_can_help(world: World, reason: str, tries: int) -> None:
    world.reasons = {1: [reason] * 5}
    world.finish()
    failed = world.items()[1]
    assert (failed.outcome, failed.reason, failed.attempt) == (Outcome.FAILED, reason, tries)


def test_a_job_that_the_back_end_has_lost_is_submitted_again(world: World) -> None:
    group = world.worker().group(0)
    world.backend.known[group].clear()
    world.finish()
    assert [i.attempt for i in world.items().values()] == [2, 2]
    assert world.tally().observations == {"done": 2}


def test_a_job_without_a_report_is_not_done(world: World) -> None:
    group, attempt = world.backend.alive[0]
    world.backend.replace(group, attempt, JobState.DONE)
    world.finish()
    assert world.items()[1].attempt == 2
    assert world.items()[1].outcome is Outcome.DONE


def test_a_retry_whose_files_are_gone_recalls_them_first(world: World) -> None:
    world.reasons = {1: ["PAYLOAD_FAILED"]}
    world.lake.rules = {
        k: r for k, r in world.lake.rules.items() if r.dataset != world.observations[0].dataset
    }
    world.reap()
    world.run_some()
    assert [i.observation.obs_id for i in world.turn().having(Phase.RECALLING)] == [1]
    assert world.finish().total.observations == {"done": 2}


def test_what_an_earlier_plan_made_in_its_place_is_neither_published_nor_put_aside(world: World) -> None:
    world.run_some()
    (attempt, *_) = world.backend.known[world.worker().group(0)]
    report = world.backend.written[attempt.job_id]
    others = [{**o, "lfn": o["lfn"].replace("000001", "000077")} for o in report["outputs"]]
    world.backend.written[attempt.job_id] = {**report, "outputs": others}
    world.turn()
    first = world.items()[1]
    assert (first.outcome, first.attempt) == (Outcome.PENDING, 2)
    assert world.finish().total.observations == {"done": 2}
    assert not [p for p in world.storage.files if "/quarantine/" in p]


def test_inputs_that_were_missing_since_their_recall_had_expired_are_recalled(world: World) -> None:
    world.reasons = {1: ["INPUT_MISSING"]}
    del world.lake.rules["rule 1"]
    world.reap()
    world.run_some()
    assert [i.observation.obs_id for i in world.turn().having(Phase.RECALLING)] == [1]
    assert world.finish().total.observations == {"done": 2}


def test_inputs_that_are_missing_though_their_recall_stands_are_a_failure(world: World) -> None:
    world.reasons = {1: ["INPUT_MISSING", "INPUT_MISSING"]}
    world.finish()
    assert (world.items()[1].outcome, world.items()[1].attempt) == (Outcome.FAILED, 2)


def test_inputs_that_one_node_does_not_see_are_read_by_another(world: World) -> None:
    world.reasons = {1: ["INPUT_MISSING"]}
    assert world.finish().total.observations == {"done": 2}
    assert world.items()[1].attempt == 2


def test_a_job_that_ran_out_of_memory_and_left_no_report_gets_more_too(world: World) -> None:
    (group, attempt), *_ = world.backend.alive
    killed = replace(attempt, state=JobState.FAILED, reason="MEMORY_LIMIT", detail="OUT_OF_MEMORY")
    world.backend.known[group][0] = killed
    world.turn()
    given = [world.backend.specs[group, attempt.index, n].limits.memory_mb for n in (1, 2)]
    assert given == [1000, 2000]
