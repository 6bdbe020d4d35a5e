"""What people do with their credentials: see, connect, disconnect, upload; a page, and JSON for scripts."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, File, Form, HTTPException, Request, Response, UploadFile, status
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from jinja2 import Environment
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from access.observer import note
from access.pages import HEADERS as COMMON_HEADERS
from access.pages import form_mark, shown_to, templates
from access.users import EsapUser, current_user
from broker import consents, credentials
from broker.credentials import State
from broker.oauth import GrantPending
from broker.systems import systems_for
from broker.x509 import MAX_BYTES, ProxyRefused, read_proxy
from hooks.broker import MOUNT, PAGE, X509
from hooks.settings import service_name

log = logging.getLogger(__name__)
pages = APIRouter(include_in_schema=False)
api = APIRouter(prefix="/api", tags=["credentials"])
# No form-action: browsers apply it to the redirect to a system's login page too.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
HEADERS = {"Content-Security-Policy": POLICY, **COMMON_HEADERS}


class LoginFirst(Exception):  # noqa: N818 - says what is needed
    """A person without a session has come to a page."""


async def person(request: Request) -> EsapUser:
    """Give the user of a page; LoginFirst for one who has no session, or whose session has ended."""
    try:
        return await current_user(request)
    except HTTPException as refusal:
        if refusal.status_code == status.HTTP_401_UNAUTHORIZED:
            raise LoginFirst from None
        raise


Person = Annotated[EsapUser, Depends(person)]
Caller = Annotated[EsapUser, Depends(current_user)]


@dataclass(frozen=True)
class Row:
    """A system on the page, with what the user has there."""

    system: str
    title: str
    state: State | None

    @property
    def standing(self) -> str:
        if self.state is None:
            return "not connected"
        return "connected" if self.state.is_good else "ended"

    def document(self) -> dict[str, Any]:
        return {"system": self.system, "title": self.title, "standing": self.standing, **_facts(self.state)}


def _facts(state: State | None) -> dict[str, Any]:
    return {
        "subject": state.subject if state else None,
        "connected_at": state.issued_at.isoformat() if state else None,
        "valid_until": state.expires_at.isoformat() if state and state.expires_at else None,
        "ended_because": state.lost_why if state else None,
    }


def rows_of(user: EsapUser) -> list[Row]:
    """List the systems that a user can connect to, and those still connected."""
    mine = {state.system: state for state in credentials.states(user.get_name())}
    rows = [Row(s.name, s.title, mine.pop(s.name, None)) for s in systems_for(user.identity)]
    rows.append(Row(X509, "x509 proxy, for facilities that need one", mine.pop(X509, None)))
    return rows + [Row(name, name, state) for name, state in mine.items()]


def address(path: str) -> str:
    """Give the address of one of our paths as browsers know it."""
    return service_name() + path


# The page


@pages.get("/credentials")
def show(request: Request, user: Person, told: str = "") -> HTMLResponse:
    """Show what is connected; `told` is the system of which there is news."""
    known = {row.system: row for row in rows_of(user)}
    notice = f"{known[told].title}: {known[told].standing}" if told in known else ""
    return page(user, notice=notice)


def page(user: EsapUser, *, notice: str = "", problem: str = "", code: int = 200) -> HTMLResponse:
    """Render the page of credentials."""
    others = credentials.states(None) if user.identity.is_admin else ()
    text = (
        _templates()
        .get_template("credentials.html")
        .render(
            user=user.get_name(),
            rows=rows_of(user),
            others=[state for state in others if state.owner != user.get_name()],
            notice=notice,
            problem=problem,
            form_token=form_mark(user.get_name()),
            mount=address(MOUNT),
            home=address("/batch/"),
        )
    )
    return HTMLResponse(text, code, HEADERS)


def words(title: str, problem: str, code: int) -> HTMLResponse:
    """Render a page that says what is wrong to somebody who may be nobody."""
    text = _templates().get_template("words.html").render(title=title, problem=problem, again=address(PAGE))
    return HTMLResponse(text, code, HEADERS)


def to_login() -> RedirectResponse:
    """Send a browser to the login and back to the page."""
    return RedirectResponse(address(f"/auth/login?{urlencode({'next': address(PAGE)})}"), 303)


def checked_form(user: Person, form_token: Annotated[str, Form()] = "") -> EsapUser:
    """Accept a form that this page has given to this user; 403 for any other."""
    if shown_to(form_token) != user.get_name():
        raise HTTPException(
            status.HTTP_403_FORBIDDEN, "the form is too old, or not yours: open the page again"
        )
    return user


FormUser = Annotated[EsapUser, Depends(checked_form)]


@pages.post("/credentials/connect")
def connect(user: FormUser, system: Annotated[str, Form(max_length=250)]) -> RedirectResponse:
    """Send the browser to a system's login page."""
    note(system=system)
    return RedirectResponse(consents.begin(user, system, address(f"{MOUNT}/callback")), 303)


@pages.get("/callback")
def callback(
    user: Person, state: str = "", code: str = "", error: str = "", error_description: str = ""
) -> Response:
    """Take what a system's login page has sent back."""
    if error or not code:
        system = consents.cancel(user, state)
        note(system=system)
        why = error_description or error or "it sent no code"
        return page(user, problem=f"{system} was not connected: {why[:300]}", code=400)
    system = consents.finish(user, state, code)
    note(system=system)
    log.info("%s has connected %s", user.get_name(), system)
    return _back(system)


@pages.post("/credentials/disconnect")
def disconnect(user: FormUser, system: Annotated[str, Form(max_length=250)]) -> Response:
    """Forget a credential."""
    note(system=system)
    told = credentials.forget(user.get_name(), system)
    log.info("%s has disconnected %s", user.get_name(), system)
    if told:
        return _back(system)
    return page(user, notice=f"{system} is forgotten here. It does not answer, so it was not told.")


@pages.post("/credentials/proxy")
def upload(user: FormUser, proxy: Annotated[UploadFile, File()]) -> RedirectResponse:
    """Store a proxy."""
    _keep_proxy(user, proxy.file.read(MAX_BYTES + 1))
    return _back(X509)


def _back(system: str) -> RedirectResponse:
    return RedirectResponse(address(f"{PAGE}?{urlencode({'told': system})}"), 303)


def _keep_proxy(user: EsapUser, content: bytes) -> None:
    try:
        proxy = read_proxy(content.decode("ascii"))
    except UnicodeDecodeError:
        raise ProxyRefused("it is no PEM file") from None
    credentials.keep_proxy(user.get_name(), proxy)
    log.info("%s has uploaded a proxy of %s", user.get_name(), proxy.subject)


@cache
def _templates() -> Environment:
    return templates(Path(__file__).parent / "templates", {"time": _moment})


def _moment(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M UTC}" if time else ""


# The same for scripts


class Flow(BaseModel):
    """A device flow: `id` is what `POST /api/devices` gave."""

    id: str = Field(min_length=1, max_length=200)


class Wish(BaseModel):
    """A system to connect to, as `GET /api/credentials` lists it."""

    system: str = Field(min_length=1, max_length=250)


@api.get("/credentials")
def listed(user: Caller) -> dict[str, Any]:
    """List systems and how the caller stands with them."""
    return {"credentials": [row.document() for row in rows_of(user)]}


@api.post("/devices", status_code=status.HTTP_201_CREATED)
def begin_device(user: Caller, wish: Wish) -> dict[str, Any]:
    """Begin a device flow: open `verification_uri` in any browser, and poll with `id` meanwhile."""
    note(system=wish.system)
    started = consents.begin_device(user, wish.system)
    device = started.device
    return {
        "id": started.id,
        "user_code": device.user_code,
        "verification_uri": device.uri,
        "interval": device.interval_s,
        "expires_in": device.expires_in_s,
    }


@api.post("/devices/poll")
def poll_device(user: Caller, flow: Flow) -> JSONResponse:
    """Ask whether a device flow is done: 202 while the user has not decided."""
    try:
        system = consents.poll_device(user, flow.id)
    except GrantPending:
        note("consent.wait")
        return JSONResponse({"standing": "pending"}, status.HTTP_202_ACCEPTED)
    note(system=system)
    log.info("%s has connected %s", user.get_name(), system)
    return JSONResponse({"standing": "connected", "system": system})


@api.put("/credentials/x509")
async def put_proxy(user: Caller, request: Request) -> dict[str, Any]:
    """Store a proxy: the body is its PEM."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BYTES:
            raise HTTPException(status.HTTP_413_CONTENT_TOO_LARGE, f"allowed are {MAX_BYTES} bytes")
    await run_in_threadpool(_keep_proxy, user, bytes(content))
    rows = await run_in_threadpool(rows_of, user)
    return next(row.document() for row in rows if row.system == X509)


@api.delete("/credentials/{system:path}", status_code=status.HTTP_204_NO_CONTENT)
def forget(user: Caller, system: str) -> None:
    """Forget a credential, and give it back to its system if that answers."""
    credentials.forget(user.get_name(), system)
    log.info("%s has disconnected %s", user.get_name(), system)


@api.get("/all-credentials")
def everybody(user: Caller) -> dict[str, Any]:
    """List how everybody's credentials stand, for administrators: nothing secret."""
    _require_admin(user)
    found = [{"owner": s.owner, "system": s.system, **_facts(s)} for s in credentials.states(None)]
    return {"credentials": found}


@api.post("/reseal")
def reseal(user: Caller) -> dict[str, Any]:
    """Encrypt all credentials with the first key, so that older keys can be dropped (administrators).

    `unreadable` lists, as `owner/system`, those that no key opens.
    """
    _require_admin(user)
    resealed, unreadable = credentials.reseal()
    return {"resealed": resealed, "unreadable": unreadable}


def _require_admin(user: EsapUser) -> None:
    if not user.identity.is_admin:
        raise HTTPException(status.HTTP_403_FORBIDDEN, "administrators only")
