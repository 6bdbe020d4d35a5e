from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esap_batch.carousel import (
    LOOK_AHEAD,
    Block,
    Item,
    Outcome,
    Phase,
    RecallState,
    Rules,
    Step,
    Tally,
    admitted,
    blocks_of,
    given_up,
    held_for,
    progress,
    recall_step,
    share,
    startable,
    tally,
)
from esap_batch.jobs import InputFile
from esap_batch.observations import Observation

RULES = Rules(window_bytes=100, max_jobs=10)


def observation(obs_id: int, size: int = 10, files: int = 2) -> Observation:
    parts = tuple(InputFile(f"f{n}", f"/ctao/acada/o{obs_id}/f{n}", size // files, "0") for n in range(files))
    return Observation(obs_id, f"/ctao/acada/o{obs_id}", {}, parts)


def item(phase: Phase = Phase.WAITING, size: int = 10, index: int = 0, **more: object) -> Item:
    one = observation(index, size)
    fresh = tuple(f.lfn for f in one.files)
    return replace(Item(index, one, f"/ctao/dl3/x/o{index}-g1", phase, fresh=fresh, rule="r"), **more)  # type: ignore[arg-type]


def block(*items: Item, number: int = 0) -> Block:
    return Block(number, tuple(replace(i, index=n) for n, i in enumerate(items)))


def test_a_campaign_is_cut_into_blocks_in_its_order() -> None:
    cut = blocks_of([(observation(n), f"/p/{n}") for n in range(5)], 2)
    assert [[i.observation.obs_id for i in b.items] for b in cut] == [[0, 1], [2, 3], [4]]
    assert [[i.index for i in b.items] for b in cut] == [[0, 1], [0, 1], [0]]
    assert cut[2].items[0].product == "/p/4"


def test_a_block_is_the_same_after_it_was_written_and_read() -> None:
    one = block(item(Phase.RECALLING), item(Phase.READY, missing=("/x",), limits={"memory_mb": 5}))
    assert Block.of(json.loads(json.dumps(one.document()))) == one


def test_the_window_is_filled_in_order_and_never_beyond_its_bytes() -> None:
    under_way = block(
        item(Phase.RECALLING, 30), item(Phase.RUNNING, 30), item(size=30), item(size=20), item(size=1)
    )
    chosen = admitted([under_way], RULES)
    assert [i.index for _, i in chosen] == [2]  # the next would be 110; nobody overtakes it


def test_files_that_are_being_deleted_take_room_until_they_are_gone() -> None:
    assert admitted([block(item(Phase.RELEASING, 95), item(size=10))], RULES) == []
    assert len(admitted([block(item(Phase.ENDED, 95), item(size=10))], RULES)) == 1


def test_what_was_on_disk_before_takes_no_room() -> None:
    there = item(Phase.RUNNING, 95, fresh=())
    assert len(admitted([block(there, item(size=90))], RULES)) == 1


def test_no_more_are_under_way_than_keep_the_jobs_busy() -> None:
    rules = replace(RULES, window_bytes=10**9, max_jobs=3)
    chosen = admitted([block(item(Phase.RUNNING), *(item() for _ in range(20)))], rules)
    assert len(chosen) == LOOK_AHEAD * 3 - 1


@given(
    st.lists(st.tuples(st.sampled_from(list(Phase)), st.integers(2, 60)), max_size=30), st.integers(1, 300)
)
def test_whatever_is_under_way_the_window_holds(parts: list[tuple[Phase, int]], window: int) -> None:
    rules = replace(RULES, window_bytes=window, max_jobs=50)
    one = block(*(item(phase, size) for phase, size in parts))
    before = sum(i.occupies for i in one.items)
    chosen = admitted([one], rules)
    assert not chosen or before + sum(i.observation.size for _, i in chosen) <= window


def test_jobs_are_started_within_the_throttle() -> None:
    rules = replace(RULES, max_jobs=3)
    first = block(item(Phase.RUNNING), item(Phase.READY), item(Phase.RECALLING))
    second = block(item(Phase.READY), item(Phase.READY), number=1)
    assert [(n, i.index) for n, i in startable([first, second], rules)] == [(0, 1), (1, 0)]
    assert startable([block(*(item(Phase.RUNNING) for _ in range(5)), item(Phase.READY))], rules) == []


@pytest.mark.parametrize(
    ("state", "at", "boosts", "step"),
    [
        ("OK", "2", 0, Step.GO),
        ("REPLICATING", "2", 0, Step.WAIT),
        ("SUSPENDED", "2", 0, Step.WAIT),
        ("STUCK", "2", 0, Step.BOOST),
        ("STUCK", "1", 1, Step.WAIT),  # Rucio has not handled it since the boost
        ("STUCK", "2", 1, Step.BOOST),
        ("STUCK", "2", 2, Step.GIVE_UP),
    ],
)
def test_what_becomes_of_a_recall(state: str, at: str, boosts: int, step: Step) -> None:
    one = item(Phase.RECALLING, boosts=boosts, stuck_at="1" if boosts else "")
    assert recall_step(one, RecallState(state, at), RULES) is step


def test_a_rule_that_is_gone_is_made_again_as_often_as_a_stuck_one_is_boosted() -> None:
    assert recall_step(item(Phase.RECALLING), None, RULES) is Step.BOOST
    tried = replace(item(Phase.RECALLING), repeats=RULES.boosts)
    assert recall_step(tried, None, RULES) is Step.GIVE_UP
    boosted = replace(item(Phase.RECALLING), boosts=RULES.boosts)
    assert recall_step(boosted, None, RULES) is Step.GIVE_UP
    assert recall_step(boosted.come(), None, RULES) is Step.BOOST


def test_a_rule_that_is_gone_is_made_again_once_even_without_any_boost() -> None:
    rules = replace(RULES, boosts=0)
    assert recall_step(item(Phase.RECALLING), None, rules) is Step.BOOST
    assert recall_step(item(Phase.RECALLING, repeats=1), None, rules) is Step.GIVE_UP


def test_an_observation_goes_on_without_as_many_files_as_are_allowed() -> None:
    one = replace(item(Phase.RECALLING), observation=observation(1, 40, files=4))
    missing = [one.observation.files[0].lfn]
    gone_on = given_up(one, missing, "tape", replace(RULES, missing_fraction=0.25))
    assert (gone_on.phase, gone_on.missing) == (Phase.READY, tuple(missing))
    left_out = given_up(one, missing, "tape is torn", RULES)
    assert (left_out.phase, left_out.outcome, left_out.reason) == (
        Phase.RELEASING,
        Outcome.FAILED,
        "TAPE_STUCK",
    )
    assert "1 of 4 files do not come from tape, allowed are 0: tape is torn" in left_out.message


@pytest.mark.parametrize(("fraction", "count", "allowed"), [(0.29, 100, 29), (0.57, 100, 57), (0.1, 9, 0)])
def test_a_share_is_what_was_written_and_not_what_a_computer_makes_of_it(
    fraction: float, count: int, allowed: int
) -> None:
    assert share(fraction, count) == allowed


def test_without_any_file_there_is_nothing_to_process() -> None:
    one = item(Phase.RECALLING)
    everything = [f.lfn for f in one.observation.files]
    assert given_up(one, everything, "", replace(RULES, missing_fraction=1.0)).outcome is Outcome.FAILED


def test_another_chance_counts_attempts_from_where_they_were() -> None:
    failed = item(Phase.ENDED, outcome=Outcome.FAILED, attempt=3, reason="X", rule="")
    again = failed.again()
    assert (again.phase, again.outcome, again.attempt, again.first_attempt) == (
        Phase.WAITING,
        Outcome.PENDING,
        3,
        4,
    )


def test_failures_of_one_kind_hold_the_campaign() -> None:
    rules = replace(RULES, hold_after=2)
    bad = item(Phase.ENDED, outcome=Outcome.FAILED, reason="MEMORY_LIMIT")
    other = item(Phase.ENDED, outcome=Outcome.FAILED, reason="TIME_LIMIT")
    assert held_for(tally([block(bad, other)]), rules) == ""
    assert held_for(tally([block(bad, other, bad)]), rules) == "MEMORY_LIMIT"


def test_progress_counts_observations_and_bytes_and_estimates_the_end() -> None:
    items = [item(Phase.ENDED, outcome=Outcome.DONE), item(Phase.RUNNING), item(Phase.WAITING)]
    told = progress(tally([block(*items)]), (7, 70), elapsed_s=60)
    assert told["observations"] == {"done": 1, "running": 1, "waiting": 8}
    assert told["bytes"] == {"done": 10, "running": 10, "waiting": 80}
    assert told["left_s"] == 540
    assert told["text"] == "observations 1 of 10 done, 1 running, 8 waiting, about 9 min left"


def test_there_is_no_estimate_before_anything_is_done_or_while_it_is_held() -> None:
    assert progress(tally([block(item())]), (0, 0), 60)["left_s"] is None
    done = tally([block(item(Phase.ENDED, outcome=Outcome.DONE), item())])
    assert "HELD: TAPE_STUCK" in progress(done, (0, 0), 60, "TAPE_STUCK")["text"]


def test_sums_of_blocks_add_up() -> None:
    one = tally([block(item(Phase.ENDED, outcome=Outcome.DONE))])
    two = tally([block(item(Phase.ENDED, outcome=Outcome.FAILED, reason="X"), number=1)])
    both = Tally().plus(one).plus(two)
    assert both == tally(
        [
            block(
                item(Phase.ENDED, outcome=Outcome.DONE), item(Phase.ENDED, outcome=Outcome.FAILED, reason="X")
            )
        ]
    )
