from __future__ import annotations

from datetime import timedelta

import pytest

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


@pytest.mark.parametrize("has_come", [False, True])
def test_a_recall_that_is_gone_is_made_again(has_come: bool) -> None:
    """It has expired while the campaign was paused, before or after its files came."""
    world = World({"max_running": 1})
    world.plan(observations(2))
    world.turn()
    if has_come:
        world.recall_some()
        assert [i.observation.obs_id for i in world.turn().having(Phase.READY)] == [2]
    del world.lake.rules["rule 2"]
    world.reap()
    assert world.turn().having(Phase.RECALLING)[-1].rule == "rule 3"
    assert world.finish().total.observations == {"done": 2}
    assert world.tally().recalled == 300


def test_a_recall_that_was_boosted_before_its_files_came_is_made_again_when_it_expires() -> None:
    world = World({"max_running": 1})
    world.plan(observations(2))
    world.lake.broken = {world.observations[1].files[0].lfn: "drive 3 is broken"}
    world.turn()
    for _ in range(world.worker().rules.boosts):
        world.recall_some()
        world.turn()
    world.lake.broken = {}
    world.recall_some()
    (ready,) = world.turn().having(Phase.READY)
    assert (ready.observation.obs_id, ready.boosts, ready.stuck_at) == (2, 0, "")
    del world.lake.rules["rule 2"]
    world.reap()
    assert world.finish().total.observations == {"done": 2}


def test_a_recall_that_is_gone_again_and_again_fails_the_observation_with_all_its_files() -> None:
    world = World()
    world.plan(observations(1))
    for _ in range(world.worker().rules.boosts + 1):
        assert world.turn().having(Phase.RECALLING)
        world.lake.rules.clear()
    world.turn()
    failed = world.items()[1]
    assert (failed.reason, len(failed.missing)) == ("TAPE_STUCK", 2)
    assert "the rule is gone, again and again" in failed.message


def test_files_that_have_not_left_the_disk_are_the_runs_own_when_they_are_recalled_again() -> None:
    world = World({"window_gb": 2e-7})
    world.plan(observations(3))
    world.turn()
    world.recall_some()
    world.lake.rules.clear()
    at = world.turn()
    assert [i.disk_bytes for i in at.having(Phase.RECALLING)] == [100, 100]
    assert at.total.recalled == 200


def test_recalls_that_would_expire_soon_are_renewed() -> None:
    world = World()
    world.plan(observations(2))
    world.turn()
    world.lake.expiring = {"rule 2"}
    world.turn()
    assert not world.lake.expiring


def test_room_that_somebody_else_has_taken_is_waited_for_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World({"window_gb": 1e-7})
    world.plan(observations(2))
    for _ in range(2):
        world.turn()
        world.recall_some()
        world.run_some()
    first = {f.lfn for f in world.observations[0].files}
    world.on_disk_before = world.lake.wanted_by_others = first
    assert len(world.turn().having(Phase.RELEASING)) == 1
    assert world.called("lake.pinned") == 0
    monkeypatch.setattr(recalls, "LINGER", timedelta())
    assert [i.observation.obs_id for i in world.turn().having(Phase.RECALLING)] == [2]
    assert world.finish().total.observations == {"done": 2}
    assert first <= {f.removeprefix(pfn_of("")) for f in world.storage.files}


def test_room_that_nobody_wants_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recalls, "LINGER", timedelta())
    world = World({"window_gb": 1e-7})
    world.plan(observations(2))
    for _ in range(2):
        world.turn()
        world.recall_some()
        world.run_some()
    for _ in range(3):
        assert len(world.turn().having(Phase.RELEASING)) == 1


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
