from __future__ import annotations

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest

from esap_batch.carousel import Phase, Tally
from hooks.broker import Broker
from operators.campaign.work import State, Work
from tests.unit.operators.campaign.world import DAG_ID, RUN, World, observations


def test_a_state_is_the_same_after_it_was_written_and_read() -> None:
    one = State("2026-11-21T06:00:00+00:00", (3, 4), 5, Tally({"done": 2}, {"done": 20}, {}, 20), "x", "y")
    assert State.of(json.loads(json.dumps(asdict(one)))) == one


def test_a_run_that_has_not_begun_has_an_empty_state() -> None:
    state = World().worker().state()
    assert (state.active, state.next_block, state.ended, state.held) == ((), 0, Tally(), "")


def test_blocks_and_state_are_found_by_another_worker() -> None:
    world = World()
    (block,) = world.plan(observations(2))
    changed = block.replaced([replace(block.items[0], phase=Phase.READY, missing=("/x",))])
    world.worker().save(changed)
    world.worker().save_state(State("2026-11-21T06:00:00+00:00", active=(0,), next_block=1))
    assert world.worker().blocks([0]) == [changed]
    assert world.worker().state().active == (0,)


def test_a_run_belongs_to_the_owner_in_its_steering_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ESAP_CONFIG_DIR", raising=False)
    monkeypatch.setattr(Broker, "standing", lambda: None)
    run = SimpleNamespace(dag_id="campaign_of_no_file", run_id="1", triggering_user_name=None)
    work = Work.of({"dag_run": run}, {"owner": "alice"}, {"facility": "lapalma"}, None)
    assert work.site.identity.user == "alice"


def test_everything_of_a_run_has_names_of_its_own() -> None:
    work = World().worker()
    assert work.run == RUN
    names = {work.tag, *(work.group(n) for n in range(3)), replace(work, run_id="manual__2").tag}
    assert len(names) == 5
    assert work.dag_id == DAG_ID
