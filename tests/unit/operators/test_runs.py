from __future__ import annotations

import pytest
from airflow.utils.state import DagRunState

from esap_batch.products import RunState
from operators.runs import is_known, run_state
from tests.unit.conftest import World


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (DagRunState.QUEUED, RunState.ALIVE),
        (DagRunState.RUNNING, RunState.ALIVE),
        (DagRunState.SUCCESS, RunState.ENDED),
        (DagRunState.FAILED, RunState.ENDED),
    ],
)
def test_a_run_goes_on_until_airflow_says_it_has_ended(
    world: World, state: DagRunState, expected: RunState
) -> None:
    world.ti.runs = {"campaign_crab/manual__1/with a slash": state}
    assert run_state(world.context(), "campaign_crab/manual__1/with a slash") is expected


def test_a_run_that_was_deleted_has_ended(world: World) -> None:
    assert run_state(world.context(), "campaign_crab/manual__1") is RunState.ENDED
    assert not is_known(world.context(), "campaign_crab/manual__1")


def test_a_run_that_has_ended_is_known(world: World) -> None:
    world.ti.runs = {"campaign_crab/manual__1/with a slash": DagRunState.FAILED}
    assert is_known(world.context(), "campaign_crab/manual__1/with a slash")
