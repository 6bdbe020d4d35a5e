"""Waiting for another run, in the triggerer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from airflow.utils.state import DagRunState

INTERVAL_S = 2.0
GOES_ON = [str(DagRunState.QUEUED), str(DagRunState.RUNNING)]


class RunEnded(BaseTrigger):
    """Fires when a run has ended or was deleted, for which Airflow's own `DagStateTrigger` waits on."""

    def __init__(self, dag_id: str, run_id: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dag_id, self.run_id = dag_id, run_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggers.runs.RunEnded", {"dag_id": self.dag_id, "run_id": self.run_id}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look again and again."""
        while await self._goes_on():
            await asyncio.sleep(INTERVAL_S)
        yield TriggerEvent(f"{self.dag_id}/{self.run_id}")

    async def _goes_on(self) -> bool:
        from airflow.sdk.execution_time.comms import DRCount, GetDRCount
        from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

        asked = GetDRCount(dag_id=self.dag_id, run_ids=[self.run_id], states=GOES_ON)
        answer = await SUPERVISOR_COMMS.asend(asked)
        assert isinstance(answer, DRCount)
        return answer.count > 0
