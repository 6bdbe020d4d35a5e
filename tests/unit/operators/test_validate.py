from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from esap_batch.errors import Problem
from esap_batch.flat_steering import Converted
from operators.validate import ValidateRequest
from tests.unit.conftest import RUN, World


def run(world: World, conf: Any = None, user: str | None = "alice", **settings: Any) -> dict[str, Any]:
    task = ValidateRequest(task_id="validate_request", **{"workflow": "hello_world", **settings})
    return task.execute(world.context(user=user, conf=conf))


@pytest.mark.parametrize("conf", [None, {}])
def test_an_empty_request_gives_a_whole_steering_file(world: World, conf: Any) -> None:
    steering = run(world, conf)
    assert (steering["owner"], steering["run_id"], steering["workflow"]) == ("alice", RUN, "hello_world")
    assert steering["request"]["n_jobs"] == 3
    assert steering["requested_at"] == "2026-11-21T06:00:00"
    assert steering["product_lfn"].startswith("/ctao/esap/hello_world/hello-world-")


def test_the_same_request_of_another_user_is_the_same_product(world: World) -> None:
    assert run(world, user="alice")["product_lfn"] == run(world, user="bob")["product_lfn"]


def test_every_mistake_is_told_at_once_and_there_is_no_other_try(world: World) -> None:
    def check(_request: Any, _workflow: Any) -> list[Problem]:
        return [Problem("message", "m", "", "is impolite")]

    with pytest.raises(AirflowFailException) as refusal:
        run(world, {"n_jobs": 0, "behavior": "ok"}, check=check)
    text = str(refusal.value)
    assert "3 problems" in text
    assert "n_jobs = 0: allowed a whole number from 1 to 1000 jobs" in text
    assert "did you mean behaviour?" in text
    assert "is impolite" in text


@pytest.mark.parametrize(
    ("user", "told"),
    [(None, "the run has no user"), ("mallory", "user mallory is in no group")],
)
def test_who_is_unknown_is_refused_for_good(world: World, user: str | None, told: str) -> None:
    with pytest.raises(AirflowFailException, match=told):
        run(world, user=user)


def test_a_user_of_another_experiment_is_told_the_group_that_is_needed(world: World) -> None:
    with pytest.raises(
        AirflowFailException, match=r"dave may not run cta_irf.*needed is one of .*ctao/users"
    ):
        run(world, user="dave", workflow="cta_irf")


def test_the_owner_is_never_taken_from_the_request(world: World) -> None:
    with pytest.raises(AirflowFailException, match="owner"):
        run(world, {"owner": "admin"})


def test_a_document_of_another_shape_is_converted_first(world: World) -> None:
    def convert(_conf: Any, _workflow: Any) -> Converted:
        return Converted({"n_jobs": 7})

    assert run(world, {"Parameters": {"N": "7"}}, convert=convert)["request"]["n_jobs"] == 7


def test_what_is_wrong_is_told_in_the_words_of_the_document(world: World) -> None:
    def convert(_conf: Any, _workflow: Any) -> Converted:
        problem = Problem("Parameters.X", "1", "", "there is no such field")
        return Converted({"n_jobs": 0}, (problem,), {"n_jobs": "Parameters.N"})

    with pytest.raises(AirflowFailException) as refusal:
        run(world, {"Parameters": {"N": "0"}}, convert=convert)
    assert "Parameters.X" in str(refusal.value)
    assert "Parameters.N = 0: allowed a whole number from 1" in str(refusal.value)
