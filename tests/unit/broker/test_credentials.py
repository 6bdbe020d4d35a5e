from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import jwt
import pytest
from airflow.sdk import Connection
from cryptography.fernet import Fernet

from broker import credentials
from broker.credentials import CredentialLost, NoCredential, hand_out
from broker.oauth import AuthorizationServer, Grant
from broker.systems import system_named
from broker.vault import VAULT_CONNECTION, Vault, VaultError
from hooks.errors import BackendRefused, BackendUnavailable
from store.sessions import now
from store.tables import Credential
from tests.unit.broker.conftest import Database, Issuer

DIRAC = "dirac:dirac_local"


def grant(issuer: Issuer) -> Grant:
    code = issuer.token()["refresh_token"]
    return AuthorizationServer(system_named(DIRAC)).refresh(code)


@pytest.fixture
def connected(database: Database, issuer: Issuer) -> Issuer:
    """Let alice have connected DIRAC with a token that is to be renewed at once."""
    issuer.lasts = 0
    credentials.keep_grant("alice", DIRAC, grant(issuer), "ctao:sub-alice")
    issuer.lasts = 1200
    issuer.grants.clear()
    return issuer


def row(database: Database, owner: str = "alice") -> Credential:
    with database.transaction() as session:
        found = session.get(Credential, (owner, DIRAC))
        assert found is not None
        session.expunge(found)
        return found


def test_a_token_is_handed_out_until_shortly_before_its_end(connected: Issuer) -> None:
    first = hand_out("alice", DIRAC)
    assert hand_out("alice", DIRAC) == first
    assert len(connected.grants) == 1
    assert first.expires_at - first.renew_at == credentials.SPARE
    assert first.ends_at
    assert first.lasts == first.ends_at - credentials.states("alice")[0].issued_at


def test_many_who_ask_at_once_cost_one_renewal(connected: Issuer) -> None:
    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(lambda _: hand_out("alice", DIRAC).secret, range(32)))
    assert len(set(tokens)) == 1
    assert len(connected.grants) == 1


def test_nobody_gets_the_token_of_another(connected: Issuer) -> None:
    with pytest.raises(NoCredential, match="bob"):
        hand_out("bob", DIRAC)
    assert connected.grants == []


def test_the_new_refresh_token_is_stored_before_anybody_gets_a_token(
    connected: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_out("alice", DIRAC)
    _age(monkeypatch, 1000)
    hand_out("alice", DIRAC)
    used = [form["refresh_token"] for form in connected.grants]
    assert len(set(used)) == 2
    assert len(connected.live) == 1


def _age(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    really = now
    monkeypatch.setattr(credentials, "now", lambda: really() + timedelta(seconds=seconds))


def test_what_was_revoked_is_lost_until_the_next_login(connected: Issuer, database: Database) -> None:
    connected.live.clear()
    for _ in range(2):
        with pytest.raises(CredentialLost, match="401 revoked"):
            hand_out("alice", DIRAC)
    assert len(connected.grants) == 1  # a dead token is never tried again
    (state,) = credentials.states("alice")
    assert not state.is_good
    credentials.keep_grant("alice", DIRAC, grant(connected), "s")
    assert hand_out("alice", DIRAC).secret


@pytest.mark.parametrize(
    "answer",
    [
        (503, {}),
        (429, {}),
        (400, {"detail": "database is locked"}),
        (401, {"error": "invalid_client"}),
    ],
)
def test_what_may_pass_loses_nothing(
    connected: Issuer, database: Database, answer: tuple[int, dict[str, str]]
) -> None:
    connected.refuse = answer
    with pytest.raises((BackendUnavailable, BackendRefused)):
        hand_out("alice", DIRAC)
    assert row(database).lost_at is None
    connected.refuse = None
    assert hand_out("alice", DIRAC).secret


def test_an_issuer_that_is_away_loses_nothing(connected: Issuer, database: Database) -> None:
    connected.close()
    with pytest.raises(BackendUnavailable):
        hand_out("alice", DIRAC)
    assert row(database).lost_at is None


def test_a_login_that_is_over_is_not_tried(
    connected: Issuer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    _age(monkeypatch, 3700)
    with pytest.raises(CredentialLost, match="it ended at"):
        hand_out("alice", DIRAC)
    assert connected.grants == []


def test_each_audience_has_its_own_token(connected: Issuer) -> None:
    tokens = {audience: hand_out("alice", DIRAC, audience).secret for audience in ("", "rucio", "")}
    assert tokens["rucio"].startswith("access-rucio-")
    assert len(connected.grants) == 2


def test_a_token_that_opens_more_than_was_asked_for_goes_to_nobody(
    connected: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def token(_audience: str = "") -> dict[str, Any]:
        given = Issuer.token(connected)
        claims = {"aud": ["esap-batch", "rucio"]}
        return given | {"access_token": jwt.encode(claims, "k" * 32, "HS256")}

    with monkeypatch.context() as patch:
        patch.setattr(connected, "token", token)
        with pytest.raises(BackendRefused, match="no token for rucio alone"):
            hand_out("alice", DIRAC, "rucio")
    assert hand_out("alice", DIRAC, "rucio").secret  # the refresh token that came with it was kept


def test_nothing_secret_lies_open_in_the_database_or_the_log(
    connected: Issuer, database: Database, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = hand_out("alice", DIRAC)
    (refresh,) = connected.live
    content = (tmp_path / "esap.db").read_bytes()
    assert b"alice" in content
    for secret in (token.secret, refresh):
        assert secret.encode() not in content
        assert secret not in caplog.text
        assert secret not in repr(token)


def copy_to_bob(database: Database) -> None:
    stolen = row(database)
    with database.transaction() as session:
        names = [c.name for c in Credential.__table__.columns]
        session.add(Credential(**{**{n: getattr(stolen, n) for n in names}, "owner": "bob"}))


def test_a_row_that_was_copied_to_another_user_opens_for_nobody(
    connected: Issuer, database: Database
) -> None:
    copy_to_bob(database)
    with pytest.raises(VaultError, match="for somebody else"):
        hand_out("bob", DIRAC)


def test_keys_are_changed_without_a_login(
    connected: Issuer, connections: dict[str, Connection], database: Database
) -> None:
    old = connections[VAULT_CONNECTION].password
    new = Fernet.generate_key().decode()
    connections[VAULT_CONNECTION].password = f"{new}, {old}"
    assert credentials.reseal() == (1, [])
    connections[VAULT_CONNECTION].password = new
    assert hand_out("alice", DIRAC).secret


@pytest.mark.parametrize(
    "wrong", ["", "short", Fernet.generate_key().decode()], ids=["none", "no key", "another"]
)
def test_a_vault_with_wrong_keys_loses_nothing(
    connected: Issuer, connections: dict[str, Connection], database: Database, wrong: str
) -> None:
    right = connections[VAULT_CONNECTION].password
    connections[VAULT_CONNECTION].password = wrong
    with pytest.raises(VaultError):
        hand_out("alice", DIRAC)
    connections[VAULT_CONNECTION].password = right
    assert hand_out("alice", DIRAC).secret


def test_one_that_no_key_opens_does_not_hold_up_the_change_of_keys(
    connected: Issuer, connections: dict[str, Connection], database: Database
) -> None:
    copy_to_bob(database)
    new = Fernet.generate_key().decode()
    connections[VAULT_CONNECTION].password = f"{new}, {connections[VAULT_CONNECTION].password}"
    assert credentials.reseal() == (1, [f"bob/{DIRAC}"])
    connections[VAULT_CONNECTION].password = new
    assert hand_out("alice", DIRAC).secret


@pytest.mark.parametrize("keys", ["", "short"])
def test_without_keys_nothing_is_stored(
    database: Database, issuer: Issuer, connections: dict[str, Connection], keys: str
) -> None:
    connections[VAULT_CONNECTION].password = keys
    with pytest.raises(VaultError, match="esap_vault"):
        credentials.keep_grant("alice", DIRAC, grant(issuer), "s")
    assert credentials.states(None) == []


def test_what_is_forgotten_is_given_back(connected: Issuer) -> None:
    assert len(connected.live) == 1
    assert credentials.forget("alice", DIRAC)
    assert connected.live == set()
    assert credentials.states("alice") == []
    with pytest.raises(NoCredential):
        credentials.forget("alice", DIRAC)


def test_what_cannot_be_given_back_is_forgotten_all_the_same(connected: Issuer) -> None:
    connected.close()
    assert not credentials.forget("alice", DIRAC)
    assert credentials.states("alice") == []


def test_a_new_login_gives_the_old_one_back(connected: Issuer) -> None:
    credentials.keep_grant("alice", DIRAC, grant(connected), "s")
    assert len(connected.live) == 1


def test_of_two_first_logins_at_once_one_stays_and_the_other_is_given_back(
    database: Database, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = Vault.seal

    def seal_late(vault: Vault, owner: str, system: str, secret: Mapping[str, Any]) -> bytes:
        monkeypatch.setattr(Vault, "seal", really)
        credentials.keep_grant("alice", DIRAC, grant(issuer), "of the other tab")
        return really(vault, owner, system, secret)

    monkeypatch.setattr(Vault, "seal", seal_late)
    mine = grant(issuer)
    credentials.keep_grant("alice", DIRAC, mine, "of this tab")
    (state,) = credentials.states("alice")
    assert state.subject == "of this tab"
    assert issuer.live == {mine.refresh_token}


def test_a_grant_without_refresh_token_is_refused(database: Database, issuer: Issuer) -> None:
    given = grant(issuer)
    with pytest.raises(BackendRefused, match="no refresh token"):
        credentials.keep_grant("alice", DIRAC, Grant(given.access_token, given.expires_at, "", None), "s")
