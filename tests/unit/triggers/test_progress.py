from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse
from airflow.sdk.execution_time.xcom import XCom

from hooks.backends import BackendRef
from triggers.jobs import JobsEnded
from triggers.progress import show_progress

REF: BackendRef = {"type": "dirac", "connection": "dirac_local", "user": "alice"}
SAID = {"text": "jobs 1 of 2 done", "done": 1, "of": 2}


def waiting(**task: Any) -> JobsEnded:
    trigger = JobsEnded(REF, "g", 2, 60)
    if task:
        trigger._task_instance = SimpleNamespace(dag_id="d", run_id="r", task_id="await", **task)
    return trigger


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    calls: list[Any] = []

    async def aset(key: str, value: Any, **place: Any) -> None:
        calls.append((key, value, place))

    monkeypatch.setattr(XCom, "aset", aset)
    return calls


def test_it_is_kept_for_the_task_that_waits(kept: list[Any]) -> None:
    asyncio.run(show_progress(waiting(map_index=None), SAID))
    place = {"dag_id": "d", "task_id": "await", "run_id": "r", "map_index": -1}
    assert kept == [("progress", SAID, place)]


def test_a_mapped_task_has_its_own(kept: list[Any]) -> None:
    asyncio.run(show_progress(waiting(map_index=3), SAID))
    assert kept[0][2]["map_index"] == 3


def test_without_a_task_nothing_is_kept(kept: list[Any]) -> None:
    asyncio.run(show_progress(waiting(), SAID))
    assert kept == []


def test_a_wait_goes_on_when_its_progress_cannot_be_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(*_args: Any, **_place: Any) -> None:
        raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR))

    monkeypatch.setattr(XCom, "aset", broken)
    trigger = waiting(map_index=-1)
    asyncio.run(show_progress(trigger, SAID))
    assert "cannot be shown" in capsys.readouterr().out
