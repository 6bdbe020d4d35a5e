"""The systems at which the service acts for users, and what they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from esap_batch.facilities import load_facilities
from hooks.broker import DIRAC, IAM, X509, dirac_system
from hooks.settings import config_dir

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from esap_batch.identity import Identity

IAM_CONNECTION = "esap_iam"
DIRAC_CLIENT = "myDIRACClientID"  # every DiracX has it
IAM_SCOPE = "openid profile offline_access wlcg.groups"


class UnknownSystem(LookupError):  # noqa: N818 - says what happened
    """There is no such system here, or not for this user."""


@dataclass(frozen=True)
class System:
    """An OAuth 2.0 authorization server that lets us act for its users.

    `device_in_query`: it wants the parameters of a device flow in the query, against RFC 8628 (DiracX does).
    """

    name: str
    title: str
    metadata_url: str
    client_id: str
    client_secret: str = ""
    device_in_query: bool = False

    def scope_for(self, identity: Identity) -> str:
        """Say what the user is asked to grant; UnknownSystem when the user is nobody there."""
        if not self.name.startswith(DIRAC):
            return IAM_SCOPE
        if not identity.dirac_vo:
            raise UnknownSystem(f"{identity.user} is in no group that may use {self.title}")
        return f"vo:{identity.dirac_vo} group:{identity.dirac_group}"

    def is_user(self, claims: dict[str, str], identity: Identity, subject: str) -> bool:
        """Whether the account that has logged in is the user's own.

        :param claims: of the system's userinfo. :param subject: the user's subject at the IAM, if known.
        """
        if self.name.startswith(DIRAC):
            return claims.get("preferred_username") == identity.dirac_user
        return claims.get("sub") == subject


def system_named(name: str) -> System:
    """Find a system of tokens; UnknownSystem when there is none of this name."""
    from airflow.sdk.bases.hook import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    conn_id = IAM_CONNECTION if name == IAM else name.removeprefix(DIRAC)
    if name not in _names():
        raise UnknownSystem(f"system = {name!r}: allowed are {', '.join(_names())}")
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise UnknownSystem(f"system = {name!r}: it has no connection {conn_id} here") from None
    return _of(name, connection)


def _of(name: str, connection: Connection) -> System:
    extra = connection.extra_dejson
    base = str(connection.host).rstrip("/")
    if name == IAM:
        title, client = "IAM", str(connection.login or "")
    else:
        title, client = f"DIRAC ({name.removeprefix(DIRAC)})", str(extra.get("client_id", DIRAC_CLIENT))
    return System(
        name=name,
        title=str(extra.get("title", title)),
        metadata_url=f"{base}/.well-known/openid-configuration",
        client_id=client,
        client_secret=str(connection.password or "") if name == IAM else "",
        device_in_query=name != IAM,
    )


def systems_for(identity: Identity) -> list[System]:
    """List the systems of tokens that a user can connect to."""
    found = []
    for name in _names():
        try:
            system = system_named(name)
            system.scope_for(identity)
        except UnknownSystem:
            continue
        found.append(system)
    return found


def _dirac_connections() -> list[str]:
    facilities = load_facilities(config_dir() / "facilities.yaml")
    return sorted({f.connection for f in facilities if f.type == "dirac" and f.enabled})


def _names() -> list[str]:
    return [*(dirac_system(c) for c in _dirac_connections()), IAM]


def require_known(name: str) -> None:
    """Refuse a name that no credential can have."""
    if name != X509:
        system_named(name)
