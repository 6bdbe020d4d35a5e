"""A database, keys and a small real authorization server for the broker."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from airflow.sdk import Connection
from airflow.sdk.bases.hook import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from cryptography.fernet import Fernet
from fastapi.testclient import TestClient
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from access.users import EsapUser, current_user
from broker import consents, credentials, places, tasks
from broker.app import create_app
from broker.oauth import _METADATA
from broker.vault import VAULT_CONNECTION
from esap_batch.identity import Identity, load_identities
from hooks.broker import BROKER_CONNECTION
from hooks.settings import config_dir
from store.sessions import now
from store.tables import Table, User

TASK_KEY = "a key of tasks that is long enough for any algorithm of this family"
REFRESH_S = 3600


class Issuer:
    """Speaks OAuth 2.0 as DiracX does: refresh tokens rotate, and the use of an old one ends every session.

    `refuse` is the answer to the next grants, `lasts` for how many seconds access tokens last.
    """

    def __init__(self) -> None:
        self.codes: dict[str, str] = {}  # code -> challenge
        self.devices: dict[str, bool] = {}  # device code -> granted
        self.live: set[str] = set()
        self.spent: set[str] = set()
        self.grants: list[dict[str, str]] = []
        self.user = "alice"
        self.lasts = 1200
        self.refuse: tuple[int, dict[str, str]] | None = None
        self._lock = threading.Lock()
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.get(self)

            def do_POST(self) -> None:
                issuer.post(self)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def get(self, request: BaseHTTPRequestHandler) -> None:
        if request.path == "/userinfo":
            self._answer(request, 200, {"sub": f"sub-{self.user}", "preferred_username": self.user})
            return
        names = ("authorization", "token", "revocation", "device_authorization", "userinfo")
        document = {f"{n}_endpoint": f"{self.url}/{n.removesuffix('_authorization')}" for n in names}
        self._answer(request, 200, document)

    def post(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("content-length", 0))).decode()
        form = {k: v[0] for k, v in parse_qs(body).items()}
        with self._lock:
            if request.path.startswith("/device"):
                code = secrets.token_hex()
                self.devices[code] = False
                told = {"device_code": code, "user_code": "AB-CD", "verification_uri": f"{self.url}/device"}
                self._answer(request, 200, {**told, "expires_in": 600})
            elif request.path == "/revocation":
                self.live.discard(form["token"])
                self._answer(request, 200, {})
            else:
                self._answer(request, *self._granted(form))

    def _granted(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        self.grants.append(form)
        if self.refuse:
            return self.refuse
        kind = form["grant_type"]
        if kind == "refresh_token":
            token = form["refresh_token"]
            if token in self.spent:
                self.live.clear()
            if token not in self.live:
                return 401, {"detail": "revoked"}
            self.live.remove(token)
            self.spent.add(token)
        elif kind == "authorization_code":
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            if self.codes.pop(form["code"], None) != challenge:
                return 400, {"error": "invalid_grant"}
        elif not self.devices[form["device_code"]]:
            return 400, {"error": "authorization_pending"}
        return 200, self.token(form.get("audience", ""))

    def token(self, audience: str = "") -> dict[str, Any]:
        claims = {"exp": int(time.time()) + REFRESH_S, "jti": secrets.token_hex()}
        refresh = jwt.encode(claims, "the issuer's own key, which nobody knows", "HS256")
        self.live.add(refresh)
        access = f"access-{audience}-{secrets.token_hex()}"
        return {"access_token": access, "expires_in": self.lasts, "refresh_token": refresh}

    def log_in(self, location: str) -> dict[str, str]:
        """Stand for a person at the login page; gives what the browser brings back."""
        asked = {k: v[0] for k, v in parse_qs(urlsplit(location).query).items()}
        code = secrets.token_hex()
        self.codes[code] = asked["code_challenge"]
        return {"code": code, "state": asked["state"]}

    @staticmethod
    def _answer(request: BaseHTTPRequestHandler, status: int, document: Any) -> None:
        content = json.dumps(document).encode()
        request.send_response(status)
        request.send_header("content-length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    found = Issuer()
    yield found
    found.close()
    _METADATA.clear()


@pytest.fixture
def connections(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> dict[str, Connection]:
    """Give Airflow's connections, to be changed."""
    given: dict[str, dict[str, Any]] = {
        "dirac_local": {"conn_type": "diracx", "host": issuer.url},
        "esap_iam": {"conn_type": "oidc", "host": issuer.url, "login": "esap", "password": "s"},
        BROKER_CONNECTION: {"conn_type": "http", "password": TASK_KEY},
        VAULT_CONNECTION: {"conn_type": "generic", "password": Fernet.generate_key().decode()},
    }
    known = {name: Connection(conn_id=name, **more) for name, more in given.items()}

    def find(conn_id: str) -> Connection:
        if conn_id not in known:
            raise AirflowNotFoundException(conn_id)
        return known[conn_id]

    monkeypatch.setattr(BaseHook, "get_connection", find)
    return known


class Database:
    """An SQLite file with the portal's tables."""

    def __init__(self, path: Path) -> None:
        self.engine = create_engine(f"sqlite:///{path}")
        Table.metadata.create_all(self.engine)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session


@pytest.fixture
def database(tmp_path: Path, connections: dict[str, Connection], monkeypatch: pytest.MonkeyPatch) -> Database:
    found = Database(tmp_path / "esap.db")
    for module in (consents, credentials, places, tasks):
        monkeypatch.setattr(module, "transaction", found.transaction)
    with found.transaction() as session:
        for name in ("alice", "bob"):
            session.add(
                User(
                    name=name,
                    issuer="i",
                    subject=f"sub-{name}",
                    groups=["ctao/users"],
                    seen_at=now(),
                )
            )
    return found


def identity(name: str) -> Identity:
    groups = {"carol": ["esap/admins"], "eve": ["esap/none"]}.get(name, ["ctao/users"])
    return load_identities(config_dir() / "identity.yaml").identity_from_groups(name, groups)


class Site:
    """The broker's app as one user's client sees it."""

    def __init__(self, client: TestClient, user: list[str]) -> None:
        self.client = client
        self._user = user

    def as_user(self, name: str) -> TestClient:
        self._user[:] = [name]
        return self.client


@pytest.fixture
def site(database: Database) -> Site:
    app, user = create_app(), ["alice"]

    async def whoever() -> EsapUser:
        return EsapUser(user[0], identity(user[0]), "i", f"sub-{user[0]}")

    from broker.people import person

    app.dependency_overrides[current_user] = whoever
    app.dependency_overrides[person] = whoever
    return Site(TestClient(app, follow_redirects=False, raise_server_exceptions=False), user)
