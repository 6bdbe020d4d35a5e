"""What all pages share: templates, who is logged in, form tokens, answers to what is refused."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, Request
from jinja2 import Environment
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from access.pages import HEADERS as COMMON_HEADERS
from access.pages import form_mark, shown_to, templates
from access.users import EsapUser, current_user
from portal.core.addresses import public_base
from portal.core.airflow_api import AirflowApi
from portal.core.bodies import FORM_TYPES, read_form
from portal.core.refusals import Forbidden, Refusal
from portal.core.service import Jobs
from portal.pages import words

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HERE = Path(__file__).parent
TOKEN, ROOT = "token", "/batch"
SEE_OTHER = 303
POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
HEADERS = {"Content-Security-Policy": POLICY, **COMMON_HEADERS}


class Visit:
    """A request for a page by somebody who is logged in."""

    def __init__(self, request: Request, user: EsapUser) -> None:
        self.request = request
        self.user = user
        self.jobs = Jobs(user, AirflowApi.of(request))

    def page(self, template: str, status: int = HTTPStatus.OK, **context: Any) -> Response:
        """Show a page, or part of one."""
        mark = form_mark(self.user.get_name())
        return _page(self.request, template, status, user=self.user, token=mark, **context)

    def go(self, path: str, **query: str) -> Response:
        """Send the browser on after a change."""
        return RedirectResponse(address(self.request, path, **query), SEE_OTHER)

    def away(self, path: str) -> Response:
        """Send the browser to another app of this API server."""
        return RedirectResponse(f"{public_base(self.request)}{path}", SEE_OTHER)

    async def form(self) -> FormData:
        """Read a form that one of our pages has shown to this user; Forbidden for any other."""
        form = await read_form(self.request)
        whose = shown_to(str(form.get(TOKEN, "")))
        if whose is None:
            raise Forbidden("this form is too old, or not one of these pages: open it again")
        if whose != self.user.get_name():
            raise Forbidden("this form was shown to another user: open it again")
        return form


def _visit(request: Request, user: Annotated[EsapUser, Depends(current_user)]) -> Visit:
    return Visit(request, user)


Visitor = Annotated[Visit, Depends(_visit)]


def form_of(*fields: str, file: bool = False) -> dict[str, Any]:
    """Describe the form that a call takes, for the OpenAPI document."""
    properties: dict[str, Any] = {name: {"type": "string"} for name in (TOKEN, *fields)}
    if file:
        properties["file"] = {"type": "string", "format": "binary"}
    schema = {"type": "object", "required": [TOKEN], "properties": properties}
    return {"requestBody": {"required": True, "content": {FORM_TYPES[file]: {"schema": schema}}}}


def refused(request: Request, refusal: Refusal) -> Response:
    """Answer a person with a page, a program with text; somebody who is not logged in is sent to do so."""
    if not _is_for_people(request):
        return PlainTextResponse(f"{refusal}\n", refusal.status)
    if refusal.status == HTTPStatus.UNAUTHORIZED and request.method == "GET":
        return RedirectResponse(login_address(request), SEE_OTHER)
    return _page(request, "refused.html", refusal.status, refusal=refusal, login=login_address(request))


def _is_for_people(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "") and "authorization" not in request.headers


def login_address(request: Request) -> str:
    """Give the login, which leads back to this page."""
    query = f"?{request.url.query}" if request.url.query else ""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    back = f"{public_base(request)}{ROOT}{path}{query}"
    return f"{public_base(request)}/auth/login?{urlencode({'next': back})}"


def address(request: Request, path: str, **query: str) -> str:
    """Give the address of a page by its path below /batch."""
    asked = f"?{urlencode(query)}" if query else ""
    return f"{public_base(request)}{ROOT}{path}{asked}"


def _page(request: Request, template: str, status: int, **context: Any) -> Response:
    base = public_base(request)
    shared = {"base": f"{base}{ROOT}", "airflow": base, "words": words, "user": None, "token": ""}
    text = _templates().get_template(template).render(**{**shared, **context})
    return HTMLResponse(text, int(status), headers=HEADERS)


@cache
def _templates() -> Environment:
    return templates(HERE / "templates", words.FILTERS)


class StaticHeaders:
    """Keeps static files in the browser's cache for a while, and each from being taken for another type."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = {"x-content-type-options": "nosniff", "cache-control": "max-age=3600"}
                message["headers"] += [(k.encode(), v.encode()) for k, v in extra.items()]
            await send(message)

        await self.app(scope, receive, marked)
