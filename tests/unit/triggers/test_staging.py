from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from airflow.sdk import Connection
from airflow.sdk.bases.hook import BaseHook
from airflow.triggers.base import TriggerEvent

from hooks.errors import RefusedForGood
from hooks.lake_inputs import Staging
from triggers import staging as module
from triggers.staging import InputsStaged, event_of


class Lake:
    """Gives one answer after another, the last one for ever."""

    def __init__(self, answers: Iterable[Staging | Exception]) -> None:
        self.answers = list(answers)
        self.boosted: list[str] = []

    def stagings(self, rules: Sequence[str]) -> dict[str, Staging]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return dict.fromkeys(rules, answer)

    def boost(self, rule: str) -> None:
        self.boosted.append(rule)


def stuck(at: int) -> Staging:
    return Staging("STUCK", 1, 4, "no tape in the drive", f"2026-11-21T10:00:{at:02d}")


DONE = Staging("OK", 4, 4)
UNDER_WAY = Staging("REPLICATING", 2, 4)


def fired(
    monkeypatch: pytest.MonkeyPatch, lake: Lake, patience: float = 600, boosts: int = 3
) -> dict[str, Any]:
    async def connection(conn_id: str) -> Connection:
        extra = json.dumps({"poll_interval": 0.001, "account": "esap"})
        return Connection(conn_id=conn_id, conn_type="rucio", host="http://lake", extra=extra)

    async def scenario() -> list[TriggerEvent]:
        trigger = InputsStaged("rucio_lake", "rule-1", boosts, patience)
        return [event async for event in trigger.run()]

    monkeypatch.setattr(BaseHook, "aget_connection", connection)
    monkeypatch.setattr(module, "InputLake", lambda _lake: lake)
    (event,) = asyncio.run(scenario())
    payload: dict[str, Any] = event.payload
    return payload


def test_it_comes_back_from_what_the_triggerer_keeps() -> None:
    trigger = InputsStaged("rucio_lake", "rule-1", 3, 60)
    path, arguments = trigger.serialize()
    assert path == f"{InputsStaged.__module__}.{InputsStaged.__qualname__}"
    assert InputsStaged(**json.loads(json.dumps(arguments))).serialize() == trigger.serialize()


def test_it_fires_when_all_files_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fired(monkeypatch, Lake([UNDER_WAY, UNDER_WAY, DONE]))["status"] == "staged"


def test_progress_is_told_once_for_each_change(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []

    async def show(_trigger: Any, document: dict[str, Any]) -> None:
        told.append(document)

    monkeypatch.setattr(module, "show_progress", show)
    fired(monkeypatch, Lake([UNDER_WAY, UNDER_WAY, DONE]))
    assert told == [
        {"text": "inputs 2 of 4 files staged", "done": 2, "of": 4},
        {"text": "inputs 4 of 4 files staged", "done": 4, "of": 4},
    ]


def test_what_is_stuck_is_boosted_once_for_each_time_it_gets_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake([stuck(1), stuck(1), UNDER_WAY, stuck(2), UNDER_WAY, DONE])
    assert fired(monkeypatch, lake)["status"] == "staged"
    assert lake.boosted == ["rule-1", "rule-1"]


def test_what_stays_stuck_fails_with_the_reason_of_rucio(monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake([stuck(1), stuck(2), stuck(3)])
    event = fired(monkeypatch, lake, boosts=2)
    assert event["status"] == "failed"
    assert "no tape in the drive" in event["message"]
    assert lake.boosted == ["rule-1", "rule-1"]


@pytest.mark.parametrize("state", ["SUSPENDED", "GONE"])
def test_a_rule_that_will_bring_nothing_fails(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    event = fired(monkeypatch, Lake([Staging(state)]))
    assert event["status"] == "failed"
    assert state in event["message"]


def test_a_silent_lake_is_borne_with_for_a_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fired(monkeypatch, Lake([ConnectionError("down"), DONE]))["status"] == "staged"
    assert fired(monkeypatch, Lake([ConnectionError("down")]), patience=0)["status"] == "silent"


def test_a_refusal_for_good_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fired(monkeypatch, Lake([RefusedForGood("Rucio", "u", "no rights")]))["status"] == "silent"


def test_a_reason_is_told_only_where_there_is_one() -> None:
    assert event_of("failed", UNDER_WAY)["message"] == "inputs 2 of 4 files staged, the rule is REPLICATING."
