from __future__ import annotations

from esap_batch.carousel import Outcome, Phase
from esap_batch.products import WORK_AREA, Claim
from operators.campaign import recalls
from tests.unit.operators.campaign.world import RUN, World, observation, observations, pfn_of


def test_a_claim_says_whose_it_is_and_an_own_one_is_taken_up() -> None:
    world = World()
    (block,) = world.plan(observations(2))
    work = world.worker()
    world.lake.hold(
        Claim(block.items[0].product, RUN, is_published=False), esap_state="failed", **work.claimed
    )
    claimed = recalls.claim(work, block.items)
    assert [i.outcome for i in claimed] == [Outcome.PENDING] * 2
    for item in block.items:
        about = world.lake.meta[item.product]
        assert (about["esap_run"], about["esap_state"]) == (RUN, "claimed")
    assert world.lake.meta[block.items[1].product]["obs_id"] == 2


def test_what_another_run_has_claimed_is_left_to_it_and_not_recalled() -> None:
    world = World()
    (block,) = world.plan(observations(2))
    other = Claim(block.items[0].product, "d/other", is_published=False)
    world.lake.hold(other, **world.worker().claimed)
    end = world.finish()
    assert dict(end.total.observations) == {"elsewhere": 1, "done": 1}
    left = world.items()[1]
    assert (left.phase, left.outcome, left.message) == (
        Phase.ENDED,
        Outcome.ELSEWHERE,
        "run d/other makes it",
    )
    assert list(world.lake.asked) == [world.observations[1].dataset]
    assert world.lake.meta[other.dataset]["esap_run"] == "d/other"


def test_of_a_partial_observation_a_dataset_of_its_own_is_recalled() -> None:
    world = World()
    whole = observation(1)
    part = whole.only([whole.files[0].lfn])
    world.plan([part])
    at = world.turn()
    (asked,) = world.lake.asked
    assert asked == f"{WORK_AREA}/{world.worker().tag}/recall/obs_000001"
    assert [i.disk_bytes for i in at.having(Phase.RECALLING)] == [50]
    assert world.finish().total.observations == {"done": 1}
    assert pfn_of(whole.files[1].lfn) not in world.storage.files


def test_a_stuck_recall_is_boosted_once_for_each_time_rucio_has_handled_it() -> None:
    world = World()
    world.plan(observations(1))
    world.lake.broken = {world.observations[0].files[0].lfn: "drive 3 is broken"}
    world.turn()
    world.recall_some()
    for _ in range(3):
        world.turn()
    assert world.lake.boosted == ["rule 1"]
    world.recall_some()
    world.turn()
    assert world.lake.boosted == ["rule 1", "rule 1"]
    world.recall_some()
    at = world.turn()
    assert at.total.failures == {"TAPE_STUCK": 1}
    assert "1 of 2 files do not come from tape, allowed are 0: drive 3 is broken" in world.items()[1].message


def test_a_stuck_recall_that_comes_after_a_boost_is_no_failure() -> None:
    world = World()
    world.plan(observations(1))
    world.lake.broken = {world.observations[0].files[0].lfn: "drive 3 is broken"}
    world.turn()
    world.recall_some()
    world.turn()
    world.lake.broken = {}
    assert world.finish().total.observations == {"done": 1}


def test_a_rule_that_somebody_has_deleted_fails_the_observation_with_all_its_files() -> None:
    world = World()
    world.plan(observations(1))
    world.turn()
    world.lake.rules.clear()
    world.turn()
    failed = world.items()[1]
    assert (failed.reason, len(failed.missing)) == ("TAPE_STUCK", 2)
    assert "somebody has deleted the rule" in failed.message


def test_what_is_noted_to_come_stays_noted_once_it_has_come() -> None:
    world = World()
    (block,) = world.plan(observations(1))
    noted = recalls.note_fresh(world.worker(), block.items)
    world.storage.files |= {pfn_of(f.lfn): b"raw" for f in world.observations[0].files}
    assert recalls.note_fresh(world.worker(), noted) == noted
    assert (noted[0].disk_bytes, noted[0].recalled) == (100, 100)
    assert recalls.note_fresh(world.worker(), block.items)[0].disk_bytes == 0


def test_nothing_is_waited_for_when_nobody_needs_the_room() -> None:
    world = World()
    world.plan(observations(1))
    for _ in range(2):
        world.turn()
        world.recall_some()
        world.run_some()
    assert world.turn().is_over
    assert not world.lake.rules
