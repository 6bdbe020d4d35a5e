"""A user's consent on its way: from here to the system's login page and back."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select

from broker import credentials
from broker.oauth import AuthorizationServer, Device, Grant, GrantOver, new_secret
from broker.systems import system_named
from broker.vault import Vault, VaultError
from store.sessions import now, transaction
from store.tables import Consent, User

if TYPE_CHECKING:
    from access.users import EsapUser

LIFETIME = timedelta(minutes=10)


class ConsentRefused(Exception):  # noqa: N818 - says what happened
    """A consent cannot be taken; the text is for the user."""


@dataclass(frozen=True)
class StartedDevice:
    """A device flow for a script: `id` is what it polls with."""

    id: str
    device: Device


def begin(user: EsapUser, name: str, redirect_uri: str) -> str:
    """Give the address to send the user's browser to; UnknownSystem for a system that is not for them."""
    system = system_named(name)
    scope = system.scope_for(user.identity)
    state, verifier = new_secret(), new_secret()
    url = AuthorizationServer(system).authorization_url(redirect_uri, scope, state, verifier)
    _remember(state, user.get_name(), name, {"verifier": verifier, "redirect_uri": redirect_uri})
    return url


def finish(user: EsapUser, state: str, code: str) -> str:
    """Exchange what came back from the login page; gives the system. A state works once, for its user."""
    name, secret = _take(state, user.get_name())
    if "verifier" not in secret:
        raise ConsentRefused("this is no answer to a login that has begun here")
    server = AuthorizationServer(system_named(name))
    try:
        grant = server.exchange(code, secret["redirect_uri"], secret["verifier"])
    except GrantOver as error:
        raise ConsentRefused(f"{server.system.title} does not take the code: {error}") from None
    _keep(user, server, grant)
    return name


def cancel(user: EsapUser, state: str) -> str:
    """Forget a consent that the user, or the login page, has refused; gives the system."""
    return _take(state, user.get_name())[0]


def begin_device(user: EsapUser, name: str) -> StartedDevice:
    """Begin a device flow for a script."""
    system = system_named(name)
    device = AuthorizationServer(system).start_device(system.scope_for(user.identity))
    state = new_secret()
    _remember(state, user.get_name(), name, {"device_code": device.device_code})
    return StartedDevice(state, device)


def poll_device(user: EsapUser, state: str) -> str:
    """Ask once; gives the system, or raises GrantPending. The flow is over after any other answer."""
    name, secret = _look(state, user.get_name())
    if "device_code" not in secret:
        raise ConsentRefused("this is no device flow")
    server = AuthorizationServer(system_named(name))
    try:
        grant = server.poll_device(secret["device_code"])
    except GrantOver as error:
        _take(state, user.get_name())
        raise ConsentRefused(str(error)) from None
    _take(state, user.get_name())
    _keep(user, server, grant)
    return name


def _keep(user: EsapUser, server: AuthorizationServer, grant: Grant) -> None:
    """Store a grant if it is the user's own: whoever sat at the login page may have been somebody else."""
    claims = server.claims(grant.access_token)
    owner, system = user.get_name(), server.system
    with transaction() as session:
        subject = session.scalar(select(User.subject).where(User.name == owner)) or ""
    who = claims.get("preferred_username") or claims.get("sub", "")
    if not system.is_user(claims, user.identity, subject):
        server.revoke(grant.refresh_token)
        raise ConsentRefused(
            f"{system.title} says that {who} has logged in, and you are {owner} here: "
            "log out there and try again"
        )
    credentials.keep_grant(owner, system.name, grant, who)


def _remember(state: str, owner: str, system: str, secret: dict[str, Any]) -> None:
    key = _key(state)
    sealed = Vault.standing().seal(owner, f"{system} {key}", secret)
    with transaction() as session:
        session.execute(delete(Consent).where(Consent.created_at < now() - LIFETIME))
        session.add(Consent(state=key, owner=owner, system=system, secret=sealed, created_at=now()))


def _take(state: str, owner: str) -> tuple[str, dict[str, Any]]:
    """Read a consent and delete it: of two that come at once, one gets it."""
    with transaction() as session:
        gone = delete(Consent).where(*_mine(state, owner)).returning(Consent.system, Consent.secret)
        return _opened(session.execute(gone).one_or_none(), state, owner)


def _look(state: str, owner: str) -> tuple[str, dict[str, Any]]:
    with transaction() as session:
        query = select(Consent.system, Consent.secret).where(*_mine(state, owner))
        return _opened(session.execute(query).one_or_none(), state, owner)


def _mine(state: str, owner: str) -> tuple[Any, ...]:
    return Consent.state == _key(state), Consent.owner == owner, Consent.created_at >= now() - LIFETIME


def _opened(row: Any, state: str, owner: str) -> tuple[str, dict[str, Any]]:
    if row is None:
        raise ConsentRefused(
            "this login has been used, is older than 10 minutes, or was begun by another user"
        )
    try:
        return str(row.system), Vault.standing().open(owner, f"{row.system} {_key(state)}", row.secret)
    except VaultError as error:
        raise ConsentRefused(str(error)) from None


def _key(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()
