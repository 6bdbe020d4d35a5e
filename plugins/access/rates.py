"""How many requests a user may make in a minute, at all doors together.

Stands innermost: by then the session's cookie has been read, and what is found out here about a token is not
found out again (`Caller`).
"""

from __future__ import annotations

import logging
import math
import time
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from fastapi import HTTPException
from starlette._utils import get_route_path
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from access.callers import caller
from access.quotas import too_many
from access.settings import limits
from access.users import current_user
from esap_batch.limits import Exceeded

if TYPE_CHECKING:
    from limits.aio.strategies import MovingWindowRateLimiter
    from starlette.types import ASGIApp, Receive, Scope, Send

    from access.users import EsapUser

log = logging.getLogger(__name__)
CONNECTION = (
    "esap_limits"  # host, port, password and schema (database) of a Redis; without it each for itself
)
IN_MEMORY = "async+memory://"
ANSWER_S = 0.5  # longer no request waits for the Redis
PAUSE_S = 10.0
TEXT_DOORS = ("/uws", "/batch")
# Where this service's own tasks come, whose tokens are no user's.
TASK_DOORS = tuple(f"/batch-broker/{name}" for name in ("tokens", "users/", "places", "history/"))


class RateLimits:
    """Answers 429 to a user who asks too often."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        who = caller()
        path = get_route_path(scope) if scope["type"] == "http" else ""
        if not path or who is None or who.is_nested or path.startswith(TASK_DOORS):
            await self.app(scope, receive, send)
            return
        user = await _user_of(Request(scope))
        exceeded = await _exceeded(user, changes=who.changes) if user and not user.is_service else None
        answer = _refused(path, too_many(exceeded)) if exceeded else self.app
        await answer(scope, receive, send)


async def _user_of(request: Request) -> EsapUser | None:
    try:
        return await current_user(request)
    except HTTPException:  # whoever serves the request refuses it, in words of its own
        return None


async def _exceeded(user: EsapUser, *, changes: bool) -> Exceeded | None:
    from limits import RateLimitItemPerMinute
    from limits.errors import StorageError

    if _pause.lasts():
        return None
    allowed, limiter = limits(), _limiter()
    wanted = {"requests_per_minute": allowed.requests_per_minute}
    if changes:
        wanted["changes_per_minute"] = allowed.changes_per_minute
    try:
        for name, number in wanted.items():
            item = RateLimitItemPerMinute(number, namespace="esap")
            if not await limiter.hit(item, name, user.name):
                until = (await limiter.get_window_stats(item, name, user.name)).reset_time
                return Exceeded(name, number, user.name, max(1, math.ceil(until - time.time())))
    except StorageError as error:  # the Redis is away: better no limit than no service
        _pause.begin()
        log.error("requests are not counted for %g s: %s", PAUSE_S, error)
    return None


class _Pause:
    """How long a Redis that has failed is not asked: each request would wait for it."""

    def __init__(self) -> None:
        self._until = 0.0  # by time.monotonic

    def lasts(self) -> bool:
        return time.monotonic() < self._until

    def begin(self) -> None:
        self._until = time.monotonic() + PAUSE_S


_pause = _Pause()


@cache
def _limiter() -> MovingWindowRateLimiter:
    from limits.aio.strategies import MovingWindowRateLimiter
    from limits.storage import storage_from_string

    where = _storage()
    patience = {} if where == IN_MEMORY else {"socket_connect_timeout": ANSWER_S, "socket_timeout": ANSWER_S}
    storage = storage_from_string(where, wrap_exceptions=True, implementation="redispy", **patience)
    return MovingWindowRateLimiter(storage)


def _storage() -> str:
    from airflow.sdk.bases.hook import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        found = BaseHook.get_connection(CONNECTION)
    except AirflowNotFoundException:
        return IN_MEMORY
    password = f":{quote(found.password, safe='')}@" if found.password else ""
    return f"async+redis://{password}{found.host}:{found.port or 6379}/{found.schema or 0}"


def _refused(path: str, error: HTTPException) -> Response:
    if path.startswith(TEXT_DOORS) and not path.startswith("/batch-broker"):
        return PlainTextResponse(f"{error.detail}\n", error.status_code, error.headers)
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
