from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Connection
from airflow.sdk.bases.hook import BaseHook
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException

from hooks.backends import (
    BackendRef,
    backend_at,
    backend_in_trigger,
    facility_named,
    open_backend,
    poll_interval,
    require_login,
)
from hooks.broker import BROKER_CONNECTION, Broker
from hooks.dirac_wms import DiracWms
from hooks.errors import BackendRefused, RefusedForGood
from hooks.slurm_ssh import SlurmSsh

REF: BackendRef = {"type": "dirac", "connection": "dirac_local", "user": "alice"}


def connection(**extra: Any) -> Connection:
    return Connection(conn_id="dirac_local", conn_type="http", host="http://dirac", extra=json.dumps(extra))


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    (tmp_path / "alice.json").write_text("{}")
    return tmp_path


def test_a_dirac_facility_is_reached_as_the_user(credentials: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESAP_RUNNER_DIR", "/opt/runner")
    backend = backend_at(connection(credentials_dir=str(credentials)), REF, None)
    assert isinstance(backend, DiracWms)
    assert backend.settings.url == "http://dirac"
    assert backend.settings.credentials == credentials / "alice.json"
    assert backend.programs == Path("/opt/runner")


def test_nobody_acts_with_the_credentials_of_another(credentials: Path) -> None:
    with pytest.raises(BackendRefused, match="'bob'"):
        backend_at(connection(credentials_dir=str(credentials)), {**REF, "user": "bob"}, None)


def test_a_task_looks_the_connection_up_by_the_name_in_the_reference(
    credentials: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def get_connection(conn_id: str) -> Connection:
        asked.append(conn_id)
        if conn_id == BROKER_CONNECTION:
            raise AirflowNotFoundException(conn_id)
        return connection(credentials_dir=str(credentials))

    monkeypatch.setattr(BaseHook, "get_connection", get_connection)
    assert isinstance(open_backend(REF), DiracWms)
    assert asked == ["dirac_local", BROKER_CONNECTION]


def test_a_type_without_a_hook_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="facility type = 'reana': allowed dirac, slurm"):
        backend_at(connection(), {**REF, "type": "reana"}, None)


def test_a_slurm_site_is_reached_with_the_users_own_key(tmp_path: Path) -> None:
    (tmp_path / "alice").write_text("key")
    extra = {"host_key": "ssh-ed25519 AAAA", "keys_dir": str(tmp_path), "work_area": "work"}
    ref: BackendRef = {**REF, "type": "slurm", "facility": "fair-slurm"}
    backend = backend_at(connection(**extra), ref, None)
    assert isinstance(backend, SlurmSsh)
    assert backend.site.settings.key_file == tmp_path / "alice"
    with pytest.raises(RefusedForGood, match="no SSH key of user 'bob' here"):
        backend_at(connection(**extra), {**ref, "user": "bob", "owner": "bob"}, None)


@pytest.mark.parametrize(("extra", "seconds"), [({}, 15.0), ({"poll_interval": "0.5"}, 0.5)])
def test_the_time_between_polls_stands_in_the_connection(extra: dict[str, Any], seconds: float) -> None:
    assert poll_interval(connection(**extra)) == seconds


class FakeBroker:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str, float]] = []

    def require_time(self, system: str, user: str, seconds: float) -> None:
        self.asked.append((system, user, seconds))


@pytest.mark.parametrize(("extra", "seconds"), [({}, 600 + 3600), ({"queue_allowance": 60}, 660)])
def test_a_login_must_last_for_the_job_and_its_time_in_the_queue(
    monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any], seconds: float
) -> None:
    broker = FakeBroker()
    monkeypatch.setattr(Broker, "standing", lambda: broker)
    monkeypatch.setattr(BaseHook, "get_connection", lambda _conn_id: connection(**extra))
    require_login({**REF, "owner": "alice-here"}, 600)
    require_login(REF, 600)
    assert broker.asked == [
        ("dirac:dirac_local", "alice-here", seconds),
        ("dirac:dirac_local", "alice", seconds),
    ]


def test_a_facility_that_was_taken_out_is_named() -> None:
    with pytest.raises(AirflowFailException, match=r"facility = 'moon': allowed are .*lapalma"):
        facility_named("moon")


def test_a_trigger_finds_connection_and_broker_without_blocking(
    credentials: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def find(conn_id: str) -> Connection:
        if conn_id == BROKER_CONNECTION:
            raise AirflowNotFoundException(conn_id)
        return connection(credentials_dir=str(credentials), poll_interval=3)

    monkeypatch.setattr(BaseHook, "aget_connection", find)
    backend, interval = asyncio.run(backend_in_trigger(REF, closing=True))
    assert isinstance(backend, DiracWms)
    assert (backend.settings.closing, interval) == (True, 3.0)
