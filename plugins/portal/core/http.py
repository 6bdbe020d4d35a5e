"""What the portal's apps have in common as servers: limits on bodies, answers to what is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from fastapi.exceptions import RequestValidationError
from starlette._utils import get_route_path
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Match

from access.middleware import is_of_tasks
from esap_batch.errors import shown
from esap_batch.metrics import LIMITED
from hooks.errors import BackendRefused, BackendUnavailable
from hooks.metrics import count
from portal.core.refusals import BadRequest, Refusal, TooLarge, Unavailable

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 256 * 1024  # a request has at most 64 KiB of JSON; forms and uploads wrap it
Render = Callable[[Request, Refusal], Response]


def as_text(_request: Request, refusal: Refusal) -> Response:
    """Answer with the words alone, as UWS has it."""
    return PlainTextResponse(f"{refusal}\n", refusal.status)


def as_json(_request: Request, refusal: Refusal) -> Response:
    """Answer with `{"detail": words, "problems": [{"field", "value", "allowed", "reason"}]}`."""
    problems = [
        {"field": p.field, "value": shown(p.value), "allowed": p.allowed, "reason": p.message}
        for p in getattr(refusal, "problems", ())
    ]
    body = {"detail": str(refusal), **({"problems": problems} if problems else {})}
    return JSONResponse(body, refusal.status)


WHY = {
    400: "The request is wrong: field, value and what is allowed",
    401: "No credentials, or none that are good",
    403: "The caller may not do this",
    404: "There is no such thing, or none that the caller may see",
    405: "The address does not know this method",
    409: "Not in this phase",
    413: "The body is too large",
    415: "The body is of a type that is not read here",
    429: "A limit of the caller's is used up: which, and in Retry-After for how long (s)",
    503: "Airflow, the data lake or the identity provider does not answer",
}


def documented(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """Describe for an OpenAPI document all that any call may be refused with."""
    content = {type_: {"schema": {"type": "string"}} for type_ in media_types}
    return {code: {"description": words, "content": content} for code, words in WHY.items()}


def harden(app: FastAPI, render: Render, max_body: int = MAX_BODY) -> FastAPI:
    """Give an app its limits and its answers to errors; nothing that a caller sends ends in a 500."""

    async def refused(request: Request, error: Exception) -> Response:
        refusal = _refusal(error)
        answer = render(request, refusal)
        answer.headers.update(refusal.headers)
        return answer

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = ", ".join(sorted(_methods(app, request)))
            error = HTTPException(
                error.status_code, f"{request.method}: allowed are {allowed}", {"Allow": allowed}
            )
        answer = render(request, _of_status(error))
        answer.headers.update(error.headers or {})
        return answer

    for kind in (Refusal, RequestValidationError, BackendUnavailable, BackendRefused):
        app.add_exception_handler(kind, refused)
    app.add_exception_handler(HTTPException, http_error)
    app.add_middleware(Limits, render=render, max_body=max_body)
    _say_400_for_422(app)
    return app


def _say_400_for_422(app: FastAPI) -> None:
    """Take FastAPI's own answer to bad input, which is never given here, out of the OpenAPI document."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        document = describe()
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        return document

    app.openapi = described  # type: ignore[method-assign]


def _methods(app: FastAPI, request: Request) -> set[str]:
    """Name all methods of an address: the routes of one address are apart, a route for each method."""
    found: set[str] = set()
    for route in app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return found


def _refusal(error: Exception) -> Refusal:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, RequestValidationError):
        return BadRequest("; ".join(dict.fromkeys(_told(one) for one in error.errors())))
    return Unavailable(str(error))


def _told(error: dict[str, object]) -> str:
    where = error.get("loc")
    field = ".".join(str(part) for part in where[1:]) if isinstance(where, tuple) else "the request"
    return f"{field or 'the request'} = {str(error.get('input'))[:200]!r}: {error.get('msg')}"


def _of_status(error: HTTPException) -> Refusal:
    refusal = Refusal(str(error.detail))
    refusal.status = error.status_code
    return refusal


class Limits:
    """Refuses bodies that are too large before they are read, and paths and queries that are no text."""

    def __init__(self, app: ASGIApp, render: Render, max_body: int) -> None:
        self.app = app
        self.render = render
        self.max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        if refusal := self._refusal(request):
            await self.render(request, refusal)(scope, receive, send)
            return
        counter = _Counter(receive, self.max_body)
        try:
            await self.app(scope, counter, counter.watched(send))
        except _Exceeded:
            if counter.answered:
                raise
            await self.render(request, self._too_large())(scope, receive, send)

    def _refusal(self, request: Request) -> Refusal | None:
        return self._length_refusal(request) or self._text_refusal(request)

    def _length_refusal(self, request: Request) -> Refusal | None:
        length = request.headers.get("content-length", "0")
        if not length.isdigit():
            return BadRequest(f"Content-Length = {length[:50]!r}: allowed is a number of bytes")
        if int(length) > self.max_body:
            return self._too_large()
        return None

    def _text_refusal(self, request: Request) -> Refusal | None:
        raw = request.scope.get("raw_path") or b""
        for part, name in ((raw, "path"), (request.scope["query_string"], "query")):
            text = unquote_to_bytes(part.replace(b"+", b" "))
            if any(byte < 0x20 or byte == 0x7F for byte in text) and not _is_plain(text):  # noqa: PLR2004
                return BadRequest(f"{name} of the address: allowed are printable characters")
            if _is_no_text(text):
                return BadRequest(f"{name} of the address: allowed is UTF-8")
        return None

    def _too_large(self) -> Refusal:
        count(LIMITED, limit="body")
        return TooLarge(f"body of the request: allowed are at most {self.max_body} bytes")


def _is_plain(text: bytes) -> bool:
    """Line breaks and tabs may be part of a parameter."""
    return not any((byte < 0x20 and byte not in b"\t\n\r") or byte == 0x7F for byte in text)  # noqa: PLR2004


def _is_no_text(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return True
    return False


class AirflowLimits(Limits):
    """Limits the bodies of what is for Airflow itself: neither for one of our doors, nor of its tasks."""

    def __init__(self, app: ASGIApp, doors: Sequence[str], max_body: int) -> None:
        super().__init__(app, as_json, max_body)
        self.doors = tuple(f"{door}/" for door in doors)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        path = get_route_path(scope) if scope["type"] == "http" else ""
        if not path or is_of_tasks(path) or f"{path}/".startswith(self.doors):
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def _text_refusal(self, _request: Request) -> Refusal | None:
        return None


class _Exceeded(Exception):  # noqa: N818 - says what happened
    """More came than was announced or allowed."""


class _Counter:
    """Counts the bytes of a body that comes in pieces."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self.receive = receive
        self.limit = limit
        self.seen = 0
        self.answered = False

    @property
    def exceeded(self) -> bool:
        return self.seen > self.limit

    async def __call__(self) -> Message:
        message = await self.receive()
        self.seen += len(message.get("body", b""))
        if self.exceeded:
            raise _Exceeded
        return message

    def watched(self, send: Send) -> Send:
        async def forward(message: Message) -> None:
            if self.exceeded and not self.answered:  # the app has taken it for a fault of its own kind
                raise _Exceeded
            self.answered = True
            await send(message)

        return forward
