"""Services, their order and their health checks."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from localgrid import services
from localgrid.grid import Grid
from localgrid.layout import PUBLIC, SYSTEM_OF, SYSTEM_VARIABLE, Layout
from localgrid.parts import Service, Started, UnhealthyError
from localgrid.services import BY_NAME, NODES, SERVICES, SYSTEMS
from localgrid.setup import airflow


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.make()
    return layout


def test_needs_are_known_and_free_of_circles() -> None:
    done: set[str] = set()
    left = list(NODES)
    while left:
        ready = [node for node in left if done.issuperset(node.needs)]
        assert ready, f"a circle or an unknown need: {left}"
        done |= {node.name for node in ready}
        left = [node for node in left if node.name not in done]
    for service in SERVICES.values():
        assert all(service.name in BY_NAME[step].needs for step in service.steps)


def test_each_system_can_run_without_the_others(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    together = [name for names in SYSTEMS.values() for name in names]
    assert sorted(together) == sorted(set(SERVICES) - set(airflow.COMPONENTS))
    found = {SERVICES[name].listener: system for system, names in SYSTEMS.items() for name in names}
    assert {
        listener: found[listener] for listener in PUBLIC if listener in found
    }.items() <= SYSTEM_OF.items()
    for system, names in SYSTEMS.items():
        if not names:
            continue
        monkeypatch.setenv(SYSTEM_VARIABLE, system)
        assert set(services.of(layout)) == set(names)
        wanted = Grid(layout.home)._with_needs(list(names))
        assert {name for name, node in wanted.items() if isinstance(node, Service)} == set(names)


def test_a_system_that_is_not_known_is_refused(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SYSTEM_VARIABLE, "condor")
    with pytest.raises(
        RuntimeError, match="ESAP_LOCALGRID_SYSTEM = 'condor': allowed: issuer, diracx, rucio"
    ):
        services.of(layout)


def test_stand_ins_are_declared() -> None:
    assert {name for name, service in SERVICES.items() if service.stand_in_for} == {"s3", "site", "fts"}


def test_the_script_of_a_service_passes_values_unchanged(layout: Layout) -> None:
    nasty = """{"a": "it's $HOME", "b": "`id` 100% \\\\ "}"""

    def environment(_: Layout) -> Mapping[str, str]:
        return {"NASTY": nasty}

    service: Service = replace(SERVICES["fts"], command=lambda _: ["env", "-0"], environment=environment)
    script = services.write_script(layout, service)
    assert script.stat().st_mode & 0o777 == 0o700
    done = subprocess.run(["/bin/sh", script], env={"LEAK": "x"}, capture_output=True, text=True, check=True)
    seen = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    assert seen["NASTY"] == nasty
    assert seen["HOME"] == str(layout.path("user"))
    assert seen["ESAP_LOCALGRID_RUN"] == f"{layout.home}:fts"


def beat(layout: Layout, **values: object) -> None:
    layout.beat("site").write_text(json.dumps({"pid": os.getpid(), "time": time.time()} | values))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"pid": 1}, "no heartbeat yet since its start"),
        ({"time": 1000.0}, "last heartbeat"),
        ({"failed": ["poller"]}, "failing: poller"),
        ({"diracx": "ConnectError"}, "DiracX: ConnectError"),
    ],
)
def test_a_heartbeat_that_is_not_good_is_unhealthy(
    layout: Layout, values: dict[str, object], words: str
) -> None:
    started = Started(os.getpid(), time.time() - 100)
    with pytest.raises(UnhealthyError, match="no heartbeat yet"):
        SERVICES["site"].health(layout, started)
    beat(layout)
    SERVICES["site"].health(layout, started)
    beat(layout, **values)
    with pytest.raises(UnhealthyError, match=words):
        SERVICES["site"].health(layout, started)


class Answer(BaseHTTPRequestHandler):
    status, body = 200, "{}"

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        pass


def airflow_health(layout: Layout, started: float, code: int, **part: object) -> None:
    Answer.status, Answer.body = code, json.dumps({"scheduler": part})
    server = HTTPServer(("127.0.0.1", layout.ports["airflow-api"]), Answer)
    thread = Thread(target=server.handle_request)
    thread.start()
    try:
        SERVICES["airflow-scheduler"].health(layout, Started(1, started))
    finally:
        thread.join()
        server.server_close()


def test_airflow_component_is_judged_by_a_heartbeat_of_its_present_process(layout: Layout) -> None:
    heart = "latest_scheduler_heartbeat"
    values = {"status": "healthy", heart: "2026-11-21T10:00:00+00:00"}
    beat_at = 1795255200.0
    airflow_health(layout, beat_at - 10, 200, **values)
    with pytest.raises(UnhealthyError, match="since its start"):
        airflow_health(layout, beat_at + 10, 200, **values)
    with pytest.raises(UnhealthyError, match="unhealthy"):
        airflow_health(layout, beat_at - 10, 200, **values | {"status": "unhealthy"})
    with pytest.raises(UnhealthyError, match="500"):
        airflow_health(layout, beat_at - 10, 500, **values)


def test_a_service_that_does_not_listen_is_unhealthy(layout: Layout) -> None:
    for name in ("postgres", "rucio", "diracx", "fts", "s3", "airflow-api", "airflow-scheduler"):
        with pytest.raises(UnhealthyError):
            SERVICES[name].health(layout, Started(1, 0))


def test_tail_gives_the_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert services.tail(log) == "(no log)"
    log.write_text("".join(f"line {n}\n" for n in range(10_000)))
    assert services.tail(log, 2) == "line 9998\nline 9999"


def test_slots_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(services.SLOTS_VARIABLE, "7")
    assert set(services.slots().values()) == {7}
    monkeypatch.setenv(services.SLOTS_VARIABLE, "-1")
    with pytest.raises(RuntimeError, match="whole number from 1"):
        services.slots()
