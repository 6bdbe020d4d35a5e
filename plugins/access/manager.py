"""The one auth manager of Airflow's UI, its REST API and the portal ([core] auth_manager)."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import jwt
from airflow.api_fastapi.app import AUTH_MANAGER_FASTAPI_APP_PREFIX
from airflow.api_fastapi.auth.managers.base_auth_manager import BaseAuthManager
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity, DagDetails
from airflow.api_fastapi.common.types import MenuItem
from airflow.configuration import conf
from airflow.models.revoked_token import RevokedToken
from fastapi import HTTPException

from access.callers import caller
from access.issuers import Issuer, issuer_of
from access.people import forget_groups, remember
from access.refusals import forbidden, invalid_token
from access.rights import dag_role
from access.settings import identities
from access.users import EsapUser, service_user
from esap_batch.identity import IdentityRefused, Role
from esap_batch.issuers import ClaimsRefused

if TYPE_CHECKING:
    from airflow.api_fastapi.auth.managers.base_auth_manager import ResourceMethod
    from airflow.api_fastapi.auth.managers.models.batch_apis import IsAuthorizedDagRequest
    from fastapi import FastAPI
    from starlette.middleware import _MiddlewareFactory

PREFIX = AUTH_MANAGER_FASTAPI_APP_PREFIX
# What a user may do with runs of a workflow, beside reading. XComs are what a run's tasks tell each other
# after its request was checked: who could write them could ask for what the check refuses.
USERS_MAY = {
    DagAccessEntity.RUN: {"POST", "PUT", "DELETE"},
    DagAccessEntity.TASK_INSTANCE: {"PUT"},
    DagAccessEntity.HITL_DETAIL: {"PUT"},
}
# Of plugins the UI asks which entries its navigation gets, the portal's among them.
USERS_VIEWS = {AccessView.CLUSTER_ACTIVITY, AccessView.DOCS, AccessView.PLUGINS, AccessView.WEBSITE}
USERS_MENU = {MenuItem.REQUIRED_ACTIONS, MenuItem.DAGS, MenuItem.DOCS, MenuItem.XCOMS, MenuItem.AUDIT_LOG}
OPS_MENU = USERS_MENU | {MenuItem.ASSETS, MenuItem.DEADLINES, MenuItem.JOBS, MenuItem.POOLS}


class EsapAuthManager(BaseAuthManager[EsapUser]):
    """Users are known by their issuer's tokens; what they may do stands in config/identity.yaml."""

    # Who it is.

    async def get_user_from_token(self, token: str) -> EsapUser:
        """Verify an issuer's access token, or Airflow's own of a session; HTTPException 401, 403 or 503."""
        who = caller()
        if who and who.user and who.token == token:  # once for a request is enough
            return who.user
        issuer = issuer_of(token)
        user = await self._of_issuer(issuer, token) if issuer else await self._of_session(token)
        if who:
            who.become(user, token)
        return user

    async def _of_issuer(self, issuer: Issuer, token: str) -> EsapUser:
        claims = await issuer.claims(token)
        if RevokedToken.is_revoked(_revocation_key(issuer, claims, token)):
            raise invalid_token("the token has been revoked")
        user = user_of_claims(issuer, claims)
        remember(user)
        return user

    async def _of_session(self, token: str) -> EsapUser:
        try:
            user = await super().get_user_from_token(token)
        except jwt.ExpiredSignatureError:
            raise invalid_token("the session has expired") from None
        except jwt.InvalidTokenError as error:
            raise invalid_token(f"the token is refused: {error}") from None
        assert isinstance(user, EsapUser)
        return user

    def serialize_user(self, user: EsapUser) -> dict[str, Any]:
        """Give the claims of a session's token."""
        if user.is_service:
            return {"sub": user.name}
        groups = list(user.groups)
        return {"sub": user.name, "groups": groups, "idp": user.issuer, "idp_sub": user.subject}

    def deserialize_user(self, token: dict[str, Any]) -> EsapUser:
        """Make the user of a session's verified claims; what the groups stand for is read anew."""
        if token["sub"] == service_user().name:
            return service_user()
        identity = _identity(token["sub"], token["groups"])
        return EsapUser(token["sub"], identity, token["idp"], token["idp_sub"], token["exp"])

    def generate_jwt(
        self,
        user: EsapUser,
        *,
        expiration_time_in_seconds: int = conf.getint("api_auth", "jwt_expiration_time"),
    ) -> str:
        """Make a token of a session; one that is made of another token lasts no longer than that."""
        left = expiration_time_in_seconds if user.expires is None else max(1, user.expires - int(time.time()))
        return super().generate_jwt(user, expiration_time_in_seconds=min(left, expiration_time_in_seconds))

    def revoke_token(self, token: str) -> None:
        """Refuse a token from now on, of a session or of an issuer (called in a worker thread)."""
        issuer = issuer_of(token)
        if issuer is None:
            super().revoke_token(token)
            return
        from anyio import from_thread

        claims = from_thread.run(issuer.claims, token)
        RevokedToken.revoke(
            _revocation_key(issuer, claims, token), datetime.fromtimestamp(claims["exp"], tz=UTC)
        )

    # How they come in.

    def get_url_login(self, **kwargs: Any) -> str:
        following = kwargs.get("next_url")
        return f"{PREFIX}/login" + (f"?{urlencode({'next': following})}" if following else "")

    def get_url_logout(self) -> str:
        return f"{PREFIX}/logout"

    def get_fastapi_app(self) -> FastAPI:
        """Give the pages of the login, mounted at /auth."""
        from access.login import create_app

        return create_app()

    def get_fastapi_middlewares(self) -> list[tuple[_MiddlewareFactory[Any], dict[str, Any]]]:
        """Give what stands before Airflow's own reading of the session: the last one is the outermost."""
        from access.middleware import CallerMiddleware, SameOriginMiddleware
        from access.observer import Observer
        from access.quotas import guard_runs
        from access.rows import guard_rows

        guard_rows()
        guard_runs()
        return [(CallerMiddleware, {}), (SameOriginMiddleware, {}), (Observer, {})]

    # What they may do.

    def is_authorized_dag(
        self,
        *,
        method: ResourceMethod,
        user: EsapUser,
        access_entity: DagAccessEntity | None = None,
        details: DagDetails | None = None,
    ) -> bool:
        """Decide about a DAG, or, without one, whether there may be DAGs to decide about."""
        role = dag_role(user, details.id) if details and details.id else user.identity.role
        if role is None:
            return False
        if role >= Role.ADMIN or method == "GET":
            return True
        if access_entity is None:  # the DAG itself: to pause it, to delete it
            return role >= Role.OP and method == "PUT"
        return role >= Role.USER and method in USERS_MAY.get(access_entity, ())

    def batch_is_authorized_dag(self, requests: Sequence[IsAuthorizedDagRequest], *, user: EsapUser) -> bool:
        return all(
            self.is_authorized_dag(
                method=one["method"],
                access_entity=one.get("access_entity"),
                details=one.get("details"),
                user=user,
            )
            for one in requests
        )

    def is_authorized_hitl_task(self, *, assigned_users: set[str], user: EsapUser) -> bool:
        return user.identity.is_admin or user.get_id() in assigned_users

    def is_authorized_configuration(
        self, *, method: ResourceMethod, user: EsapUser, details: Any = None
    ) -> bool:
        return user.identity.is_admin

    def is_authorized_connection(
        self, *, method: ResourceMethod, user: EsapUser, details: Any = None
    ) -> bool:
        return user.identity.is_admin

    def is_authorized_variable(self, *, method: ResourceMethod, user: EsapUser, details: Any = None) -> bool:
        return user.identity.is_admin

    def is_authorized_asset(self, *, method: ResourceMethod, user: EsapUser, details: Any = None) -> bool:
        return _may_operate(user, method)

    def is_authorized_asset_alias(
        self, *, method: ResourceMethod, user: EsapUser, details: Any = None
    ) -> bool:
        return _may_operate(user, method)

    def is_authorized_pool(self, *, method: ResourceMethod, user: EsapUser, details: Any = None) -> bool:
        return user.identity.role >= Role.OP

    def is_authorized_team(self, *, method: ResourceMethod, user: EsapUser, details: Any = None) -> bool:
        return user.identity.is_admin

    def is_authorized_view(self, *, access_view: AccessView, user: EsapUser) -> bool:
        return user.identity.role >= Role.OP or access_view in USERS_VIEWS

    def is_authorized_custom_view(
        self, *, method: ResourceMethod, resource_name: str, user: EsapUser
    ) -> bool:
        return user.identity.is_admin

    def filter_authorized_menu_items(self, menu_items: list[MenuItem], *, user: EsapUser) -> list[MenuItem]:
        if user.identity.is_admin:
            return menu_items
        shown = OPS_MENU if user.identity.role >= Role.OP else USERS_MENU
        return [item for item in menu_items if item in shown]


def _may_operate(user: EsapUser, method: ResourceMethod) -> bool:
    role = user.identity.role
    return role >= Role.ADMIN or (role >= Role.OP and method == "GET")


def user_of_claims(issuer: Issuer, claims: dict[str, Any]) -> EsapUser:
    """Make the user of an issuer's verified claims; HTTPException 401 or 403.

    Who is in no group any more is forgotten to have been in one. A token without any claim of groups, for
    lack of a scope, does not tell that.
    """
    try:
        name = issuer.settings.user_of(claims)
    except ClaimsRefused as refusal:
        raise invalid_token(str(refusal)) from None
    url, subject = str(claims["iss"]), str(claims["sub"])
    try:
        identity = _identity(name, issuer.settings.groups_of(claims))
    except HTTPException:
        if issuer.settings.has_groups(claims):
            forget_groups(name, url, subject)
        raise
    return EsapUser(name, identity, url, subject, int(claims["exp"]))


def _identity(name: str, groups: list[str]) -> Any:
    try:
        return identities().identity_from_groups(name, groups)
    except IdentityRefused as refusal:
        raise forbidden(str(refusal)) from None


def _revocation_key(issuer: Issuer, claims: dict[str, Any], token: str) -> str:
    """Name a token of an issuer as Airflow's table of revoked tokens can hold it: 32 characters."""
    named = f"{issuer.url} {claims.get('jti', token)}"
    return hashlib.sha256(named.encode()).hexdigest()[:32]
