from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from esap_batch.jobs import JobCounts, JobState
from hooks.backends import BackendRef
from tests.unit.triggers.test_jobs import REF, Backend
from triggers import jobs as module
from triggers.probe import ProbeEnded


def fired(monkeypatch: pytest.MonkeyPatch, backend: Backend, until: float) -> dict[str, Any]:
    async def opened(_ref: BackendRef, **_options: Any) -> tuple[Backend, float]:
        return backend, 0.0

    async def run() -> dict[str, Any]:
        trigger = ProbeEnded(REF, "g", 1, 10, until)
        (event,) = [event async for event in trigger.run()]
        return dict(event.payload)

    monkeypatch.setattr(module, "backend_in_trigger", opened)
    return asyncio.run(run())


def test_it_fires_when_the_job_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Backend([JobCounts({JobState.QUEUED: 1}), JobCounts({JobState.DONE: 1})])
    assert fired(monkeypatch, backend, time.time() + 60) == {"status": "ended"}


def test_it_fires_when_it_is_time_to_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Backend([JobCounts({JobState.QUEUED: 1})])
    assert fired(monkeypatch, backend, time.time() + 0.1)["status"] == "waits"
    assert fired(monkeypatch, backend, time.time() - 5)["status"] == "waits"


def test_it_comes_back_after_a_restart_of_the_triggerer() -> None:
    path, arguments = ProbeEnded(REF, "g", 1, 10, 99.0).serialize()
    assert path == "triggers.probe.ProbeEnded"
    assert ProbeEnded(**arguments).serialize() == (path, arguments)
