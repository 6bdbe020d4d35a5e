"""A worker on a further machine: a compose project of its own with the first one's published addresses."""

from __future__ import annotations

import json
import re
import time

import httpx
import jwt
import pytest

from localgrid.airflow_api import AirflowApi
from tests.deploy.deployment import Deployment
from tests.deploy.growth import WORKER
from tests.deploy.test_deployment import DAG

TASK = "validate_request"  # waits for nothing
SERVED = re.compile(rf"http://{re.escape(WORKER)}:8793/log/([^\s\"']+\.log)")
pytestmark = pytest.mark.timeout(2400)


@pytest.fixture(scope="module")
def alice(grown: Deployment) -> AirflowApi:
    return grown.api("alice")


def networks(deployment: Deployment) -> set[str]:
    return {name for one in deployment.containers() for name in one["NetworkSettings"]["Networks"]}


def test_it_shares_no_network_with_the_first(grown: Deployment, machine: Deployment) -> None:
    assert networks(machine)
    assert networks(machine) & networks(grown) == set()


def test_a_run_is_made_there(alice: AirflowApi, made_there: str) -> None:
    hosts = {task["hostname"] for task in alice.tasks(DAG, made_there).values() if task["hostname"]}
    assert hosts == {WORKER}


def served(alice: AirflowApi, run: str) -> tuple[str, str]:
    """Give a task's log as the API server tells it, and its path at the worker that it was read from."""
    path = f"/dags/{DAG}/dagRuns/{run}/taskInstances/{TASK}/logs/1"
    told = json.dumps(alice.get(path))
    found = SERVED.search(told)
    assert found, told[:2000]
    return told, found[1]


def test_its_logs_are_read_through_the_api_server(alice: AirflowApi, made_there: str) -> None:
    told, _ = served(alice, made_there)
    assert "Could not read served logs" not in told
    assert made_there in told


def test_nobody_else_gets_its_logs(grown: Deployment, alice: AirflowApi, made_there: str) -> None:
    _, path = served(alice, made_there)
    url = f"http://{grown.host}:8793/log/{path}"

    def status(key: str, file: str) -> int:
        now = int(time.time())
        claims = {"aud": "task-instance-logs", "filename": file, "iat": now, "nbf": now, "exp": now + 60}
        header = {"Authorization": jwt.encode(claims, key, algorithm="HS512")}
        return httpx.get(url, headers=header).status_code

    key = grown.secrets()["api_secret_key"]
    assert httpx.get(url).status_code == 403
    assert status("0" * 64, path) == 403
    assert status(key, path.replace(TASK, "report_end")) == 403
    assert status(key, path) == 200
    assert httpx.get(f"http://{grown.host}:8793/").status_code == 404
