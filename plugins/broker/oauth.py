"""What the broker says to authorization servers (RFC 6749, 7009, 7636, 8628)."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import httpx
import jwt
from authlib.common.security import generate_token
from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from broker.systems import System
from hooks.errors import BackendRefused, BackendUnavailable

TIMEOUT_S = 20.0
METADATA_S = 3600.0
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
DEFAULT_LIFETIME_S = 600
# What an authorization server says when a grant is over (RFC 6749, section 5.2; RFC 8628, section 3.5).
OVER = {"invalid_grant", "access_denied", "expired_token", "consent_required", "login_required"}
PENDING = {"authorization_pending", "slow_down"}


class GrantOver(Exception):  # noqa: N818 - says what happened
    """A grant is over for good: used up, revoked, refused or too old. The text is for the user."""


class GrantPending(Exception):  # noqa: N818 - says what happened
    """The user has not decided yet."""


@dataclass(frozen=True)
class Grant:
    """What a token endpoint gives. `refresh_ends_at` is None when nobody says."""

    access_token: str = field(repr=False)
    expires_at: datetime
    refresh_token: str = field(repr=False)
    refresh_ends_at: datetime | None


@dataclass(frozen=True)
class Device:
    """A device flow that has begun: the user opens `uri` and finds `user_code` there (RFC 8628, 3.2)."""

    device_code: str = field(repr=False)
    user_code: str
    uri: str
    interval_s: int
    expires_in_s: int


class AuthorizationServer:
    """One authorization server. BackendUnavailable when it does not answer, BackendRefused for its no."""

    def __init__(self, system: System) -> None:
        self.system = system

    def authorization_url(self, redirect_uri: str, scope: str, state: str, verifier: str) -> str:
        """Give the address where the user logs in and consents."""
        return str(
            add_params_to_uri(
                self._endpoint("authorization_endpoint"),
                [
                    ("response_type", "code"),
                    ("client_id", self.system.client_id),
                    ("redirect_uri", redirect_uri),
                    ("scope", scope),
                    ("state", state),
                    ("code_challenge", create_s256_code_challenge(verifier)),
                    ("code_challenge_method", "S256"),
                    *([("prompt", "consent")] if "offline_access" in scope else []),
                ],
            )
        )

    def exchange(self, code: str, redirect_uri: str, verifier: str) -> Grant:
        """Give tokens for a code; GrantOver when it is none or used up."""
        return self._grant(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": redirect_uri,
                "code_verifier": verifier,
            }
        )

    def refresh(self, refresh_token: str, audience: str = "") -> Grant:
        """Give new tokens; GrantOver when the user must log in again.

        The old refresh token may be used up afterwards, also when no answer comes.
        """
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return self._grant(form | ({"audience": audience} if audience else {}), refresh_token)

    def start_device(self, scope: str) -> Device:
        """Begin a device flow."""
        form = {"client_id": self.system.client_id, "scope": scope}
        where = {"params": form} if self.system.device_in_query else {"data": form, "auth": self._auth()}
        answer = self._send("POST", self._endpoint("device_authorization_endpoint"), **where)
        if not answer.is_success:
            raise BackendRefused(self.system.title, self.system.metadata_url, _told(answer))
        found = answer.json()
        return Device(
            device_code=str(found["device_code"]),
            user_code=str(found["user_code"]),
            uri=str(found.get("verification_uri_complete") or found["verification_uri"]),
            interval_s=int(found.get("interval", 5)),
            expires_in_s=int(found.get("expires_in", DEFAULT_LIFETIME_S)),
        )

    def poll_device(self, device_code: str) -> Grant:
        """Ask whether the user has decided: tokens, GrantPending or GrantOver."""
        return self._grant({"grant_type": DEVICE_GRANT, "device_code": device_code})

    def claims(self, access_token: str) -> dict[str, str]:
        """Ask the server itself whose token it is."""
        headers = {"Authorization": f"Bearer {access_token}"}
        answer = self._send("GET", self._endpoint("userinfo_endpoint"), headers=headers)
        if not answer.is_success:
            raise BackendRefused(self.system.title, self.system.metadata_url, _told(answer))
        return {name: str(value) for name, value in answer.json().items()}

    def revoke(self, refresh_token: str) -> None:
        """Give a refresh token back (RFC 7009); nothing happens where the server cannot."""
        if endpoint := self._metadata().get("revocation_endpoint"):
            form = {"token": refresh_token, "token_type_hint": "refresh_token"}
            answer = self._send("POST", str(endpoint), data=self._with_client(form), auth=self._auth())
            if not answer.is_success:
                raise BackendRefused(self.system.title, self.system.metadata_url, _told(answer))

    def _grant(self, form: Mapping[str, str], refresh_token: str = "") -> Grant:
        answer = self._send(
            "POST", self._endpoint("token_endpoint"), data=self._with_client(form), auth=self._auth()
        )
        if not answer.is_success:
            raise self._refusal(answer)
        found = answer.json()
        now, refresh = time.time(), str(found.get("refresh_token") or refresh_token)
        return Grant(
            access_token=str(found["access_token"]),
            expires_at=datetime.fromtimestamp(now + int(found.get("expires_in", DEFAULT_LIFETIME_S)), UTC),
            refresh_token=refresh,
            refresh_ends_at=_end_of(refresh, found.get("refresh_expires_in")),
        )

    def _refusal(self, answer: httpx.Response) -> Exception:
        """Tell an end for good from what may pass, also of servers that do not answer as RFC 6749 has it."""
        try:
            code = str(answer.json().get("error", ""))
        except (ValueError, AttributeError):
            code = ""
        told = _told(answer)
        if code in PENDING:
            return GrantPending(told)
        # DiracX gives no codes: it says 401 to a grant that is over, 403 to a user who has left the group.
        silent = not code and answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
        if code in OVER or silent:
            return GrantOver(f"it was refused: {told}")
        return BackendRefused(self.system.title, self.system.metadata_url, told)

    def _send(self, method: str, url: str, **options: Any) -> httpx.Response:
        try:
            answer = httpx.request(method, url, timeout=TIMEOUT_S, **options)
        except httpx.HTTPError as error:
            raise BackendUnavailable(
                self.system.title, self.system.metadata_url, error or type(error).__name__
            ) from error
        busy = answer.status_code in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
        if busy or answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise BackendUnavailable(self.system.title, self.system.metadata_url, _told(answer))
        return answer

    def _auth(self) -> tuple[str, str] | None:
        return (self.system.client_id, self.system.client_secret) if self.system.client_secret else None

    def _with_client(self, form: Mapping[str, str]) -> dict[str, str]:
        return {**form, **({} if self.system.client_secret else {"client_id": self.system.client_id})}

    def _endpoint(self, name: str) -> str:
        try:
            return str(self._metadata()[name])
        except KeyError:
            raise BackendRefused(self.system.title, self.system.metadata_url, f"it has no {name}") from None

    def _metadata(self) -> dict[str, Any]:
        with _READING:
            read_at, known = _METADATA.get(self.system.metadata_url, (0.0, {}))
            if known and time.monotonic() - read_at < METADATA_S:
                return known
        answer = self._send("GET", self.system.metadata_url)
        if not answer.is_success:
            raise BackendUnavailable(self.system.title, self.system.metadata_url, _told(answer))
        found = dict(answer.json())
        with _READING:
            _METADATA[self.system.metadata_url] = (time.monotonic(), found)
        return found


_METADATA: dict[str, tuple[float, dict[str, Any]]] = {}
_READING = threading.Lock()


def new_secret() -> str:
    """Make a text that nobody can guess: a state, or the verifier of RFC 7636."""
    return str(generate_token(64))


def _told(answer: httpx.Response) -> str:
    """Give what a server says is wrong, which never holds a secret; the body of another answer may."""
    try:
        body = answer.json()
        words = body.get("error_description") or body.get("detail") or body.get("error")
    except (ValueError, AttributeError):
        words = None
    return f"{answer.status_code} {str(words or answer.reason_phrase)[:300]}"


def _end_of(refresh_token: str, expires_in: object) -> datetime | None:
    """Read when a refresh token ends. It is the server's own and never verified: a date for people."""
    if isinstance(expires_in, int | float) and expires_in > 0:
        return datetime.fromtimestamp(time.time() + expires_in, UTC)
    try:
        end = jwt.decode(refresh_token, options={"verify_signature": False}).get("exp")
    except jwt.PyJWTError:
        return None
    return datetime.fromtimestamp(float(end), UTC) if end else None
