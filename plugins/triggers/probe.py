"""Waiting for a probe job, but not for long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, cast

from airflow.triggers.base import TriggerEvent

from hooks.backends import BackendRef
from triggers.jobs import JobsEnded


class ProbeEnded(JobsEnded):
    """Fires as `JobsEnded` does, or with the status `waits` when it is `until` (Unix time)."""

    def __init__(
        self, ref: BackendRef, group: str, total: int, patience: float, until: float, facility: str = ""
    ) -> None:
        super().__init__(ref, group, total, patience, facility=facility)
        self.until = until

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = ("ref", "group", "total", "patience", "until", "facility")
        return "triggers.probe.ProbeEnded", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Give the event of whichever comes first."""
        async with aclosing(cast("AsyncGenerator[TriggerEvent]", super().run())) as events:
            try:
                async with asyncio.timeout(max(0.0, self.until - time.time())):
                    event = await anext(events)
            except TimeoutError:
                event = TriggerEvent({"status": "waits", "message": "it still waits or runs"})
        yield event
