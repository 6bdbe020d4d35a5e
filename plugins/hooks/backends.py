"""From a facility's entry and a user to the hook that runs jobs there."""

from __future__ import annotations

from typing import Any, TypedDict

from airflow.sdk import Connection
from airflow.sdk.bases.hook import BaseHook

from esap_batch.jobs import JobBackend
from hooks.dirac_wms import DiracSettings, DiracWms
from hooks.settings import runner_path


class BackendRef(TypedDict):
    """What a trigger or XCom carries to find the same back end and identity again: no secrets."""

    type: str
    connection: str
    user: str


def open_backend(ref: BackendRef) -> JobBackend:
    """Open the back end from a task."""
    return backend_at(BaseHook.get_connection(ref["connection"]), ref)


def backend_at(connection: Connection, ref: BackendRef) -> JobBackend:
    """Open the back end at a connection that has been looked up already."""
    if ref["type"] != "dirac":
        raise ValueError(f"facility type = {ref['type']!r}: allowed dirac")
    return DiracWms(DiracSettings.of(connection, ref["user"]), runner_path())


def poll_interval(connection: Connection) -> float:
    """Give the seconds between two polls of a back end (extra `poll_interval` of its connection)."""
    extra: dict[str, Any] = connection.extra_dejson
    return float(extra.get("poll_interval", 15.0))
