"""The credentials broker as tasks and triggers see it: short-lived tokens of users, and their groups.

They have no database. They ask the API server, and prove with a key of the connection `esap_broker` that
they are tasks of this service. A refresh token never comes here.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.hook import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from hooks.errors import BackendRefused, BackendUnavailable, RefusedForGood
from hooks.settings import service_name

if TYPE_CHECKING:
    import ssl

    from airflow.sdk import Connection

SYSTEM = "the credentials broker"
BROKER_CONNECTION = (
    "esap_broker"  # host: the API server; password: keys, separated by commas, the first signs
)
MOUNT = "/batch-broker"
PAGE = f"{MOUNT}/credentials"
TASK_ISSUER, TASK_AUDIENCE, TASK_ALGORITHM = "esap-task", "esap-broker", "HS256"
TASK_TOKEN_S = 60
TIMEOUT_S = 60.0  # the broker may have to wait for another system
BELIEVED_S = 30.0  # for so long an answer is used without asking again: a user may disconnect
DIRAC, IAM, X509 = "dirac:", "iam", "x509"
SERVICE = "(esap-batch)"  # as whom the service itself acts: no issuer can give a user this name


def dirac_system(connection: str) -> str:
    """Name the DIRAC behind a connection as a system of credentials."""
    return f"{DIRAC}{connection}"


@cache
def _trusted() -> ssl.SSLContext:
    """Believe whom Airflow believes at this address: the public authorities, and those of its setting.

    Made once: httpx would read all authorities anew at each call.
    """
    import httpx
    from airflow.configuration import conf

    context = httpx.create_ssl_context()
    if own := conf.get("api", "ssl_ca_file", fallback=""):
        context.load_verify_locations(own)
    return context


class LoginNeeded(BackendRefused):
    """A user's credentials are gone or about to end: everything goes on after a new login.

    `seconds` is for how long credentials are needed, 0 for any time. `required` when there is no way without
    the user's own.
    """

    def __init__(
        self, system: str, user: str, why: str, link: str, *, seconds: float = 0, required: bool = False
    ) -> None:
        super().__init__(system, link, f"{user} must log in again: {why}")
        self.name, self.user, self.why, self.link = system, user, why, link
        self.seconds, self.required = seconds, required

    @property
    def notice(self) -> str:
        """Say what to do, in a line."""
        return f"suspended until {self.user} logs in again for {self.name} at {self.link} ({self.why})"


@dataclass(frozen=True)
class Token:
    """What a system takes in place of a user, for a while. Times are seconds since 1970.

    `renew_at` is when to ask the broker again; `ends_at` when the user must have logged in again, None for
    never; `lasts` for how long a new login would last (s).
    """

    secret: str = field(repr=False)
    expires_at: float
    renew_at: float
    ends_at: float | None = None
    lasts: float | None = None


class Broker:
    """The broker at one address."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url.rstrip("/")
        self._key = key
        self._known: dict[tuple[str, str, str], tuple[float, Token | None]] = {}
        self._locks: dict[tuple[str, str, str], threading.Lock] = {}
        self._masks = False

    @classmethod
    def of(cls, connection: Connection) -> Broker:
        """Read an Airflow connection; the same one gives the same broker, with the tokens that it knows."""
        key = next(iter(keys_of(connection)), "")
        with _OPENING:
            return _STANDING.setdefault((str(connection.host), key), cls(str(connection.host), key))

    @classmethod
    def standing(cls) -> Broker | None:
        """Find the broker of this deployment from a task; None when it has none."""
        try:
            broker = cls.of(BaseHook.get_connection(BROKER_CONNECTION))
        except AirflowNotFoundException:
            return None
        broker._masks = True  # not in triggers: the masker forgets nothing, and they run for months
        return broker

    @classmethod
    async def astanding(cls) -> Broker | None:
        """Find it from a trigger."""
        try:
            return cls.of(await BaseHook.aget_connection(BROKER_CONNECTION))
        except AirflowNotFoundException:
            return None

    @property
    def page(self) -> str:
        """Where people log in again: at the address that they know, which tasks need not use."""
        return f"{service_name() or self.url}{PAGE}"

    def groups(self, user: str) -> list[str] | None:
        """Give the groups of a user as their last token had them; None for one who is unknown."""
        answer = self._ask("GET", f"/users/{_quoted(user)}", user)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        self._require(answer)
        return [str(group) for group in answer.json()["groups"]]

    def token(self, system: str, user: str, audience: str = "") -> Token | None:
        """Give a token (or the PEM of a proxy) that is good until `renew_at` at least.

        An answer is used for up to `BELIEVED_S`. None when the user has connected nothing there; LoginNeeded
        when what was connected has ended.
        """
        place = (system, user, audience)
        with self._locks.setdefault(place, threading.Lock()):  # those who wait find the answer
            until, known = self._known.get(place, (0.0, None))
            if time.time() < until:
                return known
            found = self._fetch(system, user, audience)
            believed = time.time() + BELIEVED_S
            self._known[place] = (min(found.renew_at, believed) if found else believed, found)
        return found

    def forget(self, system: str, user: str, audience: str = "") -> None:
        """Ask the broker anew the next time."""
        self._known.pop((system, user, audience), None)

    def _fetch(self, system: str, user: str, audience: str) -> Token | None:
        self._known.pop((system, user, audience), None)
        body = {"system": system, "user": user, "audience": audience}
        answer = self._ask("POST", "/tokens", user, json=body)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        if answer.status_code == HTTPStatus.CONFLICT:
            raise LoginNeeded(system, user, answer.json()["detail"], self.page)
        self._require(answer)
        found = answer.json()
        if self._masks:
            _mask(found["secret"])
        return Token(**{name: found[name] for name in Token.__dataclass_fields__})

    def places(
        self,
        facility: str,
        batch: str,
        user: str,
        experiment: str,
        *,
        active: int,
        waiting: int,
        look: bool = False,
    ) -> int:
        """Tell what a batch has at a facility, and ask how many of its waiting jobs may be submitted now.

        :param look: take none of these places yet.
        """
        body = {"facility": facility, "batch": batch, "experiment": experiment, "look": look}
        answer = self._ask("POST", "/places", user, json={**body, "active": active, "waiting": waiting})
        self._require(answer)
        return int(answer.json()["places"])

    def give_back(self, facility: str, batch: str, user: str) -> None:
        """Say that a batch is over."""
        self._require(self._ask("DELETE", f"/places/{_quoted(facility)}/{_quoted(batch)}", user))

    def require_time(self, system: str, user: str, seconds: float) -> None:
        """Raise LoginNeeded when what the user has connected ends earlier than in so many seconds.

        A system may end a login sooner than any job does (DiracX after an hour): then it is enough that half
        of what a new login gives is left. Nothing connected is no matter here.
        """
        token = self.token(system, user)
        if token is None or token.ends_at is None:
            return
        left = token.ends_at - time.time()
        needed = min(seconds, token.lasts / 2) if token.lasts else seconds
        if left < needed:
            ends = datetime.fromtimestamp(token.ends_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
            why = f"the login ends at {ends} and {needed / 60:.0f} minutes are needed"
            raise LoginNeeded(system, user, why, self.page, seconds=seconds)

    @contextmanager
    def proxy_file(self, user: str) -> Iterator[Path]:
        """Give a file (0600) with the user's x509 proxy while it is used; LoginNeeded without one."""
        proxy = self.token(X509, user)
        if proxy is None:
            raise LoginNeeded(X509, user, "no proxy has been uploaded", self.page)
        with tempfile.TemporaryDirectory(prefix="esap-proxy-") as folder:  # 0700
            path = Path(folder, "x509up")
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
                stream.write(proxy.secret)
            yield path

    def ask(self, method: str, path: str, user: str, **options: Any) -> Any:
        """Make a call for a user, and give the document that answers it."""
        answer = self._ask(method, path, user, **options)
        self._require(answer)
        return answer.json()

    def _ask(self, method: str, path: str, user: str, **options: Any) -> Any:
        import httpx

        headers = {"Authorization": f"Bearer {self._pass(user)}"}
        try:
            return httpx.request(
                method,
                f"{self.url}{MOUNT}{path}",
                headers=headers,
                timeout=TIMEOUT_S,
                verify=_trusted(),
                **options,
            )
        except httpx.HTTPError as error:
            raise BackendUnavailable(SYSTEM, self.url, error or type(error).__name__) from error

    def _pass(self, user: str) -> str:
        """Prove to be a task of this service that acts for one user."""
        import jwt

        now = int(time.time())
        claims = {
            "iss": TASK_ISSUER,
            "aud": TASK_AUDIENCE,
            "sub": user,
            "iat": now,
            "exp": now + TASK_TOKEN_S,
        }
        return jwt.encode(claims, self._key, TASK_ALGORITHM)

    def _require(self, answer: Any) -> None:
        if answer.is_success:
            return
        told = f"{answer.status_code} {answer.text[:300]}"
        if answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise RefusedForGood(SYSTEM, self.url, told)
        busy = answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
        raise (BackendUnavailable if busy else BackendRefused)(SYSTEM, self.url, told)


def keys_of(connection: Connection) -> list[str]:
    """Read the keys of a connection: separated by commas, that in use first."""
    return [key.strip() for key in (connection.password or "").split(",") if key.strip()]


_STANDING: dict[tuple[str, str], Broker] = {}
_OPENING = threading.Lock()


def _mask(secret: str) -> None:
    from airflow.sdk.log import mask_secret

    mask_secret(secret)


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")
