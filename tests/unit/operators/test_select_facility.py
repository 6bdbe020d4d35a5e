from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from esap_batch.facilities import Requirements
from esap_batch.identity import Identity
from operators.select_facility import SelectFacility
from tests.unit.conftest import World, steering


def run(world: World, user: str = "alice", **needs: Any) -> dict[str, Any]:
    def requirements(_steering: Any, identity: Identity) -> Requirements:
        return Requirements(experiments=identity.experiments, software=(("esap-noop", "0.1.0"),), **needs)

    task = SelectFacility(task_id="select_facility", steering=steering(), requirements=requirements)
    return task.execute(world.context(user=user))


def test_the_best_facility_is_named_with_the_reasons_against_the_others(world: World) -> None:
    chosen = run(world)
    assert chosen["facility"] == "lapalma"
    assert "priority 20" in chosen["reasons"]
    assert "is switched off" in chosen["rejected"]["cta-dirac"][0]
    assert json.loads(json.dumps(chosen)) == chosen  # XCom carries JSON


def test_what_does_not_fit_at_the_best_goes_to_the_next(world: World) -> None:
    chosen = run(world, memory_mb=4000)
    assert chosen["facility"] == "cscs"
    assert "needs 4000 MB of memory a job, gives at most 2000" in chosen["rejected"]["lapalma"]


def test_a_facility_asked_for_by_name_is_taken(world: World) -> None:
    assert run(world, preferred="cscs")["facility"] == "cscs"


@pytest.mark.parametrize(
    ("user", "needs", "told"),
    [
        ("dave", {"preferred": "lapalma"}, "is open to ctao, the user is in km3net"),
        ("alice", {"memory_mb": 100_000}, "Nearest is cscs"),
        ("alice", {"preferred": "cta-dirac"}, "facility = 'cta-dirac': is switched off"),
    ],
)
def test_where_none_fits_there_is_no_other_try(
    world: World, user: str, needs: dict[str, Any], told: str
) -> None:
    with pytest.raises(AirflowFailException, match=told):
        run(world, user, **needs)
