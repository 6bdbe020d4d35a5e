"""What stands before every request of the API server, outermost first: same origin, then the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from starlette._utils import get_route_path
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse

from access.callers import NESTED, Caller, serving
from access.refusals import CHALLENGE

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
TASKS = "/execution"  # where Airflow's tasks call; they are nobody's browser and need all rows
MARK = "esap_batch.caller"
UNAUTHORIZED = 401


def reads_only(method: str, path: str) -> bool:
    """Whether a request changes nothing; Airflow's long queries are POSTs to .../list."""
    return method in SAFE_METHODS or (
        method == "POST" and path.startswith("/api/v2/") and path.endswith("/list")
    )


class CallerMiddleware:
    """Gives each request a caller of its own, at first nobody. Twice in a row it works once."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or MARK in scope:
            await self.app(scope, receive, send)
            return
        if is_of_tasks(get_route_path(scope)):
            with serving(None):  # nor the one of a request before
                await self.app(scope, receive, send)
            return
        changes = not reads_only(scope["method"], get_route_path(scope))
        scope[MARK] = who = Caller(changes=changes, is_nested=NESTED in scope)

        async def challenging(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == UNAUTHORIZED:
                # Airflow's own refusals of requests without credentials do not say how to come in.
                MutableHeaders(scope=message).setdefault("WWW-Authenticate", CHALLENGE)
            await send(message)

        with serving(who):
            await self.app(scope, receive, challenging)


def is_of_tasks(path: str) -> bool:
    """Whether a path is one that Airflow's tasks call."""
    return path == TASKS or path.startswith(f"{TASKS}/")


class SameOriginMiddleware:
    """Refuses what another site's page makes a browser send with our cookie.

    The rule is that of Go's http.CrossOriginProtection: browsers say in Sec-Fetch-Site, older ones in Origin,
    where a request comes from; what says neither comes from no browser. A bearer token is never sent unasked.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or answer 403."""
        if scope["type"] == "http" and scope["method"] not in SAFE_METHODS:
            connection = HTTPConnection(scope)
            if _by_cookie(connection) and not _same_origin(connection.headers):
                told = {"detail": "refused: the request comes from a page of another site"}
                await JSONResponse(told, 403)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _by_cookie(connection: HTTPConnection) -> bool:
    by_bearer = connection.headers.get("authorization", "").lower().startswith("bearer ")
    return not by_bearer and COOKIE_NAME_JWT_TOKEN in connection.cookies


def _same_origin(headers: Headers) -> bool:
    if site := headers.get("sec-fetch-site"):
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")
