"""The health check that runs in the containers."""

from __future__ import annotations

import importlib.util
import socket
import sys
import threading
import urllib.error
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from localgrid.layout import PROJECT


@pytest.fixture
def health(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("health", PROJECT / "deploy" / "bin" / "health.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "_secret", lambda name: f"postgresql+psycopg2://{name}")
    return module


@pytest.fixture
def url() -> Iterator[str]:
    """Serve 200 at /well and 503 elsewhere."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/well" else 503)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_address_that_answers_is_healthy(health: ModuleType, url: str) -> None:
    assert health.http(f"{url}/well") is True
    with pytest.raises(urllib.error.HTTPError, match="503"):
        health.http(f"{url}/ill")


class Database:
    """Stands for a connection of psycopg2, with one row or none."""

    def __init__(self, row: tuple[int] | None) -> None:
        self.row, self.closed = row, False
        self.asked: tuple[Any, ...] = ()

    def cursor(self) -> Database:
        return self

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None: ...

    def execute(self, _: str, values: tuple[Any, ...]) -> None:
        self.asked = values

    def fetchone(self) -> tuple[int] | None:
        return self.row

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(("row", "well"), [((1,), True), (None, False)])
def test_only_a_heartbeat_of_this_container_counts(
    health: ModuleType, monkeypatch: pytest.MonkeyPatch, row: tuple[int] | None, well: bool
) -> None:
    database, addresses = Database(row), []

    def connect(address: str, **_: Any) -> Database:
        addresses.append(address)
        return database

    monkeypatch.setitem(sys.modules, "psycopg2", SimpleNamespace(connect=connect))
    assert health.job("TriggererJob") is well
    assert database.asked == ("TriggererJob", socket.gethostname(), health.HEARTBEAT_AGE_S)
    assert addresses == ["postgresql://database_url"]
    assert database.closed


@pytest.mark.parametrize(("answer", "well"), [([{"celery@here": {"ok": "pong"}}], True), ([], False)])
def test_only_the_worker_of_this_container_is_asked(
    health: ModuleType, monkeypatch: pytest.MonkeyPatch, answer: list[Any], well: bool
) -> None:
    asked = []

    def ping(whom: list[str], timeout: float) -> list[Any]:
        asked.append(whom)
        return answer

    celery = SimpleNamespace(Celery=lambda broker: SimpleNamespace(control=SimpleNamespace(ping=ping)))
    monkeypatch.setitem(sys.modules, "celery", celery)
    assert health.worker() is well
    assert asked == [[f"celery@{socket.gethostname()}"]]
