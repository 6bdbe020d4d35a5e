from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
from airflow.sdk import Connection

from broker import credentials
from broker.oauth import AuthorizationServer
from broker.systems import system_named
from hooks.broker import BROKER_CONNECTION
from tests.unit.broker.conftest import TASK_KEY, Issuer, Site

DIRAC = "dirac:dirac_local"


def task_token(user: str = "alice", key: str = TASK_KEY, algorithm: str = "HS256", **changes: Any) -> str:
    now = int(time.time())
    claims = {"iss": "esap-task", "aud": "esap-broker", "sub": user, "iat": now, "exp": now + 60, **changes}
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, key, algorithm)


def ask(site: Site, token: str | None, user: str = "alice", system: str = DIRAC) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return site.client.post("/tokens", json={"system": system, "user": user}, headers=headers)


@pytest.fixture
def connected(site: Site, issuer: Issuer) -> Site:
    server = AuthorizationServer(system_named(DIRAC))
    credentials.keep_grant("alice", DIRAC, server.refresh(issuer.token()["refresh_token"]), "sub")
    return site


def test_a_task_gets_a_token_and_never_a_refresh_token(connected: Site, issuer: Issuer) -> None:
    answer = ask(connected, task_token())
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert set(answer.json()) == {"secret", "expires_at", "renew_at", "ends_at", "lasts"}
    assert answer.json()["secret"].startswith("access-")
    assert not any(refresh in answer.text for refresh in issuer.live)


FORGED = {
    "none at all": None,
    "no token": "abc",
    "another key": task_token(key="x" * 40),
    "expired": task_token(iat=1, exp=61),
    "too long": task_token(exp=int(time.time()) + 3600),
    "for another service": task_token(aud="apis"),
    "of another issuer": task_token(iss="https://iam.example.org"),
    "without an end": task_token(exp=None),
    "without a user": task_token(sub=None),
    "unsigned": jwt.encode({"sub": "alice"}, "", "none"),
    "another algorithm": task_token(algorithm="HS512"),
}


@pytest.mark.parametrize("token", FORGED.values(), ids=FORGED)
def test_whoever_is_no_task_is_refused(connected: Site, token: str | None) -> None:
    assert ask(connected, token).status_code == 401
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    assert connected.client.get("/users/alice", headers=headers).status_code == 401


def test_without_a_key_everybody_is_refused(connected: Site, connections: dict[str, Connection]) -> None:
    connections[BROKER_CONNECTION].password = ""
    assert ask(connected, task_token(key="x" * 40)).status_code == 401
    del connections[BROKER_CONNECTION]
    assert ask(connected, task_token()).status_code == 401


def test_keys_are_changed_one_after_the_other(connected: Site, connections: dict[str, Connection]) -> None:
    connections[BROKER_CONNECTION].password = f"{'new' * 20}, {TASK_KEY}"
    assert ask(connected, task_token()).status_code == 200
    assert ask(connected, task_token(key="new" * 20)).status_code == 200


def test_the_task_of_one_user_gets_nothing_of_another(connected: Site) -> None:
    answer = ask(connected, task_token("bob"), "alice")
    assert answer.status_code == 403
    assert "acts for bob, not for alice" in answer.json()["detail"]
    headers = {"Authorization": f"Bearer {task_token('bob')}"}
    assert connected.client.get("/users/alice", headers=headers).status_code == 403


def test_who_has_connected_nothing_and_who_has_lost_it_are_told_apart(
    connected: Site, issuer: Issuer
) -> None:
    assert ask(connected, task_token("bob"), "bob").status_code == 404
    issuer.live.clear()
    answer = ask(connected, task_token(), system=DIRAC)
    assert answer.status_code == 200  # it is good for a while
    with_audience = {"system": DIRAC, "user": "alice", "audience": "other"}
    headers = {"Authorization": f"Bearer {task_token()}"}
    lost = connected.client.post("/tokens", json=with_audience, headers=headers)
    assert (lost.status_code, "revoked" in lost.json()["detail"]) == (409, True)
    assert ask(connected, task_token()).status_code == 409


def test_systems_that_are_away_and_systems_that_are_none(connected: Site, issuer: Issuer) -> None:
    issuer.refuse = (500, {})
    with_audience = {"system": DIRAC, "user": "alice", "audience": "other"}
    headers = {"Authorization": f"Bearer {task_token()}"}
    assert connected.client.post("/tokens", json=with_audience, headers=headers).status_code == 503
    assert ask(connected, task_token(), system="dirac:elsewhere").status_code == 404
    unknown = ask(connected, task_token(), system="dirac:../x")
    assert unknown.status_code == 404
    assert "allowed are dirac:dirac_local, iam" in unknown.json()["detail"]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"system": 1}', b'{"system": "", "user": "alice"}', b"\xff"])
def test_bad_bodies_are_refused_without_their_content(connected: Site, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {task_token()}", "Content-Type": "application/json"}
    answer = connected.client.post("/tokens", content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["detail"]


def test_groups_are_those_of_the_last_token_or_of_the_local_file(site: Site) -> None:
    def groups(name: str) -> Any:
        return site.client.get(f"/users/{name}", headers={"Authorization": f"Bearer {task_token(name)}"})

    assert groups("bob").json() == {"name": "bob", "groups": ["ctao/users"]}
    assert groups("dave").json()["groups"] == ["km3net/users"]  # never seen, known to identity.yaml
    assert groups("mallory").status_code == 404
