from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Connection
from airflow.sdk.bases.hook import BaseHook

from hooks.backends import BackendRef, backend_at, open_backend, poll_interval
from hooks.dirac_wms import DiracWms
from hooks.errors import BackendRefused

REF: BackendRef = {"type": "dirac", "connection": "dirac_local", "user": "alice"}


def connection(**extra: Any) -> Connection:
    return Connection(conn_id="dirac_local", conn_type="http", host="http://dirac", extra=json.dumps(extra))


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    (tmp_path / "alice.json").write_text("{}")
    return tmp_path


def test_a_dirac_facility_is_reached_as_the_user(credentials: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESAP_RUNNER", "/opt/runner.py")
    backend = backend_at(connection(credentials_dir=str(credentials)), REF)
    assert isinstance(backend, DiracWms)
    assert backend.settings.url == "http://dirac"
    assert backend.settings.credentials == credentials / "alice.json"
    assert backend.runner == Path("/opt/runner.py")


def test_nobody_acts_with_the_credentials_of_another(credentials: Path) -> None:
    with pytest.raises(BackendRefused, match="'bob'"):
        backend_at(connection(credentials_dir=str(credentials)), {**REF, "user": "bob"})


def test_a_task_looks_the_connection_up_by_the_name_in_the_reference(
    credentials: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def get_connection(conn_id: str) -> Connection:
        asked.append(conn_id)
        return connection(credentials_dir=str(credentials))

    monkeypatch.setattr(BaseHook, "get_connection", get_connection)
    assert isinstance(open_backend(REF), DiracWms)
    assert asked == ["dirac_local"]


def test_a_type_without_a_hook_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="facility type = 'slurm': allowed dirac"):
        backend_at(connection(), {**REF, "type": "slurm"})


@pytest.mark.parametrize(("extra", "seconds"), [({}, 15.0), ({"poll_interval": "0.5"}, 0.5)])
def test_the_time_between_polls_stands_in_the_connection(extra: dict[str, Any], seconds: float) -> None:
    assert poll_interval(connection(**extra)) == seconds
