"""The credentials broker against the real DiracX, the real issuer and PostgreSQL."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from hooks.broker import Broker, LoginNeeded
from hooks.dirac_wms import DiracSettings, DiracWms
from hooks.errors import RefusedForGood
from hooks.settings import runner_dir
from localgrid.grid import Grid
from localgrid.signin import passwords, sign_in, walk
from tests.broker_side import broker_side
from tests.connecting import DIRAC, connect, disconnect, end_at_diracx, held

PROCESSES = 8


def task_key(grid: Grid) -> str:
    connections = json.loads(Path(grid.info["connections_file"]).read_text())
    return str(connections["esap_broker"]["password"])


@pytest.fixture
def broker(grid: Grid) -> Broker:
    """The broker as a task finds it; a new one has no token yet."""
    return Broker(grid.info["airflow"]["url"], task_key(grid))


@pytest.fixture
def connected(grid: Grid) -> Iterator[Grid]:
    """Let alice have connected DIRAC."""
    answer = connect(grid.info, "alice")
    assert "connected" in answer.text
    yield grid
    disconnect(grid.info, "alice")


def race(grid: Grid, rounds: int = 1) -> list[dict[str, str]]:
    arguments = (DIRAC, str(PROCESSES), str(rounds))
    return [json.loads(line) for line in broker_side(grid.info, "race", "alice", *arguments)]


def sessions(grid: Grid, access_token: str) -> list[Any]:
    """List alice's refresh tokens at DiracX."""
    headers = {"Authorization": f"Bearer {access_token}"}
    answer = httpx.get(f"{grid.info['diracx']['url']}/api/auth/refresh-tokens", headers=headers)
    return list(answer.raise_for_status().json())


def test_eight_processes_at_once_renew_once(connected: Grid) -> None:
    before, access = held(connected.info, "alice")
    answers = race(connected, rounds=3)  # DiracX ends every session when an old token is used
    assert sorted(Counter(answer["token"] for answer in answers).values()) == [PROCESSES] * 3
    after, _ = held(connected.info, "alice")
    live = {one["JTI"] for one in sessions(connected, access)}
    assert jwt.decode(after, options={"verify_signature": False})["jti"] in live
    assert jwt.decode(before, options={"verify_signature": False})["jti"] not in live


def test_eight_processes_with_a_revoked_token_all_learn_that_it_is_lost(connected: Grid) -> None:
    end_at_diracx(connected.info, "alice")
    answers = race(connected)
    assert len(answers) == PROCESSES
    assert len({answer["lost"] for answer in answers}) == 1
    connect(connected.info, "alice")
    assert len({answer["token"] for answer in race(connected)}) == 1


def test_a_task_acts_with_its_users_own_token(connected: Grid, broker: Broker) -> None:
    wms = DiracWms(
        DiracSettings(connected.info["diracx"]["url"], None, lambda: broker.token(DIRAC, "alice")),
        runner_dir(),
    )
    assert wms.attempts("esap-none-of-this-name") == []
    token = broker.token(DIRAC, "alice")
    assert token
    assert token.ends_at
    assert token.lasts
    assert jwt.decode(token.secret, options={"verify_signature": False})["preferred_username"] == "alice"
    assert broker.token(DIRAC, "bob") is None


def test_a_restart_loses_nothing(connected: Grid, broker: Broker) -> None:
    first = broker.token(DIRAC, "alice")
    connected.restart("airflow-api")
    broker.forget(DIRAC, "alice")
    assert broker.token(DIRAC, "alice") == first
    broker_side(connected.info, "age", "alice", DIRAC, "-1")
    broker.forget(DIRAC, "alice")
    second = broker.token(DIRAC, "alice")
    assert second
    assert second != first


def test_users_are_no_tasks_and_tasks_are_no_users(connected: Grid, broker: Broker) -> None:
    url = connected.info["airflow"]["url"]
    user = sign_in(connected.info, "alice")["access_token"]
    body = {"system": DIRAC, "user": "alice"}
    own = {"Authorization": f"Bearer {user}"}
    assert httpx.post(f"{url}/batch-broker/tokens", json=body, headers=own).status_code == 401
    assert httpx.get(f"{url}/batch-broker/users/alice", headers=own).status_code == 401
    assert httpx.post(f"{url}/batch-broker/tokens", json=body).status_code == 401
    task = {"Authorization": f"Bearer {broker._pass('alice')}"}
    paths = ("/batch-broker/api/credentials", "/api/v2/dags", "/api/v2/connections")
    assert [httpx.get(f"{url}{path}", headers=task).status_code for path in paths] == [401] * len(paths)


def test_who_forges_a_tasks_proof_gets_nothing(connected: Grid) -> None:
    url = connected.info["airflow"]["url"]
    with pytest.raises(RefusedForGood, match="401"):
        Broker(url, "x" * 64).token(DIRAC, "alice")
    old = int(time.time()) - 3600
    claims = {"iss": "esap-task", "aud": "esap-broker", "sub": "alice", "iat": old, "exp": old + 60}
    headers = {"Authorization": f"Bearer {jwt.encode(claims, task_key(connected), 'HS256')}"}
    body = {"system": DIRAC, "user": "alice"}
    assert httpx.post(f"{url}/batch-broker/tokens", json=body, headers=headers).status_code == 401


def test_somebody_else_at_the_login_page_connects_nothing(grid: Grid, broker: Broker) -> None:
    answer = connect(grid.info, "bob", as_user="alice")
    assert answer.status_code == 400
    assert "says that alice has logged in, and you are bob here" in answer.text
    assert broker.token(DIRAC, "bob") is None


def test_iam_gives_tokens_for_each_audience(grid: Grid, broker: Broker) -> None:
    connect(grid.info, "alice", "iam")
    try:
        tokens = [broker.token("iam", "alice", audience) for audience in ("rucio", "dcache", "rucio")]
        told = [jwt.decode(t.secret, options={"verify_signature": False}) for t in tokens if t]
        assert [(t["aud"], t["preferred_username"]) for t in told] == [
            ("rucio", "alice"), ("dcache", "alice"), ("rucio", "alice"),
        ]  # fmt: skip
        assert all("ctao/users" in str(t["wlcg.groups"]) for t in told)
    finally:
        disconnect(grid.info, "alice", "iam")
    broker.forget("iam", "alice", "rucio")
    assert broker.token("iam", "alice", "rucio") is None


def test_a_script_connects_by_the_device_flow(grid: Grid, broker: Broker) -> None:
    headers = {"Authorization": f"Bearer {sign_in(grid.info, 'bob')['access_token']}"}
    with httpx.Client(
        base_url=f"{grid.info['airflow']['url']}/batch-broker/api", headers=headers, timeout=60
    ) as script:
        flow = script.post("/devices", json={"system": DIRAC}).raise_for_status().json()
        assert script.post("/devices/poll", json={"id": flow["id"]}).status_code == 202
        with httpx.Client(timeout=60) as elsewhere:
            walk(elsewhere, flow["verification_uri"], "bob", passwords(grid.info)["bob"])
        assert script.post("/devices/poll", json={"id": flow["id"]}).json()["standing"] == "connected"
        assert broker.token(DIRAC, "bob")
        assert script.delete(f"/credentials/{DIRAC}").status_code == 204
    broker.forget(DIRAC, "bob")
    assert broker.token(DIRAC, "bob") is None


def test_groups_are_those_of_the_users_token(grid: Grid, broker: Broker) -> None:
    sign = sign_in(grid.info, "bob")
    url, headers = grid.info["airflow"]["url"], {"Authorization": f"Bearer {sign['access_token']}"}
    httpx.get(f"{url}/api/v2/dags", headers=headers).raise_for_status()
    assert broker.groups("bob") == ["ctao/users", "ctao/pi-crab"]
    assert broker.groups("mallory") is None


def test_a_lost_login_is_told_with_where_to_log_in(connected: Grid, broker: Broker) -> None:
    end_at_diracx(connected.info, "alice")
    with pytest.raises(LoginNeeded, match="/batch-broker/credentials"):
        broker.token(DIRAC, "alice")
