"""What the grid consists of: services that supervisor runs, steps around them, and their order."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from localgrid import batch_services
from localgrid.layout import HOST, PROJECT, RUN_VARIABLE, SYSTEM_VARIABLE, Layout
from localgrid.parts import Health, Node, Service, Started, Step, UnhealthyError
from localgrid.setup import airflow, diracx, issuer, postgres, rucio

BEAT_AGE_S = 15.0
SITES = ("ESAP.LaPalma.local", "ESAP.CSCS.local")
SLOTS_VARIABLE = "ESAP_LOCALGRID_SLOTS"  # jobs at the same time at each site and node
DEFAULT_SLOTS = 2


def _get(path: str, layout: Layout, listener: str) -> bytes:
    """Get a path of a listener; by hand, since a client that loads certificates costs 30 ms of CPU a call."""
    connection = HTTPConnection(HOST, layout.ports[listener], timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, HTTPException) as error:
        raise UnhealthyError(f"GET {path}: {error or type(error).__name__}") from error
    finally:
        connection.close()
    if answer.status != HTTPStatus.OK:
        raise UnhealthyError(f"GET {path}: {answer.status} {answer.reason}")
    return body


def _http(listener: str, path: str) -> Health:
    def check(layout: Layout, _: Started) -> None:
        _get(path, layout, listener)

    return check


def _postgres_answers(layout: Layout, _: Started) -> None:
    import psycopg2

    try:
        postgres.query(layout, "select 1")
    except psycopg2.Error as error:
        raise UnhealthyError(str(error).strip()) from error


def _beats(name: str) -> Health:
    def check(layout: Layout, started: Started) -> None:
        try:
            beat = json.loads(layout.beat(name).read_text())
        except FileNotFoundError:
            raise UnhealthyError("no heartbeat yet") from None
        age = time.time() - beat["time"]
        if beat["pid"] != started.pid:
            raise UnhealthyError("no heartbeat yet since its start")
        if age > BEAT_AGE_S:
            raise UnhealthyError(f"last heartbeat {age:.0f} s ago")
        if beat.get("failed"):
            raise UnhealthyError(f"failing: {', '.join(beat['failed'])}")
        if beat.get("diracx"):
            raise UnhealthyError(f"DiracX: {beat['diracx']}")

    return check


def _airflow_component(part: str) -> Health:
    def check(layout: Layout, started: Started) -> None:
        state = json.loads(_get("/api/v2/monitor/health", layout, "airflow-api")).get(part) or {}
        latest = state.get(f"latest_{part}_heartbeat")
        if not latest or datetime.fromisoformat(latest).timestamp() < started.time + 1:
            raise UnhealthyError("no heartbeat yet since its start")
        if state.get("status") != "healthy":
            raise UnhealthyError(f"Airflow says {state.get('status')}, last heartbeat {latest}")

    return check


def _run(layout: Layout, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run a command of set-up, with its output in a log of its own."""
    log = layout.log(name)
    with log.open("ab") as stream:
        done = subprocess.run(
            command,
            env=base_environment(layout, name) | dict(environment),
            cwd=layout.home,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"localgrid: {name} failed with exit code {done.returncode}:\n{tail(log)}")


def _rucio_schema(layout: Layout) -> None:
    if not rucio.has_schema(layout):
        _run(layout, "rucio-schema", rucio.schema_command(layout), rucio.environment(layout))


def _airflow_schema(layout: Layout) -> None:
    if not airflow.has_schema(layout):
        _run(layout, "airflow-schema", airflow.migrate_command(layout), airflow.environment(layout))
        airflow.note_schema(layout)


def _airflow_service(component: str, part: str, **more: object) -> Service:
    return Service(
        component,
        ("airflow-schema",),
        command=lambda layout: airflow.command(layout, component),
        environment=airflow.environment,
        health=_airflow_component(part) if part else _http("airflow-api", "/api/v2/version"),
        listener="" if part else "airflow-api",
        stop_wait_s=15,
        **more,  # type: ignore[arg-type]
    )


def _s3_command(layout: Layout) -> Sequence[str]:
    return [
        layout.program("diracx", "moto_server"),
        "-H",
        layout.interface("s3"),
        "-p",
        str(layout.ports["s3"]),
    ]


def slots_per_site() -> int:
    """How many jobs each DIRAC site and each node of SLURM runs at the same time.

    Raises:
        RuntimeError: $ESAP_LOCALGRID_SLOTS is no positive whole number.

    """
    text = os.environ.get(SLOTS_VARIABLE, str(DEFAULT_SLOTS))
    if not text.isdecimal() or int(text) < 1:
        raise RuntimeError(f"localgrid: {SLOTS_VARIABLE} = {text!r}: allowed: a whole number from 1")
    return int(text)


def slots() -> dict[str, int]:
    """The slots by DIRAC site."""
    return dict.fromkeys(SITES, slots_per_site())


def _fts_command(layout: Layout) -> Sequence[str]:
    program = [str(layout.python("airflow")), "-m", "localgrid.programs.fts"]
    return [*program, "--port", str(layout.ports["fts"]), "--state", str(layout.path("fts"))]


NODES: tuple[Node, ...] = (
    Service(
        "postgres",
        command=postgres.command,
        environment=lambda _: {"LC_ALL": "C.UTF-8"},
        health=_postgres_answers,
        prepare=postgres.create,
        stop_signal="INT",
        listener="postgres",
        outlives=(*airflow.COMPONENTS, "rucio", "rucio-daemons"),
    ),
    Step("databases", ("postgres",), postgres.create_databases),
    Step("airflow-schema", ("databases",), _airflow_schema),
    _airflow_service("airflow-api", ""),
    _airflow_service("airflow-scheduler", "scheduler"),
    _airflow_service("airflow-dag-processor", "dag_processor"),
    _airflow_service("airflow-triggerer", "triggerer"),
    Service(
        "s3",
        command=_s3_command,
        # Its name is a host's, and no bucket's in front of one.
        environment=lambda _: {"S3_IGNORE_SUBDOMAIN_BUCKETNAME": "true"},
        health=_http("s3", "/moto-api/"),
        listener="s3",
        stand_in_for="an S3 store",
    ),
    Service(
        "diracx",
        ("s3",),
        command=diracx.server_command,
        environment=diracx.environment,
        health=_http("diracx", "/api/health/ready"),
        prepare=diracx.create,
        listener="diracx",
        steps=("diracx-credentials",),
    ),
    Step("software-area", (), diracx.create_software_area),
    Step("diracx-credentials", ("diracx",), diracx.renew_credentials),
    Service(
        "site",
        ("diracx", "software-area"),
        command=lambda layout: diracx.site_command(layout, slots()),
        environment=diracx.environment,
        health=_beats("site"),
        prepare=diracx.exchange_key_file,
        stand_in_for="DIRAC's matcher, pilots and two sites",
        leaves_children=True,
    ),
    Step("rucio-schema", ("databases",), _rucio_schema),
    Service(
        "rucio",
        ("rucio-schema",),
        command=rucio.server_command,
        environment=rucio.environment,
        health=_http("rucio", "/ping"),
        listener="rucio",
        steps=("rucio-lake",),
    ),
    Step("rucio-lake", ("rucio",), rucio.fill_lake),
    Service(
        "rucio-daemons",
        ("rucio-schema",),
        command=rucio.daemons_command,
        environment=rucio.environment,
        health=_beats("rucio-daemons"),
        stop_wait_s=20,
    ),
    Service(
        "issuer",
        command=issuer.command,
        environment=issuer.environment,
        health=_http("issuer", "/.well-known/openid-configuration"),
        prepare=issuer.create,
        listener="issuer",
    ),
    Service(
        "fts",
        command=_fts_command,
        health=_http("fts", "/"),
        listener="fts",
        stand_in_for="FTS and the tape robot",
    ),
    *batch_services.NODES,
)
BY_NAME = {node.name: node for node in NODES}
SERVICES = {node.name: node for node in NODES if isinstance(node, Service)}
# Each can run by itself, on a machine or in a container of its own, with the state directory shared.
SYSTEMS: Mapping[str, tuple[str, ...]] = {
    "issuer": ("issuer",),
    "diracx": ("s3", "diracx", "site"),
    "rucio": ("postgres", "rucio", "rucio-daemons", "fts"),
    "slurm": tuple(node.name for node in batch_services.NODES if isinstance(node, Service)),
}


def of(layout: Layout) -> dict[str, Service]:
    """The services that run here.

    Raises:
        RuntimeError: $ESAP_LOCALGRID_SYSTEM names no system, or one whose packages are missing.

    """
    if not layout.system:
        return SERVICES
    if not (names := SYSTEMS.get(layout.system)):
        allowed = ", ".join(name for name, services in SYSTEMS.items() if services)
        raise RuntimeError(
            f"localgrid: {SYSTEM_VARIABLE} = {layout.system!r}: allowed: {allowed}, or nothing"
        )
    return {name: SERVICES[name] for name in names}


def base_environment(layout: Layout, name: str) -> dict[str, str]:
    """What every process of the grid has: nothing of the caller's, and to write only the state directory."""
    path = [str(layout.python("airflow").parent), "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]
    return {
        "PATH": os.pathsep.join(path),
        "HOME": str(layout.path("user")),
        "TMPDIR": str(layout.path("tmp")),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(PROJECT),
        "PYTHONUNBUFFERED": "1",
        RUN_VARIABLE: f"{layout.mark}:{name}",
    }


def write_script(layout: Layout, service: Service) -> Path:
    """Write the script that becomes the service's process; it can also be run by hand."""
    environment = base_environment(layout, service.name) | dict(service.environment(layout))
    lines = ["#!/bin/sh", *(f"export {name}={shlex.quote(value)}" for name, value in environment.items())]
    lines += [f"cd {shlex.quote(str(layout.home))}", f"exec {shlex.join(service.command(layout))}", ""]
    path = layout.path("services", f"{service.name}.sh")
    path.touch(mode=0o700)
    path.write_text("\n".join(lines))
    return path


def tail(log: Path, lines: int = 20) -> str:
    """The last lines of a log file."""
    if not log.exists():
        return "(no log)"
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 20_000))
        return "\n".join(stream.read().decode(errors="replace").splitlines()[-lines:])
