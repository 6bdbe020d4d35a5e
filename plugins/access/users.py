"""Users as Airflow and the portal know them."""

from __future__ import annotations

from dataclasses import dataclass

from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from fastapi import Request

from access.refusals import not_authenticated
from esap_batch.identity import EVERY_WORKFLOW, Group, Identity, Role
from hooks.broker import SERVICE

SERVICE_TOKEN_S = 60
_SERVICE_GROUP = Group(SERVICE, workflows=(EVERY_WORKFLOW,), role=Role.ADMIN)


@dataclass(frozen=True)
class EsapUser(BaseUser):
    """A user who has come with good credentials.

    `issuer` and `subject` say whose they are, as the token has them; `expires` when they end (s since 1970).
    """

    name: str
    identity: Identity
    issuer: str = ""
    subject: str = ""
    expires: int | None = None

    def get_id(self) -> str:
        return self.name

    def get_name(self) -> str:
        """Give the name that becomes `triggering_user_name` of the user's runs."""
        return self.name

    @property
    def groups(self) -> tuple[str, ...]:
        """The user's groups, of those that identity.yaml knows."""
        return self.identity.groups

    @property
    def is_service(self) -> bool:
        return self.name == SERVICE


def service_user() -> EsapUser:
    """Give the service itself, for what no user has asked for."""
    identity = Identity(
        user=SERVICE,
        groups=(SERVICE,),
        experiments=frozenset(),
        workflows=frozenset({EVERY_WORKFLOW}),
        dirac_vo="",
        dirac_group="",
        dirac_user="",
        rucio_account="",
        known_groups=(_SERVICE_GROUP,),
    )
    return EsapUser(SERVICE, identity)


def service_token() -> str:
    """Make a token with which this service calls its own API, good for a minute."""
    from airflow.api_fastapi.app import get_auth_manager

    return get_auth_manager().generate_jwt(service_user(), expiration_time_in_seconds=SERVICE_TOKEN_S)


async def current_user(request: Request) -> EsapUser:
    """Give the caller of a request, by bearer token (which wins) or by the cookie of Airflow's login.

    HTTPException 401 with WWW-Authenticate (RFC 6750) without good credentials, 403 for a user of no group.
    """
    from airflow.api_fastapi.app import get_auth_manager

    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        token = request.cookies.get(COOKIE_NAME_JWT_TOKEN, "")
    if not token.strip():
        raise not_authenticated()
    user = await get_auth_manager().get_user_from_token(token.strip())
    assert isinstance(user, EsapUser)
    return user
