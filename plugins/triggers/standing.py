"""What a waiting task says of its run when it cannot go on: SUSPENDED or UNKNOWN."""

from __future__ import annotations

import time

from airflow.triggers.base import BaseTrigger

from esap_batch.progress import SUSPENDED, UNKNOWN
from hooks.broker import LoginNeeded
from triggers.progress import show_mark, show_progress

UNKNOWN_AFTER_S = 60.0


class Standing:
    """Keeps the mark of one waiting task true, with a request to Airflow only when it changes."""

    def __init__(self, trigger: BaseTrigger) -> None:
        self._trigger = trigger
        self._mark: str | None = None  # not known yet: a trigger before a restart may have left one
        self._notice = ""
        self._heard = time.monotonic()

    async def well(self) -> None:
        """There is news: the mark goes."""
        self._heard = time.monotonic()
        await self._set("")

    async def suspended(self, needed: LoginNeeded) -> None:
        """The run waits for a login: says what to do. The time does not count as silence."""
        self._heard = time.monotonic()
        if needed.notice != self._notice:
            self._trigger.log.warning("%s", needed.notice)
            await show_progress(self._trigger, {"text": needed.notice})
            self._notice = needed.notice
        await self._set(SUSPENDED)

    async def silent(self) -> None:
        """There is no news: after a while nobody knows how the run is."""
        if time.monotonic() - self._heard > UNKNOWN_AFTER_S:
            await self._set(UNKNOWN)

    async def _set(self, mark: str) -> None:
        if mark != self._mark:
            await show_mark(self._trigger, mark)
            self._mark = mark
        if mark != SUSPENDED:
            self._notice = ""
