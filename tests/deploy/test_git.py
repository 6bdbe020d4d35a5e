"""DAGs from git: what is pushed is there without a new image, and runs keep what they began with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from localgrid.airflow_api import ENDED, AirflowApi
from tests.deploy.deployment import Deployment
from tests.deploy.growth import Repository, told

DAG = "told"
SEEN_WITHIN_S = 240  # after a push: refresh_interval and the time to read the file
Wait = Callable[..., Any]
pytestmark = pytest.mark.timeout(2400)


@pytest.fixture(scope="module")
def carol(grown: Deployment) -> AirflowApi:
    return grown.api("carol")


def version(api: AirflowApi, dag: str) -> str:
    """Give the commit that Airflow has read a DAG from last, empty as long as it does not know the DAG."""
    answer = api.call("GET", f"/dags/{dag}")
    return str(answer.json()["bundle_version"] or "") if answer.status_code == 200 else ""


def begin(api: AirflowApi) -> str:
    answer = api.trigger(DAG, {})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["dag_run_id"])


def is_held(api: AirflowApi, run: str) -> bool:
    return bool(api.tasks(DAG, run)["hold"]["state"] == "deferred")


def test_the_dags_are_those_of_the_repository(carol: AirflowApi, wait_for: Wait) -> None:
    wait_for(lambda: version(carol, DAG), SEEN_WITHIN_S)

    def elsewhere() -> set[str]:
        dags = carol.get("/dags", limit=100)["dags"]
        return {one["dag_id"] for one in dags if one["bundle_name"] != "git"}

    wait_for(lambda: not elsewhere(), SEEN_WITHIN_S)
    assert carol.get("/importErrors")["import_errors"] == []


def test_a_push_is_taken_up_and_a_run_keeps_its_version(
    carol: AirflowApi, grown: Deployment, repository: Repository, wait_for: Wait, figures: dict[str, object]
) -> None:
    images = {one["Image"] for one in grown.containers("worker")}
    first = version(carol, DAG)
    old = begin(carol)
    wait_for(lambda: is_held(carol, old))
    second = repository.push("told.py", told("second"))
    assert first != second
    wait_for(lambda: version(carol, DAG) == second, SEEN_WITHIN_S)
    new = begin(carol)
    wait_for(lambda: is_held(carol, new))
    for run in (old, new):
        carol.set_task_state(DAG, run, "hold", "success")
    wait_for(lambda: all(carol.run(DAG, run)["state"] in ENDED for run in (old, new)))
    assert [carol.run(DAG, run)["bundle_version"] for run in (old, new)] == [first, second]
    assert [carol.xcom(DAG, old, task) for task in ("before", "after")] == ["first", "first"]
    assert [carol.xcom(DAG, new, task) for task in ("before", "after")] == ["second", "second"]
    assert {one["Image"] for one in grown.containers("worker")} == images
