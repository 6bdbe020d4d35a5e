"""Telling a user's act from another triggerer's."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse, GetTaskStates, TaskStatesResult
from airflow.sdk.execution_time.xcom import XCom

from triggers.takeover import TRY, is_taken_over, note_try


class Comms:
    """Stands for the way to Airflow."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.asked = answer, list[GetTaskStates]()

    async def asend(self, asked: GetTaskStates) -> Any:
        self.asked.append(asked)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def asked_of(
    monkeypatch: pytest.MonkeyPatch, answer: Any, index: int | None = None, noted: int | None = 2
) -> tuple[bool, Comms]:
    """Ask of a second try, with the number of the try that the task's XCom has."""

    async def get(**which: Any) -> int | None:
        assert which["key"] == TRY
        return noted

    comms = Comms(answer)
    monkeypatch.setattr(XCom, "aget_one", get)
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", comms, raising=False)
    task = SimpleNamespace(dag_id="cta_irf", task_id="wait", run_id="r1", map_index=index, try_number=2)
    trigger: Any = SimpleNamespace(task_instance=task, log=SimpleNamespace(warning=lambda *_: None))
    return asyncio.run(is_taken_over(trigger)), comms


@pytest.mark.parametrize("state", ["failed", "success", "running", "queued", "scheduled", "skipped", None])
def test_a_task_that_no_longer_waits_was_ended_by_a_user(
    monkeypatch: pytest.MonkeyPatch, state: str | None
) -> None:
    taken, _ = asked_of(monkeypatch, TaskStatesResult(task_states={"r1": {"wait": state}}))
    assert taken is False


def test_a_task_that_waits_has_another_triggerer(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, comms = asked_of(monkeypatch, TaskStatesResult(task_states={"r1": {"wait": "deferred"}}))
    assert taken is True
    (asked,) = comms.asked
    assert (asked.dag_id, asked.task_ids, asked.run_ids, asked.map_index) == ("cta_irf", ["wait"], ["r1"], -1)


@pytest.mark.parametrize("noted", [None, 1, 3])
def test_a_task_that_waits_in_another_try_was_cleared(
    monkeypatch: pytest.MonkeyPatch, noted: int | None
) -> None:
    waits = TaskStatesResult(task_states={"r1": {"wait": "deferred"}})
    assert asked_of(monkeypatch, waits, noted=noted)[0] is False


def test_a_trigger_notes_its_try(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []

    async def keep(key: str, value: Any, **place: Any) -> None:
        kept.append((key, value, place["task_id"]))

    monkeypatch.setattr(XCom, "aset", keep)
    task = SimpleNamespace(dag_id="cta_irf", task_id="wait", run_id="r1", map_index=None, try_number=2)
    trigger: Any = SimpleNamespace(task_instance=task)
    asyncio.run(note_try(trigger))
    assert kept == [(TRY, 2, "wait")]


def test_a_mapped_task_is_known_by_its_index(monkeypatch: pytest.MonkeyPatch) -> None:
    states = {"r1": {"wait_0": "failed", "wait_1": "deferred"}}
    assert asked_of(monkeypatch, TaskStatesResult(task_states=states), 1)[0] is True
    assert asked_of(monkeypatch, TaskStatesResult(task_states=states), 0)[0] is False


@pytest.mark.parametrize(
    "answer",
    [
        TaskStatesResult(task_states={}),
        None,
        AirflowRuntimeError(ErrorResponse(error=ErrorType.GENERIC_ERROR, detail={})),
    ],
)
def test_where_airflow_does_not_say_it_may_have_been_a_user(
    monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    assert asked_of(monkeypatch, answer)[0] is False


def test_a_trigger_without_a_task_is_ended_by_its_user() -> None:
    trigger: Any = SimpleNamespace(task_instance=None)
    asyncio.run(note_try(trigger))
    assert asyncio.run(is_taken_over(trigger)) is False
