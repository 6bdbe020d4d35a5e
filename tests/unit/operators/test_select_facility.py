from __future__ import annotations

import json
import time
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from esap_batch.facilities import Requirements
from esap_batch.health import CONNECTION, Check, Health, Outcome
from esap_batch.identity import Identity
from esap_batch.jobs import Load
from hooks.broker import LoginNeeded
from hooks.errors import BackendUnavailable, RefusedForGood
from operators.select_facility import SelectFacility
from tests.unit.conftest import World, steering


def run(world: World, user: str = "alice", **needs: Any) -> dict[str, Any]:
    def requirements(_steering: Any, identity: Identity) -> Requirements:
        return Requirements(experiments=identity.experiments, software=(("esap-noop", "0.1.0"),), **needs)

    task = SelectFacility(
        task_id="select_facility", steering={**steering(), "owner": user}, requirements=requirements
    )
    return task.execute(world.context(user="the scheduler"))


def test_the_best_facility_is_named_with_the_reasons_against_the_others(world: World) -> None:
    chosen = run(world)
    assert chosen["facility"] == "lapalma"
    assert "priority 20" in chosen["reasons"]
    assert "is switched off" in chosen["rejected"]["cta-dirac"][0]
    assert json.loads(json.dumps(chosen)) == chosen  # XCom carries JSON


def test_the_runtimes_are_those_that_are_accepted_and_there(world: World) -> None:
    assert run(world)["runtimes"] == ["plain", "rootfs"]
    assert run(world, runtimes=("plain", "podman"))["runtimes"] == ["plain"]


def test_what_does_not_fit_at_the_best_goes_to_the_next(world: World) -> None:
    chosen = run(world, memory_mb=4000)
    assert chosen["facility"] == "cscs"
    assert "needs 4000 MB of memory a job, gives at most 2000" in chosen["rejected"]["lapalma"]


def test_a_facility_asked_for_by_name_is_taken(world: World) -> None:
    assert run(world, preferred="cscs")["facility"] == "cscs"


def test_the_storage_that_is_asked_for_is_taken(world: World) -> None:
    chosen = run(world, preferred="cscs", storage_rse="LAPALMA-DISK")
    assert (chosen["facility"], chosen["storage_rse"]) == ("cscs", "LAPALMA-DISK")


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


SILENT = BackendUnavailable("DiracX", "http://dirac", "refused")
FORBIDDEN = RefusedForGood("DiracX", "http://dirac", "no credentials")
LAPALMA, CSCS = "ESAP.LaPalma.local", "ESAP.CSCS.local"


def ill(facility: str, age_s: float = 0) -> Health:
    return Health(facility, time.time() - age_s, (Check(CONNECTION, Outcome.FAILED, "refused"),))


def test_the_load_of_now_decides_between_equals(world: World) -> None:
    world.backend.loads = {LAPALMA: Load(queued=500)}
    chosen = run(world)
    assert chosen["facility"] == "cscs"
    assert "0 of 2000 jobs are taken" in chosen["reasons"]


def test_one_that_does_not_answer_is_left_out_of_this_choice(world: World) -> None:
    world.backend.loads = {LAPALMA: SILENT}
    chosen = run(world)
    assert chosen["facility"] == "cscs"
    assert chosen["rejected"]["lapalma"] == [
        "does not answer now: DiracX at http://dirac does not answer (refused)"
    ]


def test_when_nobody_else_fits_silence_is_worth_another_try(world: World) -> None:
    world.backend.loads = {LAPALMA: SILENT}
    with pytest.raises(AirflowException, match=r"lapalma.*does not answer now") as error:
        run(world, preferred="lapalma")
    assert not isinstance(error.value, AirflowFailException)


def test_when_nobody_lets_the_user_in_there_is_no_other_try(world: World) -> None:
    world.backend.loads = dict.fromkeys((LAPALMA, CSCS, "main"), FORBIDDEN)
    with pytest.raises(AirflowFailException, match=r"does not let the user in: DiracX .* no credentials"):
        run(world)


def test_a_login_that_has_ended_is_waited_for_by_the_submission(world: World) -> None:
    world.backend.loads = {LAPALMA: LoginNeeded("dirac", "alice", "expired", "http://here")}
    assert run(world)["facility"] == "lapalma"


def test_only_the_one_that_is_asked_for_is_asked(world: World) -> None:
    run(world, preferred="cscs")
    assert world.events == [f"load {CSCS}"]


def test_what_the_last_check_found_out_of_order_is_left_out(world: World) -> None:
    world.health = {"lapalma": ill("lapalma")}
    chosen = run(world)
    assert chosen["facility"] == "cscs"
    assert "is out of order: connection failed (refused), checked at" in chosen["rejected"]["lapalma"][0]
    with pytest.raises(
        AirflowFailException, match="facility = 'lapalma': is out of order: connection failed"
    ):
        run(world, preferred="lapalma")


def test_an_old_result_is_not_held_against_a_facility(world: World) -> None:
    world.health = {"lapalma": ill("lapalma", age_s=100_000)}
    assert run(world)["facility"] == "lapalma"
