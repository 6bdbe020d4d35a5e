"""Waiting until a user has logged in again, in the triggerer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from hooks.broker import Broker, LoginNeeded
from hooks.errors import BackendUnavailable
from triggers.progress import show_progress
from triggers.standing import Standing

INTERVAL_S = 5.0


class CredentialsBack(BaseTrigger):
    """Fires when a user's credentials are good again. It asks the broker alone, and no other system.

    :param system: of the credentials. :param user: whose. :param why: they are needed, for people.
    :param seconds: for how long they must last.
    :param required: there is no way without them; else it also fires when the user has disconnected.
    """

    def __init__(self, system: str, user: str, why: str, seconds: float = 0, required: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.system, self.user, self.why, self.seconds, self.required = system, user, why, seconds, required

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = ("system", "user", "why", "seconds", "required")
        return "triggers.credentials.CredentialsBack", {n: getattr(self, n) for n in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ask again and again; it costs the broker a row of a table."""
        standing = Standing(self)
        while needed := await self._needed():
            if isinstance(needed, LoginNeeded):
                await standing.suspended(needed)
            else:
                self.log.warning("%s", needed)
            await asyncio.sleep(INTERVAL_S)
        await standing.well()
        self.log.info("%s has logged in for %s", self.user, self.system)
        await show_progress(self, {"text": f"{self.user} has logged in again: going on"})
        yield TriggerEvent({"status": "back"})

    async def _needed(self) -> LoginNeeded | BackendUnavailable | None:
        broker = await Broker.astanding()
        if broker is None:
            return None
        try:
            return await asyncio.to_thread(self._ask, broker)
        except (LoginNeeded, BackendUnavailable) as needed:
            return needed

    def _ask(self, broker: Broker) -> None:
        broker.forget(self.system, self.user)  # a token from before the end may be good for a while yet
        token = broker.token(self.system, self.user)
        if token is None and self.required:
            raise LoginNeeded(self.system, self.user, self.why, broker.page, required=True)
        if self.seconds:
            broker.require_time(self.system, self.user, self.seconds)
