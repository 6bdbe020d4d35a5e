"""Waiting for inputs to arrive near the jobs, in the triggerer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.sdk.bases.hook import BaseHook
from airflow.triggers.base import BaseTrigger, TriggerEvent

from hooks.backends import poll_interval
from hooks.errors import RefusedForGood
from hooks.lake_inputs import InputLake, Staging
from hooks.rucio_lake import RucioLake, RucioSettings
from triggers.poller import BulkPoller
from triggers.progress import show_progress

FINAL = {"OK": "staged", "SUSPENDED": "failed", "GONE": "failed"}


class InputsStaged(BaseTrigger):
    """Fires when a rule's files have arrived, when they will not, or when the lake has been silent too long.

    :param connection: id of the lake's connection. :param rule: the rule that brings the inputs.
    :param boosts: how often a stuck rule is told to try again at once.
    :param patience: seconds to bear with a lake that does not answer.
    """

    def __init__(self, connection: str, rule: str, boosts: int, patience: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.connection, self.rule, self.boosts, self.patience = connection, rule, boosts, patience

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = ("connection", "rule", "boosts", "patience")
        return "triggers.staging.InputsStaged", {n: getattr(self, n) for n in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll together with all others who wait for inputs."""
        connection = await BaseHook.aget_connection(self.connection)
        lake = InputLake(RucioLake(RucioSettings.of(connection)))
        key, every = ("inputs", self.connection), poll_interval(connection)
        poller = BulkPoller.shared(key, lake.stagings, every, "inputs", self.connection)
        heard, shown, boosted_at, left = time.monotonic(), "", "", self.boosts
        async for answer in poller.answers(self.rule):
            if isinstance(answer, Exception):
                self.log.warning("no news of the inputs: %s", answer)
                if time.monotonic() - heard > self.patience or isinstance(answer, RefusedForGood):
                    yield TriggerEvent({"status": "silent", "message": str(answer)})
                    return
                continue
            heard = time.monotonic()
            if str(answer) != shown:
                shown = await self._show(answer)
            if answer.state in FINAL:
                yield TriggerEvent(event_of(FINAL[answer.state], answer))
                return
            if answer.state == "STUCK" and answer.updated_at > boosted_at:
                if not left:
                    yield TriggerEvent(event_of("failed", answer))
                    return
                self.log.warning("stuck: trying again at once, %d tries are left after it", left - 1)
                await asyncio.to_thread(lake.boost, self.rule)
                boosted_at, left = answer.updated_at, left - 1

    async def _show(self, staging: Staging) -> str:
        self.log.info("%s", staging)
        await show_progress(self, {"text": str(staging), "done": staging.files_ok, "of": staging.files})
        return str(staging)


def event_of(status: str, staging: Staging) -> dict[str, str]:
    """Say how the wait ended: status and a sentence."""
    why = f" Rucio says: {staging.error}" if staging.error else ""
    return {"status": status, "message": f"{staging}, the rule is {staging.state}.{why}"}
