from __future__ import annotations

import asyncio
from typing import Any

import pytest
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import DRCount, GetDRCount
from airflow.triggers.base import TriggerEvent
from airflow.utils.state import DagRunState

from triggers import runs as module
from triggers.runs import RunEnded


class Comms:
    """Airflow's answers of how many runs match, one after the other."""

    def __init__(self, *counts: int) -> None:
        self.counts = list(counts)
        self.asked: list[GetDRCount] = []

    async def asend(self, question: GetDRCount) -> DRCount:
        self.asked.append(question)
        return DRCount(count=self.counts.pop(0))


def fired(monkeypatch: pytest.MonkeyPatch, comms: Comms) -> list[TriggerEvent]:
    async def scenario() -> list[TriggerEvent]:
        return [event async for event in RunEnded("cta_irf", "manual__1").run()]

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", comms, raising=False)
    monkeypatch.setattr(module, "INTERVAL_S", 0.0)
    return asyncio.run(scenario())


def test_it_fires_as_soon_as_the_run_does_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    comms = Comms(1, 1, 0)
    (event,) = fired(monkeypatch, comms)
    assert event.payload == "cta_irf/manual__1"
    assert comms.counts == []
    assert (comms.asked[0].dag_id, comms.asked[0].run_ids) == ("cta_irf", ["manual__1"])


def test_it_fires_for_a_run_that_was_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(fired(monkeypatch, Comms(0))) == 1


def test_every_state_of_a_run_goes_on_or_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    comms = Comms(0)
    fired(monkeypatch, comms)
    ended: set[Any] = {DagRunState.SUCCESS, DagRunState.FAILED}
    assert set(comms.asked[0].states or []) == {str(s) for s in set(DagRunState) - ended}


def test_it_comes_back_after_a_restart_of_the_triggerer() -> None:
    path, arguments = RunEnded("cta_irf", "manual__1").serialize()
    assert path == "triggers.runs.RunEnded"
    assert RunEnded(**arguments).serialize() == (path, arguments)
