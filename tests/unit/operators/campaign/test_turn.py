from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esap_batch.carousel import Outcome, Phase
from esap_batch.observations import Observation
from esap_batch.products import Claim
from esap_batch.use_cases import cta_reprocessing
from operators.campaign.turn import failures, position, recall_news, revive, still_to_recall
from tests.unit.operators.campaign.world import RUN, World, observation, observations, pfn_of

# A campaign with a bit of everything: 1 done, 2 retried, 3 without a file, 4 invalid, 5 elsewhere, 6 failed.
OUTCOMES = {"done": 3, "failed": 2, "elsewhere": 1}


def mixed() -> World:
    world = World({"missing_fraction": 0.5, "window_gb": 3e-7})
    blocks = world.plan(observations(6))
    world.reasons = {2: ["PAYLOAD_FAILED"], 6: ["BAD_DESCRIPTION"]}
    world.lake.broken = {blocks[1].items[0].observation.files[1].lfn: "the tape is torn"}
    world.invalid = {4}
    other = blocks[2].items[0].product
    recipe = world.worker().claimed
    world.lake.hold(Claim(other, "d/other", is_published=False), **recipe)
    return world


def require_the_same_end(world: World) -> None:
    world.deaths.clear()
    end = position(world.worker(), world.blocks)
    assert end.is_over
    assert end.total == world.tally()
    assert dict(end.total.observations) == OUTCOMES
    assert end.total.recalled == 500
    assert set(world.lake.asked.values()) == {1}
    assert sorted(k[1:] for k in world.backend.specs) == [(0, 1), (0, 1), (1, 1), (1, 1), (1, 1), (1, 2)]
    assert len(world.lake.published) == 3
    tried = {i.observation.obs_id: (i.attempt, len(i.missing)) for i in world.items().values()}
    assert tried == {1: (1, 0), 2: (2, 0), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (1, 0)}
    world.require_whole()


def test_a_campaign_comes_to_its_end() -> None:
    world = mixed()
    world.finish()
    require_the_same_end(world)


def effects_of_a_campaign() -> int:
    world = mixed()
    world.finish()
    return world.effects


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("number", range(1, effects_of_a_campaign() + 1))
def test_a_worker_may_die_after_any_effect(number: int, goes_on: bool) -> None:
    """The next turn takes up what was done, and nothing twice; with `goes_on` the world goes on first."""
    world = mixed()
    world.deaths = {number}
    world.finish(goes_on=goes_on)
    require_the_same_end(world)


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(1, 150), max_size=20), st.booleans())
def test_workers_may_die_again_and_again_while_the_world_goes_on(deaths: set[int], goes_on: bool) -> None:
    world = mixed()
    world.deaths = deaths
    world.finish(goes_on=goes_on)
    require_the_same_end(world)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=3), min_size=1, max_size=9),
    window=st.integers(180, 400),
    faults=st.dictionaries(st.integers(1, 9), st.sampled_from(["PAYLOAD_FAILED", "BAD_DESCRIPTION"])),
    broken=st.sets(st.integers(1, 9), max_size=3),
    deaths=st.sets(st.integers(1, 120), max_size=8),
    pace=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), min_size=5, max_size=20),
)
def test_the_window_is_never_exceeded(
    sizes: list[list[int]],
    window: int,
    faults: dict[int, str],
    broken: set[int],
    deaths: set[int],
    pace: list[tuple[int, int, bool]],
) -> None:
    """Whatever fails, however fast tapes, jobs and deletions are: `World.turn` looks after each turn."""
    world = World({"window_gb": window / 1e9, "missing_fraction": 0.5, "hold_after": 1000})
    world.plan([observation(n, s) for n, s in enumerate(sizes, start=1)], length=3)
    world.reasons = {n: [reason] for n, reason in faults.items()}
    world.lake.broken = {o.files[0].lfn: "torn" for o in world.observations if o.obs_id in broken}
    world.deaths = deaths
    for recalls, jobs, reap in pace:
        world.turn_or_die()
        world.recall_some(recalls)
        world.run_some(jobs)
        if reap:
            world.reap()
    end = world.finish()
    assert sum(end.total.observations.values()) == len(sizes)
    assert end.total.recalled == sum(map(sum, sizes))
    assert max(world.lake.asked.values()) == 1


def test_a_turn_of_a_long_campaign_asks_no_more_than_one_of_a_short_campaign() -> None:
    """Blocks that have ended are not looked at again."""
    assert most_calls_of_a_turn(100) == most_calls_of_a_turn(10)


def most_calls_of_a_turn(blocks: int) -> int:
    world = World({"window_gb": 4e-7})
    world.plan(observations(blocks * 2), length=2)
    most, is_over = 0, False
    while not is_over:
        world.calls.clear()
        is_over = world.turn().is_over
        world.advance()
        most = max(most, len(world.calls))
    assert world.tally().observations == {"done": blocks * 2}
    return most


def test_each_block_is_begun_once_and_its_sandboxes_are_let_go() -> None:
    world = World()
    world.plan(observations(6), length=2)
    end = world.finish()
    assert (end.state.next_block, end.state.active) == (3, ())
    assert sorted(world.backend.cleaned) == sorted(world.worker().group(n) for n in range(3))


def test_too_many_failures_of_one_kind_stop_further_recalls_until_they_are_revived() -> None:
    world = World({"hold_after": 2, "window_gb": 2e-7})
    world.plan(observations(6))
    world.reasons = {n: ["BAD_DESCRIPTION"] for n in (1, 2)}
    for _ in range(5):
        at = world.turn()
        world.advance()
    assert at.total.failures == {"BAD_DESCRIPTION": 2}
    assert sum(world.lake.asked.values()) == 2
    assert not at.is_over
    revive(world.worker())
    end = world.finish()
    assert end.total == world.tally()
    assert (dict(end.total.observations), end.total.recalled) == ({"done": 6}, 800)
    assert [world.items()[n].attempt for n in range(1, 7)] == [2, 2, 1, 1, 1, 1]
    world.require_whole()


def test_reviving_may_be_repeated_and_leaves_what_is_done() -> None:
    world = World()
    world.plan(observations(4))
    world.reasons = {3: ["BAD_DESCRIPTION"]}
    world.finish()
    before = world.items()
    revive(world.worker())
    once = world.items()
    state = world.worker().state()
    revive(world.worker())
    assert world.items() == once
    assert world.worker().state() == state
    assert state.active == (1,)
    assert state.ended.observations == {"done": 2}
    assert {n: i for n, i in once.items() if n != 3} == {n: i for n, i in before.items() if n != 3}
    assert (once[3].phase, once[3].first_attempt) == (Phase.WAITING, 2)


def test_reviving_asks_anew_for_files_whose_recall_is_gone() -> None:
    world = World()
    world.plan(observations(2))
    world.turn()
    world.recall_some()
    world.lake.rules.clear()
    world.reap()
    revive(world.worker())
    assert [i.phase for i in world.items().values()] == [Phase.WAITING] * 2
    assert world.finish().total.observations == {"done": 2}
    assert set(world.lake.asked.values()) == {2}


def test_what_is_still_to_be_recalled_counts_second_recalls_too() -> None:
    world = World({"window_gb": 2e-7})
    world.plan(observations(4))
    plan = {"recall_bytes": 400, "todo_bytes": 400}
    assert still_to_recall(world.worker(), plan) == 400
    world.reasons = {1: ["BAD_DESCRIPTION"]}
    world.turn()
    assert still_to_recall(world.worker(), plan) == 400
    world.finish()
    assert still_to_recall(world.worker(), plan) == 400
    revive(world.worker())
    assert still_to_recall(world.worker(), plan) == 500


def test_news_of_recalls_are_none_when_there_is_something_to_do() -> None:
    world = World()
    world.plan(observations(1))
    at = world.turn()
    assert recall_news(world.worker(), at) == "rule 1 REPLICATING"
    world.recall_some()
    assert recall_news(world.worker(), at) is None
    world.lake.rules.clear()
    assert recall_news(world.worker(), at) is None


def test_failures_are_listed_with_diagnosis_and_noted_at_their_claims() -> None:
    world = World()
    world.plan(observations(2))
    world.lake.broken = {world.observations[0].files[0].lfn: "the tape is torn"}
    world.finish()
    (one,) = failures(world.worker())
    assert (one["obs_id"], one["reason"]) == (1, "TAPE_STUCK")
    assert one["missing_files"] == [world.observations[0].files[0].lfn]
    noted = world.lake.meta[world.items()[1].product]
    assert (noted["esap_state"], noted["esap_reason"], noted["esap_run"]) == ("failed", "TAPE_STUCK", RUN)
    assert "the tape is torn" in noted["esap_message"]


def complete(number: int) -> Observation:
    one = observation(number)
    return replace(one, metadata={**dict.fromkeys(cta_reprocessing.INHERITED, 1), **one.metadata})


def flawed(number: int) -> Observation:
    one = complete(number)
    return replace(one, metadata={k: v for k, v in one.metadata.items() if k != "array_layout"})


def test_an_observation_without_metadata_in_an_old_plan_fails_alone_and_is_not_recalled() -> None:
    world = World({"processor": "esap-fits"})
    world.plan([flawed(1), complete(2), flawed(3)])
    at = world.turn()
    assert [i.observation.obs_id for i in at.having(Phase.RECALLING)] == [2]
    failed = world.items()[1]
    assert (failed.outcome, failed.reason) == (Outcome.FAILED, "METADATA_MISSING")
    assert failed.message == "the dataset has no metadata array_layout"
    assert at.total.failures == {"METADATA_MISSING": 2}
    assert world.lake.meta[failed.product]["esap_state"] == "failed"


@pytest.mark.parametrize("phase", [Phase.RECALLING, Phase.READY, Phase.RUNNING])
def test_an_observation_without_metadata_that_was_under_way_fails_alone(phase: Phase) -> None:
    """The version before has recalled it, or submitted its job, which is then lost."""
    world = World({"processor": "esap-fits"})
    world.plan([complete(1), complete(2)])
    world.turn()
    world.recall_some()
    (block,) = world.worker().blocks([0])
    old = replace(block.items[0], phase=phase, observation=flawed(1), attempt=int(phase is Phase.RUNNING))
    world.worker().save(block.replaced([old]))
    at = world.turn()
    assert at.total.failures == {"METADATA_MISSING": 1}
    assert [i.observation.obs_id for i in at.having(Phase.RUNNING)] == [2]
    assert list(world.lake.rules) == ["rule 2"]


def test_jobs_of_an_earlier_plan_count_for_no_observation_of_this_one() -> None:
    """The whole run was cleared after its success: jobs have the names that they had."""
    world = World()
    world.plan(observations(2))
    world.reasons = {1: ["PAYLOAD_FAILED", "PAYLOAD_FAILED"]}
    world.finish()
    world.storage.delete_tree(world.worker().area)
    world.plan([observation(11), observation(12)])
    world.reasons = {11: ["PAYLOAD_FAILED", "PAYLOAD_FAILED"]}
    assert world.finish().total.observations == {"done": 2}
    tried = [(i.first_attempt, i.attempt) for i in world.items().values()]
    assert tried == [(4, 6), (2, 2)]


def test_room_is_given_to_others_only_when_files_are_really_gone() -> None:
    world = World({"window_gb": 2e-7})
    world.plan(observations(4))
    world.turn()
    world.recall_some()
    world.turn()
    world.run_some()
    at = world.turn()
    assert [i.outcome for i in at.having(Phase.RELEASING)] == [Outcome.DONE] * 2
    assert not world.lake.rules
    assert len(world.turn().having(Phase.RELEASING)) == 2
    world.reap()
    assert len(world.turn().having(Phase.RECALLING)) == 2


def test_files_that_were_on_disk_before_take_no_room_and_stay() -> None:
    world = World({"window_gb": 1e-7})
    world.plan(observations(3))
    world.on_disk_before = {f.lfn for f in world.observations[0].files}
    world.storage.files |= {pfn_of(lfn): b"raw" for lfn in world.on_disk_before}
    end = world.finish()
    assert end.total.recalled == 200
    assert world.on_disk_before <= {lfn for lfn in world.on_disk_before if pfn_of(lfn) in world.storage.files}
