from __future__ import annotations

import asyncio
import json
import os
import ssl
import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import jwt
import pytest
from airflow.sdk import Connection
from airflow.sdk.bases.hook import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from hooks import broker as module
from hooks.broker import Broker, LoginNeeded
from hooks.errors import BackendUnavailable, RefusedForGood

KEY = "a key that is long enough for HS256, really"


class Portal:
    """Answers as the broker's app does: the next of `answers`, the last one for ever."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.answers: list[tuple[int, Any]] = []
        self.asked: list[tuple[str, dict[str, Any], Any]] = []
        portal = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                token = self.headers["authorization"].removeprefix("Bearer ")
                known: dict[str, Any] = {"audience": "esap-broker", "issuer": "esap-task"}
                claims = jwt.decode(token, KEY, ["HS256"], options={"verify_iat": False}, **known)
                portal.asked.append((self.path, claims, json.loads(body) if body else None))
                status, document = portal.answers.pop(0) if len(portal.answers) > 1 else portal.answers[0]
                content = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def portal() -> Iterator[Portal]:
    found = Portal()
    yield found
    found.stop()


@pytest.fixture(autouse=True)
def _nothing_believed() -> Iterator[None]:
    """Let each test say whom to believe."""
    module._trusted.cache_clear()
    yield
    module._trusted.cache_clear()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Make a certificate for the loopback address, signed by its own key, and the key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "portal")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = tmp_path / "portal.pem"
    path.write_bytes(made.public_bytes(Encoding.PEM) + secret)
    return path


@pytest.fixture
def tls_portal(certificate: Path) -> Iterator[Portal]:
    found = Portal(certificate)
    yield found
    found.stop()


@pytest.fixture
def broker(portal: Portal) -> Broker:
    return Broker(portal.url, KEY)


def token(secret: str = "secret", **changes: Any) -> tuple[int, dict[str, Any]]:
    now = time.time()
    times = {"expires_at": now + 1200, "renew_at": now + 780, "ends_at": now + 3600, "lasts": 3600.0}
    return 200, {"secret": secret, **times, **changes}


def test_a_token_is_asked_for_with_a_proof_that_names_its_user(broker: Broker, portal: Portal) -> None:
    portal.answers = [token()]
    found = broker.token("dirac:d", "alice")
    assert found
    assert found.secret == "secret"
    assert "secret" not in repr(found)
    ((path, claims, body),) = portal.asked
    assert path == "/batch-broker/tokens"
    assert claims["sub"] == "alice"
    assert claims["exp"] - claims["iat"] == 60
    assert body == {"system": "dirac:d", "user": "alice", "audience": ""}


def test_an_answer_is_used_for_a_while_by_all_threads(broker: Broker, portal: Portal) -> None:
    portal.answers = [token()]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: broker.token("dirac:d", "alice"), range(40)))
    assert len(portal.asked) == 1
    broker.token("dirac:d", "bob")
    broker.token("dirac:d", "alice", "rucio")
    assert len(portal.asked) == 3
    broker.forget("dirac:d", "alice")
    broker.token("dirac:d", "alice")
    assert len(portal.asked) == 4


def test_an_answer_is_not_used_when_it_is_old_or_due(
    broker: Broker, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    portal.answers = [token("due", renew_at=0.0), token("good"), token("newer")]
    assert [getattr(broker.token("d", "alice"), "secret", "") for _ in range(3)] == ["due", "good", "good"]
    later = time.time() + module.BELIEVED_S
    monkeypatch.setattr(time, "time", lambda: later + 1)
    assert getattr(broker.token("d", "alice"), "secret", "") == "newer"


def test_who_has_connected_nothing_is_none_and_who_has_lost_it_must_log_in(
    broker: Broker, portal: Portal
) -> None:
    portal.answers = [(404, {"detail": "nothing"})]
    assert broker.token("d", "bob") is None
    portal.answers = [(409, {"detail": "it was revoked"}), token()]
    with pytest.raises(LoginNeeded) as refusal:
        broker.token("dirac:d", "alice")
    told = f"suspended until alice logs in again for dirac:d at {broker.page} (it was revoked)"
    assert refusal.value.notice == told
    assert broker.token("dirac:d", "alice")  # asked again at once


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, RefusedForGood), (403, RefusedForGood), (500, BackendUnavailable), (503, BackendUnavailable)],
)
def test_refusals_and_troubles_are_told_apart(
    broker: Broker, portal: Portal, status: int, kind: type[Exception]
) -> None:
    portal.answers = [(status, {"detail": "no"})]
    for ask in (lambda: broker.token("d", "alice"), lambda: broker.groups("alice")):
        with pytest.raises(kind):
            ask()


def test_a_portal_that_is_away_is_unavailable() -> None:
    with pytest.raises(BackendUnavailable, match="credentials broker"):
        Broker("http://127.0.0.1:9", KEY).token("d", "alice")


def test_an_authority_of_airflows_setting_is_believed(
    tls_portal: Portal, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls_portal.answers = [token()]
    with pytest.raises(BackendUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        Broker(tls_portal.url, KEY).token("d", "alice")
    public = module._trusted().cert_store_stats()["x509_ca"]
    module._trusted.cache_clear()
    monkeypatch.setenv("AIRFLOW__API__SSL_CA_FILE", str(certificate))
    found = Broker(tls_portal.url, KEY).token("d", "alice")
    assert found
    assert found.secret == "secret"
    assert module._trusted().cert_store_stats()["x509_ca"] >= public > 0, "beside the public ones"


def test_authorities_are_read_once(broker: Broker, portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    portal.answers = [(200, {"groups": []})]
    made: list[ssl.SSLContext] = []
    make = ssl.create_default_context

    def noted(*args: Any, **options: Any) -> ssl.SSLContext:
        made.append(make(*args, **options))
        return made[-1]

    monkeypatch.setattr(ssl, "create_default_context", noted)
    for user in ("alice", "bob", "carol"):
        broker.groups(user)
    assert len(portal.asked) == 3
    assert len(made) == 1


def test_people_log_in_at_the_address_that_they_know(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker("http://api-server:8080/", KEY)
    monkeypatch.setattr(module, "service_name", lambda: "https://batch.example")
    assert broker.page == "https://batch.example/batch-broker/credentials"
    monkeypatch.setattr(module, "service_name", lambda: "")
    assert broker.page == "http://api-server:8080/batch-broker/credentials"


def test_groups_are_asked_for_by_name(broker: Broker, portal: Portal) -> None:
    portal.answers = [(200, {"name": "a/b c", "groups": ["ctao/users"]}), (404, {"detail": "nobody"})]
    assert broker.groups("a/b c") == ["ctao/users"]
    assert portal.asked[0][0] == "/batch-broker/users/a%2Fb%20c"
    assert broker.groups("mallory") is None


def ends_in(seconds: float, lasts: float | None) -> tuple[int, dict[str, Any]]:
    return token(ends_at=time.time() + seconds, lasts=lasts)


@pytest.mark.parametrize(
    ("answer", "needed"),
    [
        (ends_in(3500, 3600), 3000),
        (ends_in(2000, 3600), 90_000),  # no login lasts as long as these jobs: half of it must be left
        (ends_in(90_000, None), 3000),
        (token(ends_at=None, lasts=None), 90_000),
        ((404, {}), 90_000),
    ],
)
def test_enough_time_is_left(broker: Broker, portal: Portal, answer: Any, needed: float) -> None:
    portal.answers = [answer]
    broker.require_time("d", "alice", needed)


@pytest.mark.parametrize(
    ("answer", "needed"),
    [(ends_in(1000, 36_000), 3000), (ends_in(1500, 3600), 90_000), (ends_in(10, None), 60)],
)
def test_a_login_that_ends_too_early_is_to_be_renewed(
    broker: Broker, portal: Portal, answer: Any, needed: float
) -> None:
    portal.answers = [answer]
    with pytest.raises(LoginNeeded, match=r"the login ends at .* UTC and .* minutes") as refusal:
        broker.require_time("d", "alice", needed)
    assert refusal.value.seconds == needed


def test_a_proxy_is_a_private_file_while_it_is_used(broker: Broker, portal: Portal) -> None:
    portal.answers = [token("PEM")]
    with broker.proxy_file("alice") as path:
        assert path.read_text() == "PEM"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert path.stat().st_uid == os.getuid()
    assert not path.parent.exists()
    portal.answers = [(404, {})]
    with pytest.raises(LoginNeeded, match="no proxy has been uploaded"), broker.proxy_file("bob"):
        pass


def test_the_broker_is_found_by_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection(
        conn_id="esap_broker", conn_type="http", host="http://portal/", password="new, old"
    )

    async def afind(_conn_id: str) -> Connection:
        return connection

    monkeypatch.setattr(BaseHook, "get_connection", lambda _conn_id: connection)
    monkeypatch.setattr(BaseHook, "aget_connection", afind)
    found = Broker.standing()
    assert found
    assert found.page == "http://portal/batch-broker/credentials"
    assert asyncio.run(Broker.astanding()) is found


def test_a_deployment_may_have_no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(conn_id: str) -> Connection:
        raise AirflowNotFoundException(conn_id)

    async def afind(conn_id: str) -> Connection:
        return find(conn_id)

    monkeypatch.setattr(BaseHook, "get_connection", find)
    monkeypatch.setattr(BaseHook, "aget_connection", afind)
    assert Broker.standing() is None
    assert asyncio.run(Broker.astanding()) is None
