"""From a facility's entry and a user to the hook that runs jobs there."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, NotRequired, TypedDict

from airflow.sdk import Connection
from airflow.sdk.bases.hook import BaseHook
from airflow.sdk.exceptions import AirflowFailException

from esap_batch.facilities import Facility, load_facilities
from esap_batch.jobs import JobBackend
from hooks.broker import Broker, dirac_system
from hooks.dirac_wms import DiracSettings, DiracWms
from hooks.settings import config_dir, runner_dir
from hooks.slurm_ssh import SlurmSsh
from hooks.ssh_program import SshSettings

QUEUE_ALLOWANCE_S = 3600.0
SBATCH_OPTIONS = ("account", "qos", "constraint")


class BackendRef(TypedDict):
    """What a trigger or XCom carries to find the same back end and identity again: no secrets."""

    type: str
    connection: str
    user: str
    owner: NotRequired[str]  # the user's name here; without it the same as there
    facility: NotRequired[str]  # whose entry says more than the connection; for SLURM


def facility_named(name: str) -> Facility:
    """Look a facility up in config/facilities.yaml; AirflowFailException when it is not there any more."""
    path = config_dir() / "facilities.yaml"
    known = {f.name: f for f in load_facilities(path)}
    if name not in known:
        allowed = ", ".join(known)
        raise AirflowFailException(f"facility = {name!r}: allowed are those in {path.name}: {allowed}")
    return known[name]


def open_backend(ref: BackendRef, *, closing: bool = False) -> JobBackend:
    """Open the back end from a task; `closing` to end what was begun, even if the user's login has ended."""
    return backend_at(BaseHook.get_connection(ref["connection"]), ref, Broker.standing(), closing=closing)


def backend_at(
    connection: Connection, ref: BackendRef, broker: Broker | None, *, closing: bool = False
) -> JobBackend:
    """Open the back end at a connection that has been looked up already."""
    if ref["type"] == "slurm":
        return _slurm(connection, ref)
    if ref["type"] != "dirac":
        raise ValueError(f"facility type = {ref['type']!r}: allowed dirac, slurm")
    settings = DiracSettings.of(connection, ref["user"], ref.get("owner", ""), broker)
    return DiracWms(replace(settings, closing=closing), runner_dir())


def _slurm(connection: Connection, ref: BackendRef) -> SlurmSsh:
    facility = facility_named(ref["facility"])
    owner = ref.get("owner", ref["user"])
    options = {"account": facility.group} | {k: v for k, v in facility.slurm.items() if k in SBATCH_OPTIONS}
    scratch = str(facility.slurm.get("scratch_env", ""))
    return SlurmSsh(SshSettings.of(connection, owner), owner, runner_dir(), options, scratch)


async def backend_in_trigger(ref: BackendRef, *, closing: bool = False) -> tuple[JobBackend, float]:
    """Open the back end from a trigger; gives it with the seconds between two polls."""
    connection, broker = await BaseHook.aget_connection(ref["connection"]), await Broker.astanding()
    backend = await asyncio.to_thread(backend_at, connection, ref, broker, closing=closing)
    return backend, poll_interval(connection)


def require_login(ref: BackendRef, wall_time_s: float) -> None:
    """Raise LoginNeeded when what the user has connected is bound to end before a job submitted now.

    To its wall time comes what it may queue: extra `queue_allowance` (s) of the connection, else an hour.
    """
    if broker := Broker.standing():
        extra = BaseHook.get_connection(ref["connection"]).extra_dejson
        seconds = wall_time_s + float(extra.get("queue_allowance", QUEUE_ALLOWANCE_S))
        broker.require_time(dirac_system(ref["connection"]), ref.get("owner", ref["user"]), seconds)


def poll_interval(connection: Connection) -> float:
    """Give the seconds between two polls of a back end (extra `poll_interval` of its connection)."""
    extra: dict[str, Any] = connection.extra_dejson
    return float(extra.get("poll_interval", 15.0))
