"""Stands before all requests, outermost: measures each, and writes those that are acts to the audit log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette._utils import get_route_path

from access.callers import NESTED, Caller
from access.middleware import MARK, is_of_tasks, reads_only
from esap_batch.acts import act_of, verdict
from esap_batch.metrics import REQUEST_TIME, REQUESTS, door_of, outcome_of
from hooks.audit import write_act
from hooks.metrics import count, timing

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

BROKEN = 500


@dataclass
class Act:
    """What is learned of an act while its request is served. `name` is empty as long as nobody has said."""

    name: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


_current: ContextVar[Act | None] = ContextVar("esap_act", default=None)


def note(name: str = "", **facts: Any) -> None:
    """Tell what is being done: the first name counts, of facts the last. Outside of requests nothing."""
    if act := _current.get():
        act.name = act.name or name
        act.facts |= facts


@contextmanager
def _observing(act: Act) -> Iterator[None]:
    token = _current.set(act)
    try:
        yield
    finally:
        _current.reset(token)


class Observer:
    """Looks at all requests but those of tasks, and of the portal at Airflow on behalf of another."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        part = NESTED in scope and _current.get() is not None
        if scope["type"] != "http" or part or is_of_tasks(get_route_path(scope)):
            await self.app(scope, receive, send)
            return
        began, status, act = time.perf_counter(), BROKEN, Act()
        path = get_route_path(scope)

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                door = door_of(path)
                timing(REQUEST_TIME, time.perf_counter() - began, door=door)
                count(REQUESTS, door=door, outcome=outcome_of(status))
            await send(message)

        try:
            with _observing(act):
                await self.app(scope, receive, watched)
        except BaseException:
            status = BROKEN
            raise
        finally:
            _write(scope, path, act, status)


def _write(scope: Scope, path: str, act: Act, status: int) -> None:
    method = scope["method"]
    told = act_of(method, path, reads_only=reads_only(method, path))
    if told is None:
        return
    who = scope.get(MARK)
    user = who.user.name if isinstance(who, Caller) and who.user else ""
    facts = {**told[1], **act.facts, "status": status}
    client = scope.get("client")
    address = client[0] if client else ""
    write_act(act.name or told[0], str(facts.pop("user", user)), verdict(status), address=address, **facts)
