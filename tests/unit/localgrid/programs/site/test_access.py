"""Calls to DiracX that are tried until they pass."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from azure.core.exceptions import HttpResponseError

from localgrid.programs.site import access as module
from localgrid.programs.site.access import TRIES_WHEN_REFUSED, Access, RefusedError, Who

ALICE = Who("ctao", "alice", "ctao_user")


def http(status: int) -> HttpResponseError:
    error = HttpResponseError(f"HTTP {status}")
    error.status_code = status
    return error


def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *errors: Exception) -> tuple[str, int, int]:
    """Call with these errors first; gives the answer, the calls made and the clients made."""
    monkeypatch.setattr(module, "FIRST_WAIT_S", 0.0)
    left, made, calls = list(errors), [0], [0]
    access = Access("http://127.0.0.1:9", "key", tmp_path)

    async def client(who: Who) -> Any:
        if who not in access._clients:
            made[0] += 1
            access._clients[who] = SimpleNamespace(__aexit__=leave)  # type: ignore[assignment]
        return access._clients[who]

    async def leave(*_: object) -> None:
        return None

    async def what(_: Any) -> str:
        calls[0] += 1
        if left:
            raise left.pop(0)
        return "fine"

    monkeypatch.setattr(access, "_client", client)
    return asyncio.run(access.call(ALICE, what)), calls[0], made[0]


def test_a_server_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    errors = [ConnectionError("refused"), OSError("reset"), http(502), http(401), http(429)] * 5
    answer, calls, made = call(monkeypatch, tmp_path, *errors)
    assert (answer, calls) == ("fine", 26)
    assert made == 26, "each lost connection or token brings a new client"


def test_a_passing_refusal_is_sat_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answer, calls, made = call(monkeypatch, tmp_path, http(400), http(400))
    assert (answer, calls, made) == ("fine", 3, 1)


def test_a_missing_sandbox_is_not_asked_for_for_ever(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gone = httpx.HTTPStatusError(
        "gone", request=httpx.Request("GET", "http://x"), response=httpx.Response(404)
    )
    with pytest.raises(RefusedError, match="gone"):
        call(monkeypatch, tmp_path, *[gone] * TRIES_WHEN_REFUSED)


def test_a_lasting_refusal_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="HTTP 403"):
        call(monkeypatch, tmp_path, *[http(403)] * TRIES_WHEN_REFUSED)
