from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from airflow.triggers.base import TriggerEvent

from esap_batch.progress import SUSPENDED
from hooks.broker import Broker, LoginNeeded
from hooks.errors import BackendUnavailable
from triggers import credentials as module
from triggers import standing
from triggers.credentials import CredentialsBack

LOST = LoginNeeded("d", "alice", "it was revoked", "http://p/credentials")
AWAY = BackendUnavailable("the credentials broker", "http://p", "503")
GOOD = object()


class FakeBroker:
    """Gives one answer after another, the last one for ever."""

    page = "http://p/credentials"

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.forgotten = 0
        self.times: list[float] = []

    def forget(self, *_: str) -> None:
        self.forgotten += 1

    def token(self, system: str, user: str) -> Any:
        assert (system, user) == ("d", "alice")
        assert self.forgotten > self.asked
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def require_time(self, _system: str, _user: str, seconds: float) -> None:
        self.times.append(seconds)
        if len(self.times) == 1:
            raise LOST


def fire(monkeypatch: pytest.MonkeyPatch, trigger: CredentialsBack, broker: FakeBroker | None) -> list[Any]:
    """Gives its events, then the marks and progress that it tells."""
    told: list[Any] = []

    async def find() -> FakeBroker | None:
        return broker

    async def mark(_trigger: Any, value: str) -> None:
        told.append(value)

    async def show(_trigger: Any, document: dict[str, Any]) -> None:
        told.append(document["text"])

    async def scenario() -> list[Any]:
        return [event async for event in trigger.run()]

    monkeypatch.setattr(Broker, "astanding", find)
    monkeypatch.setattr(module, "INTERVAL_S", 0.001)
    monkeypatch.setattr(module, "show_progress", show)
    monkeypatch.setattr(standing, "show_progress", show)
    monkeypatch.setattr(standing, "show_mark", mark)
    events = asyncio.run(scenario())
    return [*events, *told]


BACK = TriggerEvent({"status": "back"})
GOING_ON = "alice has logged in again: going on"


def test_it_comes_back_from_what_the_triggerer_keeps() -> None:
    trigger = CredentialsBack("d", "alice", "why", 600, required=True)
    path, arguments = trigger.serialize()
    assert path == f"{CredentialsBack.__module__}.{CredentialsBack.__qualname__}"
    assert CredentialsBack(**json.loads(json.dumps(arguments))).serialize() == trigger.serialize()


def test_the_run_is_suspended_until_the_login(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = FakeBroker(LOST, AWAY, LOST, GOOD)
    told = fire(monkeypatch, CredentialsBack("d", "alice", "why"), broker)
    assert told == [BACK, LOST.notice, SUSPENDED, "", GOING_ON]
    assert broker.asked == 4


def test_who_disconnects_goes_on_where_the_service_has_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fire(monkeypatch, CredentialsBack("d", "alice", "why"), FakeBroker(LOST, None))[0] == BACK


def test_who_must_connect_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = FakeBroker(None, None, GOOD)
    told = fire(monkeypatch, CredentialsBack("d", "alice", "nothing is connected", required=True), broker)
    assert told[0] == BACK
    assert "(nothing is connected)" in told[1]
    assert broker.asked == 3


def test_a_login_that_ends_too_early_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = FakeBroker(GOOD)
    assert fire(monkeypatch, CredentialsBack("d", "alice", "why", 600), broker)[0] == BACK
    assert broker.times == [600, 600]


def test_without_a_broker_there_is_nothing_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fire(monkeypatch, CredentialsBack("d", "alice", "why"), None) == [BACK, "", GOING_ON]
