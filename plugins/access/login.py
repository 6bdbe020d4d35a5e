"""Login and logout of people at their issuer, mounted at /auth (OpenID Connect: code flow with PKCE)."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any
from urllib.parse import urlencode, urlsplit

from airflow.api_fastapi.app import AUTH_MANAGER_FASTAPI_APP_PREFIX, get_auth_manager, get_cookie_path
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.auth.tokens import get_signing_key
from airflow.configuration import conf
from authlib.integrations.base_client import OAuthError
from authlib.integrations.starlette_client import OAuth
from fastapi import FastAPI, HTTPException, Request, status
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.middleware.sessions import SessionMiddleware

from access.issuers import DISCOVERY, PATIENCE_S, Issuer, issuer_of, known_issuers
from access.observer import note
from access.people import remember
from access.refusals import issuer_away, not_authenticated
from hooks.settings import service_name

try:  # authlib takes the first of these that is there
    from httpx2 import HTTPError
except ImportError:
    from httpx import HTTPError  # type: ignore[assignment]

LOGIN_COOKIE = "esap_login"  # state, nonce and PKCE verifier of logins that have begun
LOGIN_S = 600
ID_TOKEN_COOKIE = "esap_id_token"  # noqa: S105 - a name; with the token the issuer ends its session unasked
PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width,initial-scale=1"></head>
<body style="font:16px/1.5 system-ui;max-width:36rem;margin:10vh auto;padding:0 1rem">
<h1>{title}</h1>{body}</body></html>"""


def create_app() -> FastAPI:
    """Make the app."""
    app = FastAPI(title="Login", docs_url=None, redoc_url=None)
    app.add_middleware(
        SessionMiddleware,
        secret_key=get_signing_key("api", "secret_key"),
        session_cookie=LOGIN_COOKIE,
        max_age=LOGIN_S,
        path=AUTH_MANAGER_FASTAPI_APP_PREFIX,
        same_site="lax",
        https_only=_is_secure(),
    )
    app.add_api_route("/login", login, methods=["GET"])
    app.add_api_route("/callback/{name}", callback, methods=["GET"])
    app.add_api_route("/logout", logout, methods=["GET"])
    app.add_api_route("/token", exchange, methods=["POST"], status_code=status.HTTP_201_CREATED)
    return app


async def login(request: Request, next: str = "", issuer: str = "") -> Response:  # noqa: A002 - Airflow's name
    """Send the browser to an issuer; with several, ask which."""
    issuers = known_issuers()
    if not issuer and len(issuers) > 1:
        return _choice(issuers, next)
    name = issuer or next_of(issuers)
    if name not in issuers:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"issuer = {name!r}: allowed are {', '.join(issuers)}")
    request.session["next"] = next if _is_ours(request, next) else ""
    try:
        answer: Response = await _client(name).authorize_redirect(request, _address(f"/auth/callback/{name}"))
    except HTTPError:
        raise issuer_away(issuers[name].url) from None
    return answer


async def callback(request: Request, name: str) -> Response:
    """Take the issuer's answer and begin a session of Airflow's."""
    issuers = known_issuers()
    if name not in issuers:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"issuer = {name!r}: allowed are {', '.join(issuers)}")
    client, issuer = _client(name), issuers[name]
    try:
        token = await client.authorize_access_token(request)
        claims = await _claims_of_login(client, issuer, token)
    except OAuthError as error:
        return _refused(f"{error.error}: {error.description}")
    except HTTPError:
        raise issuer_away(issuer.url) from None
    from access.manager import user_of_claims

    try:
        user = replace(user_of_claims(issuer, claims), expires=None)  # the session outlasts the ID token
        note(user=user.name)
        remember(user)
    except HTTPException as refusal:
        return _refused(refusal.detail)
    following = request.session.pop("next", "")
    answer = RedirectResponse(following if _is_ours(request, following) else _address("/"), 303)
    _set_cookie(answer, COOKIE_NAME_JWT_TOKEN, get_auth_manager().generate_jwt(user), get_cookie_path())
    _set_cookie(answer, ID_TOKEN_COOKIE, token["id_token"], AUTH_MANAGER_FASTAPI_APP_PREFIX)
    return answer


async def _claims_of_login(client: Any, issuer: Issuer, token: Mapping[str, Any]) -> dict[str, Any]:
    """Give the claims of the verified ID token; groups that it lacks come from the userinfo endpoint."""
    claims = dict(token.get("userinfo") or {})
    if not claims:
        raise OAuthError("invalid_token", "the issuer gave no ID token")
    if not issuer.settings.has_groups(claims) or issuer.settings.user_claim not in claims:
        more = dict(await client.userinfo(token=token))
        if more.get("sub") != claims["sub"]:
            raise OAuthError("invalid_token", "the issuer told of somebody else")
        claims = more | claims
    return claims


async def logout(request: Request) -> Response:
    """Forget the session, which Airflow has revoked, and tell the issuer (RP-initiated logout)."""
    told = request.cookies.get(ID_TOKEN_COOKIE)
    answer: Response = RedirectResponse(_address("/"), 303)
    issuer = issuer_of(told) if told else None
    if told and issuer:
        try:
            metadata = await _client(issuer.settings.name).load_server_metadata()
        except HTTPError:
            metadata = {}  # the session here ends all the same
        if end := metadata.get("end_session_endpoint"):
            asked = {"id_token_hint": told, "post_logout_redirect_uri": _address("/")}
            answer = RedirectResponse(f"{end}?{urlencode(asked)}", 303)
    for name, path in (
        (COOKIE_NAME_JWT_TOKEN, get_cookie_path()),
        (ID_TOKEN_COOKIE, AUTH_MANAGER_FASTAPI_APP_PREFIX),
    ):
        answer.delete_cookie(name, path=path, secure=_is_secure(), httponly=True, samesite="lax")
    return answer


async def exchange(request: Request) -> JSONResponse:
    """Give a token of Airflow's own for an issuer's, for clients that want Airflow's; it lasts no longer."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise not_authenticated()
    manager = get_auth_manager()
    given = manager.generate_jwt(await manager.get_user_from_token(token))
    return JSONResponse({"access_token": given}, status.HTTP_201_CREATED, {"Cache-Control": "no-store"})


def _client(name: str) -> Any:
    issuer = known_issuers()[name]
    scope = " ".join(issuer.settings.scopes)
    return _registered(name, issuer.url, issuer.client_id, issuer.client_secret, scope)


@cache
def _registered(name: str, url: str, client_id: str, client_secret: str, scope: str) -> Any:
    return OAuth().register(
        name,
        client_id=client_id,
        client_secret=client_secret,
        server_metadata_url=f"{url}{DISCOVERY}",
        client_kwargs={"scope": scope, "code_challenge_method": "S256", "timeout": PATIENCE_S},
    )


def next_of(issuers: Mapping[str, Issuer]) -> str:
    """Name the only issuer."""
    if not issuers:
        raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, "identity.yaml names no issuer")
    return next(iter(issuers))


def _choice(issuers: Mapping[str, Issuer], following: str) -> HTMLResponse:
    targets = {name: urlencode({"issuer": name, "next": following}) for name in issuers}
    links = [f'<li><a href="?{html.escape(t)}">{html.escape(name)}</a></li>' for name, t in targets.items()]
    return HTMLResponse(PAGE.format(title="Where are you known?", body=f"<ul>{''.join(links)}</ul>"))


def _refused(why: str) -> HTMLResponse:
    again = f"{AUTH_MANAGER_FASTAPI_APP_PREFIX}/login"
    body = f'<p role="alert">{html.escape(why)}</p><p><a href="{again}">Try again</a></p>'
    return HTMLResponse(PAGE.format(title="The login has failed", body=body), status.HTTP_403_FORBIDDEN)


def _is_ours(request: Request, url: str) -> bool:
    from airflow.api_fastapi.core_api.security import is_safe_url

    return bool(url) and is_safe_url(url, request=request)


def _address(path: str) -> str:
    return service_name() + path


def _is_secure() -> bool:
    return urlsplit(_address("/")).scheme == "https" or bool(conf.get("api", "ssl_cert", fallback=""))


def _set_cookie(answer: Response, name: str, value: str, path: str) -> None:
    answer.set_cookie(name, value, path=path, secure=_is_secure(), httponly=True, samesite="lax")
