"""The broker's app in the API server, mounted at `/batch-broker`."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from broker import history, people, places, tasks
from broker.consents import ConsentRefused
from broker.credentials import CredentialLost, NoCredential
from broker.systems import UnknownSystem
from broker.vault import VaultError
from broker.x509 import ProxyRefused
from hooks.errors import BackendRefused, BackendUnavailable

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

STATUS: dict[type[Exception], HTTPStatus] = {
    NoCredential: HTTPStatus.NOT_FOUND,
    UnknownSystem: HTTPStatus.NOT_FOUND,
    CredentialLost: HTTPStatus.CONFLICT,
    ConsentRefused: HTTPStatus.BAD_REQUEST,
    ProxyRefused: HTTPStatus.BAD_REQUEST,
    RequestValidationError: HTTPStatus.BAD_REQUEST,
    BackendRefused: HTTPStatus.BAD_GATEWAY,
    BackendUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    VaultError: HTTPStatus.SERVICE_UNAVAILABLE,
}


def create_app() -> FastAPI:
    """Make the app."""
    app = FastAPI(title="ESAP Batch: credentials", docs_url=None, redoc_url=None)
    for router in (tasks.router, places.router, history.router, people.api, people.pages):
        app.include_router(router)
    for kind in STATUS:
        app.add_exception_handler(kind, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(people.LoginFirst, _login_first)
    return app


def _login_first(request: Request, _error: Exception) -> Response:
    if request.method == "GET" and not request.query_params.get("state"):
        return people.to_login()
    return people.words(
        "Log in again", "Your session has ended: log in and begin again.", HTTPStatus.UNAUTHORIZED
    )


def _refused(request: Request, error: Exception) -> Response:
    kind = next(kind for kind in type(error).__mro__ if kind in STATUS)
    return _answer(request, _told(error), STATUS[kind])


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = _answer(request, str(error.detail), error.status_code)
    answer.headers.update(error.headers or {})
    return answer


def _answer(request: Request, told: str, status: int) -> Response:
    if _is_page(request):
        return people.words("This did not work", told, status)
    return JSONResponse({"detail": told}, status, {"Cache-Control": "no-store"})


def _is_page(request: Request) -> bool:
    path: str = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    return path.startswith(("/credentials", "/callback"))


def _told(error: Exception) -> str:
    if not isinstance(error, RequestValidationError):
        return str(error)
    # Without the values: they may be secrets.
    return "; ".join(
        f"{'.'.join(map(str, one['loc'][1:])) or 'body'}: {one['msg']}" for one in error.errors()
    )
