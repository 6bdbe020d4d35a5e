from __future__ import annotations

import pytest

from operators.results import result_of, task_states
from tests.unit.conftest import World


def test_a_result_counts_while_its_task_has_succeeded(world: World) -> None:
    world.ti.xcoms, world.ti.states = {"ingest": 7}, {"ingest": "success"}
    assert result_of(world.context(), "ingest") == 7


@pytest.mark.parametrize("state", ["upstream_failed", "failed", "skipped", "running"])
def test_what_is_left_of_an_earlier_pass_does_not_count(world: World, state: str) -> None:
    world.ti.xcoms, world.ti.states = {"ingest": 7}, {"ingest": state}
    assert result_of(world.context(), "ingest") is None


def test_a_run_without_states_has_none(world: World) -> None:
    assert task_states(world.context()) == {}
    assert result_of(world.context(), "ingest") is None
