"""Waiting for a job as a client asks for it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from portal.core.phases import Phase
from portal.core.watch import Watch
from portal.uws import waiting
from portal.uws.waiting import FOREVER, LONGEST_S, waited
from tests.unit.portal.conftest import user
from tests.unit.portal.uws.test_representations import PENDING


class Jobs:
    """Gives the job as it is afterwards."""

    user = user("alice")

    async def get(self, job_id: int) -> Any:
        return replace(PENDING, id=job_id, phase=Phase.ABORTED)


class Client:
    """Sends its request, and hangs up when it is told to."""

    def __init__(self) -> None:
        self.leaves = asyncio.Event()
        self.has_sent = False

    async def receive(self) -> Any:
        if not self.has_sent:
            self.has_sent = True
            return {"type": "http.request"}
        await self.leaves.wait()
        return {"type": "http.disconnect"}


class Recorder(Watch):
    """Notes what is waited for; the phase changes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []

    async def changed(self, job_id: int, known: Phase, within: float | None, user: str) -> None:
        self.asked.append((job_id, known, within, user))


def ask(job: Any, seconds: int, phase: Phase | None = None) -> Any:
    return waited(job, Jobs(), Client(), seconds, phase)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "within"), [(7, 7), (FOREVER, LONGEST_S), (LONGEST_S + 1, LONGEST_S), (10**9, LONGEST_S)]
)
def test_the_time_has_a_limit(monkeypatch: pytest.MonkeyPatch, seconds: int, within: int) -> None:
    watch = Recorder()
    monkeypatch.setattr(waiting, "watch", watch)
    assert asyncio.run(ask(PENDING, seconds)).phase is Phase.ABORTED
    assert watch.asked == [(12, Phase.PENDING, within, "alice")]


@pytest.mark.parametrize("phase", [p for p in Phase if not p.is_active])
def test_phases_that_do_not_change_by_themselves_are_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, phase: Phase
) -> None:
    monkeypatch.setattr(waiting, "watch", None)
    job = replace(PENDING, phase=phase)
    assert asyncio.run(ask(job, FOREVER)) is job
    assert asyncio.run(ask(job, FOREVER, phase)) is job
    assert asyncio.run(ask(PENDING, FOREVER, phase)) is PENDING


def test_a_client_that_hangs_up_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async def leave() -> None:
        watch, client = Watch(turn=3600), Client()
        monkeypatch.setattr(waiting, "watch", watch)
        call = asyncio.create_task(waited(PENDING, Jobs(), client, FOREVER, None))  # type: ignore[arg-type]
        while not watch._waiting:
            await asyncio.sleep(0)
        client.leaves.set()
        await call
        await asyncio.sleep(0)
        assert (watch._waiting, watch._known) == ({}, {})
        assert watch._task is not None
        watch._task.cancel()

    asyncio.run(leave())
