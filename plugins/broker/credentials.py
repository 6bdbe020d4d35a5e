"""What users have let the service hold, and the short-lived tokens that are made of it.

One process at a time renews a credential: it holds the row's lock until the new refresh token is stored, so
that a token that can be used once is used once, and nobody gets a token that a restart could lose.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import jwt
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from broker.oauth import AuthorizationServer, Grant, GrantOver
from broker.systems import UnknownSystem, system_named
from broker.vault import Vault, VaultError
from hooks.broker import X509
from hooks.errors import BackendRefused, BackendUnavailable
from store.sessions import now, transaction
from store.tables import Credential

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from broker.x509 import Proxy

OAUTH, PROXY = "oauth", "x509"
# DiracX's client uses no token that ends within 300 s.
SPARE = timedelta(seconds=420)
LONGEST_SHARE = 0.8


class NoCredential(LookupError):  # noqa: N818 - says what happened
    """The user has connected nothing there."""


class CredentialLost(Exception):  # noqa: N818 - says what happened
    """What the user had connected has ended: only they can bring it back. The text says why."""


@dataclass(frozen=True)
class Handed:
    """A secret for a task, with its times: see `hooks.broker.Token`."""

    secret: str = field(repr=False)
    expires_at: datetime
    renew_at: datetime
    ends_at: datetime | None
    lasts: timedelta | None

    def document(self) -> dict[str, Any]:
        return {
            "secret": self.secret,
            "expires_at": self.expires_at.timestamp(),
            "renew_at": self.renew_at.timestamp(),
            "ends_at": self.ends_at.timestamp() if self.ends_at else None,
            "lasts": self.lasts.total_seconds() if self.lasts else None,
        }


@dataclass(frozen=True)
class State:
    """How a user's credential stands: nothing secret."""

    owner: str
    system: str
    kind: str
    subject: str
    issued_at: datetime
    expires_at: datetime | None
    lost_why: str | None

    @property
    def is_good(self) -> bool:
        return self.lost_why is None


def hand_out(owner: str, system: str, audience: str = "") -> Handed:
    """Give a token that is good for a while, renewed if need be.

    Raises NoCredential, CredentialLost; BackendUnavailable, BackendRefused and VaultError for what may pass.
    """
    with transaction() as session:
        found = _found(session, owner, system, lock=False)
        if ready := _ready(found, audience):
            return ready
    # Of those who wait in this process one holds a connection to the database.
    with _LOCKS.setdefault((owner, system), threading.Lock()), transaction() as session:
        outcome = _renewed(_found(session, owner, system, lock=True), audience)
    if isinstance(outcome, Exception):  # raised after what it says is stored
        raise outcome
    return outcome


_LOCKS: dict[tuple[str, str], threading.Lock] = {}


def _found(session: Session, owner: str, system: str, *, lock: bool) -> Credential:
    found = session.get(Credential, (owner, system), with_for_update=lock or None, populate_existing=True)
    if found is None:
        raise NoCredential(f"{owner} has connected nothing at {system}")
    return found


def _ready(row: Credential, audience: str) -> Handed | None:
    """Give what the row holds if it is good for long enough; None when it must be renewed."""
    if row.lost_at:
        raise CredentialLost(row.lost_why)
    try:
        secret = _open(row)
    except VaultError:  # `_renewed` raises it, unless the credential has ended anyway
        return None
    if row.kind == PROXY:
        return _handed(row, secret["pem"], row.expires_at, row.issued_at)
    known = secret["access"].get(audience)
    if known is None:
        return None
    issued, expires = (datetime.fromtimestamp(known[n], UTC) for n in ("issued_at", "expires_at"))
    return _handed(row, known["token"], expires, issued)


def _handed(row: Credential, secret: str, expires: datetime | None, issued: datetime | None) -> Handed | None:
    assert expires is not None
    assert issued is not None
    renew = expires - min(SPARE, LONGEST_SHARE * (expires - issued))
    if now() >= renew:
        return None
    ends = row.expires_at
    return Handed(secret, expires, renew, ends, ends - row.issued_at if ends else None)


def _renewed(row: Credential, audience: str) -> Handed | CredentialLost | BackendRefused:
    if ready := _ready(row, audience):  # somebody else has renewed it meanwhile
        return ready
    if why := _over(row):
        return _lose(row, why)
    secret = _open(row)
    try:
        grant = AuthorizationServer(system_named(row.system)).refresh(secret["refresh_token"], audience)
    except GrantOver as error:
        return _lose(row, str(error))
    except UnknownSystem as error:
        raise BackendRefused(row.system, "", error) from error
    return _stored(row, secret, grant, audience)


def _over(row: Credential) -> str:
    """Say why nothing can be renewed any more; nothing if it can."""
    ends = row.expires_at
    if ends and ends <= now():
        return f"it ended at {ends:%Y-%m-%d %H:%M} UTC"
    return "the proxy is about to end" if row.kind == PROXY else ""


def _stored(row: Credential, secret: dict[str, Any], grant: Grant, audience: str) -> Handed | BackendRefused:
    """Store what a renewal gave. Whatever the access token is, the refresh token before is used up."""
    secret["refresh_token"] = grant.refresh_token
    fits = _is_for(grant.access_token, audience)
    if fits:
        secret["access"] = {**secret["access"], audience: _access(grant)}
    row.secret = Vault.standing().seal(row.owner, row.system, secret)
    row.expires_at = grant.refresh_ends_at or row.expires_at
    if not fits:
        return BackendRefused(row.system, "", f"it gives no token for {audience} alone")
    ready = _ready(row, audience)
    assert ready is not None  # it has been made just now
    return ready


def _is_for(access_token: str, audience: str) -> bool:
    """Whether a token is for one audience alone: a service must not get a token that opens another."""
    if not audience:
        return True
    try:
        told = jwt.decode(access_token, options={"verify_signature": False}).get("aud")
    except jwt.PyJWTError:  # not ours to read: its server has been asked for the audience
        return True
    return told in (audience, [audience])


def _lose(row: Credential, why: str) -> CredentialLost:
    row.lost_at, row.lost_why = now(), why
    return CredentialLost(why)


def _access(grant: Grant) -> dict[str, Any]:
    return {
        "token": grant.access_token,
        "issued_at": now().timestamp(),
        "expires_at": grant.expires_at.timestamp(),
    }


def _open(row: Credential) -> dict[str, Any]:
    return Vault.standing().open(row.owner, row.system, row.secret)


def keep_grant(owner: str, system: str, grant: Grant, subject: str) -> None:
    """Store what a user has just consented to, in the place of what there was; that is given back."""
    if not grant.refresh_token:
        raise BackendRefused(system, "", "it gave no refresh token, so nothing can be renewed")
    secret = {"refresh_token": grant.refresh_token, "access": {"": _access(grant)}}
    _keep(owner, system, OAUTH, secret, subject, grant.refresh_ends_at)


def keep_proxy(owner: str, proxy: Proxy) -> None:
    """Store a proxy that a user has uploaded."""
    _keep(owner, X509, PROXY, {"pem": proxy.pem}, proxy.subject, proxy.ends_at)


def _keep(
    owner: str, system: str, kind: str, secret: Mapping[str, Any], subject: str, ends: datetime | None
) -> None:
    try:
        former = _put(owner, system, kind, secret, subject, ends)
    except IntegrityError:  # another tab was faster to write the first row
        former = _put(owner, system, kind, secret, subject, ends)
    if former:
        _give_back(system, former)


def _put(
    owner: str, system: str, kind: str, secret: Mapping[str, Any], subject: str, ends: datetime | None
) -> str | None:
    """Store a credential; gives the refresh token of the one whose place it takes."""
    with transaction() as session:
        row = session.get(Credential, (owner, system), with_for_update=True, populate_existing=True)
        former = _refresh_token(row) if row else None
        if row is None:
            row = Credential(owner=owner, system=system)
            session.add(row)
        row.kind, row.subject, row.issued_at, row.expires_at = kind, subject, now(), ends
        row.lost_at = row.lost_why = None
        row.secret = Vault.standing().seal(owner, system, secret)
    return former


def forget(owner: str, system: str) -> bool:
    """Delete a credential and give it back to its system; False when the system could not be told.

    NoCredential when there is none.
    """
    if system not in {state.system for state in states(owner)}:  # nor is it a text that no database takes
        raise NoCredential(f"{owner} has connected nothing at {system[:100]!r}")
    with transaction() as session:
        row = _found(session, owner, system, lock=True)
        former = _refresh_token(row)
        session.delete(row)
    return _give_back(system, former) if former else True


def _refresh_token(row: Credential) -> str | None:
    """Give the refresh token that can be given back: a server may take a lost one for an attack."""
    if row.kind != OAUTH or row.lost_at:
        return None
    try:
        return str(_open(row)["refresh_token"])
    except VaultError:
        return None


def _give_back(system: str, refresh_token: str) -> bool:
    try:
        AuthorizationServer(system_named(system)).revoke(refresh_token)
    except (BackendUnavailable, BackendRefused, UnknownSystem):
        return False
    return True


def states(owner: str | None) -> Sequence[State]:
    """List how credentials stand: those of one user, or all."""
    query = select(Credential).order_by(Credential.owner, Credential.system)
    with transaction() as session:
        rows = session.scalars(query.where(Credential.owner == owner) if owner else query).all()
        return [_state(row) for row in rows]


def _state(row: Credential) -> State:
    ends, why = row.expires_at, row.lost_why
    if why is None and ends and ends <= now():
        why = f"it ended at {ends:%Y-%m-%d %H:%M} UTC"
    return State(row.owner, row.system, row.kind, row.subject, row.issued_at, ends, why)


def reseal() -> tuple[int, list[str]]:
    """Encrypt with the first key what any key opens, so that the others can be dropped.

    Gives how many credentials that were, and `owner/system` of those that no key opens; they stay.
    """
    vault, unreadable = Vault.standing(), []
    with transaction() as session:
        rows = session.scalars(select(Credential).with_for_update()).all()
        for row in rows:
            try:
                row.secret = vault.seal(row.owner, row.system, vault.open(row.owner, row.system, row.secret))
            except VaultError:
                unreadable.append(f"{row.owner}/{row.system}")
    return len(rows) - len(unreadable), sorted(unreadable)
