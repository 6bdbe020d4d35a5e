"""Tokens become users, users have rights."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity, DagDetails
from airflow.api_fastapi.common.types import MenuItem
from airflow.models.revoked_token import RevokedToken
from fastapi import HTTPException

from access import manager as module
from access.callers import Caller, serving
from access.issuers import Issuer
from access.manager import EsapAuthManager
from access.users import EsapUser, service_user
from hooks.broker import SERVICE
from tests.unit.access.conftest import Signer

Users = Callable[[str], EsapUser]


@pytest.fixture
def manager(known: Any, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> EsapAuthManager:
    monkeypatch.setattr(module, "remember", lambda _: None)
    monkeypatch.setattr(module, "forget_groups", lambda *_: None)
    revoked: set[str] = set()
    monkeypatch.setattr(RevokedToken, "is_revoked", revoked.__contains__)
    monkeypatch.setattr(RevokedToken, "revoke", lambda jti, _: revoked.add(jti))
    return EsapAuthManager()  # type: ignore[no-untyped-call]


def user_of(manager: EsapAuthManager, token: str) -> EsapUser:
    return asyncio.run(manager.get_user_from_token(token))


def refusal(manager: EsapAuthManager, token: str) -> HTTPException:
    with pytest.raises(HTTPException) as refused:
        user_of(manager, token)
    return refused.value


def test_an_issuers_token_is_a_user_and_the_caller(manager: EsapAuthManager, signer: Signer) -> None:
    who = Caller()
    with serving(who):
        user = user_of(manager, signer.token())
    assert (user.get_id(), user.get_name(), user.groups) == ("alice", "alice", ("ctao/users",))
    assert (user.issuer, user.subject) == ("https://iam.test", "sub-alice")
    assert who.user is user


def test_a_session_is_the_same_user(manager: EsapAuthManager, user: Users) -> None:
    alice = user("alice")
    again = user_of(manager, manager.generate_jwt(alice))
    assert (again.name, again.groups, again.issuer, again.subject) == (
        alice.name, alice.groups, alice.issuer, alice.subject,
    )  # fmt: skip


def test_a_token_made_of_a_token_lasts_no_longer(manager: EsapAuthManager, signer: Signer) -> None:
    ends = int(time.time()) + 60
    given = manager.generate_jwt(user_of(manager, signer.token(exp=ends)))
    assert jwt.decode(given, options={"verify_signature": False})["exp"] <= ends + 1
    again = manager.generate_jwt(user_of(manager, given))
    assert jwt.decode(again, options={"verify_signature": False})["exp"] <= ends + 1


def test_the_service_is_known_by_a_token_of_its_own_and_by_no_issuers(
    manager: EsapAuthManager, signer: Signer
) -> None:
    token = manager.generate_jwt(service_user(), expiration_time_in_seconds=60)
    assert user_of(manager, token).identity.is_admin
    assert refusal(manager, signer.token(preferred_username=SERVICE)).status_code == 401


def test_a_user_of_no_known_group_is_forbidden(manager: EsapAuthManager, signer: Signer) -> None:
    refused = refusal(manager, signer.token(**{"wlcg.groups": ["/un/heard"]}))
    assert (refused.status_code, "user alice is in un/heard" in refused.detail) == (403, True)


@pytest.mark.parametrize(("told", "forgotten"), [([], True), (["/un/heard"], True), (None, False)])
def test_the_groups_of_who_has_left_them_all_are_forgotten(
    manager: EsapAuthManager, signer: Signer, monkeypatch: pytest.MonkeyPatch, told: Any, forgotten: bool
) -> None:
    left: list[tuple[str, ...]] = []
    monkeypatch.setattr(module, "forget_groups", lambda *who: left.append(who))
    assert refusal(manager, signer.token(**{"wlcg.groups": told})).status_code == 403
    assert left == ([("alice", "https://iam.test", "sub-alice")] if forgotten else [])


def test_what_was_revoked_is_refused(manager: EsapAuthManager, signer: Signer, user: Users) -> None:
    from anyio import to_thread

    async def revoke(token: str) -> None:
        await to_thread.run_sync(manager.revoke_token, token)

    for token in (signer.token(), manager.generate_jwt(user("alice"))):
        user_of(manager, token)
        asyncio.run(revoke(token))
        refused = refusal(manager, token)
        assert (refused.status_code, "revoked" in refused.detail) == (401, True)


@pytest.mark.parametrize("token", ["", "x", "a.b.c"])
def test_garbage_is_refused(manager: EsapAuthManager, token: str) -> None:
    assert refusal(manager, token).status_code == 401


@pytest.mark.parametrize(
    ("name", "method", "entity", "allowed"),
    [
        ("alice", "GET", DagAccessEntity.XCOM, True),
        ("alice", "POST", DagAccessEntity.RUN, True),
        ("alice", "DELETE", DagAccessEntity.RUN, True),
        ("alice", "PUT", DagAccessEntity.TASK_INSTANCE, True),
        ("alice", "DELETE", DagAccessEntity.TASK_INSTANCE, False),
        ("alice", "PUT", DagAccessEntity.HITL_DETAIL, True),
        ("alice", "PUT", DagAccessEntity.XCOM, False),
        ("alice", "PUT", None, False),
        ("alice", "DELETE", None, False),
        ("gail", "GET", DagAccessEntity.RUN, True),
        ("gail", "POST", DagAccessEntity.RUN, False),
        ("gail", "PUT", DagAccessEntity.HITL_DETAIL, False),
        ("dave", "GET", None, False),
        ("olga", "PUT", None, True),
        ("olga", "DELETE", None, False),
        ("olga", "PUT", DagAccessEntity.XCOM, False),
        ("carol", "DELETE", None, True),
        ("carol", "PUT", DagAccessEntity.XCOM, True),
    ],
)
def test_rights_on_a_dag(
    manager: EsapAuthManager,
    user: Users,
    name: str,
    method: Any,
    entity: DagAccessEntity | None,
    allowed: bool,
) -> None:
    asked: Any = {"method": method, "access_entity": entity, "details": DagDetails(id="cta_irf")}
    assert manager.is_authorized_dag(user=user(name), **asked) is allowed
    assert manager.batch_is_authorized_dag([asked], user=user(name)) is allowed


def test_lists_are_open_and_their_dags_are_chosen_one_by_one(manager: EsapAuthManager, user: Users) -> None:
    assert manager.is_authorized_dag(method="GET", user=user("dave"), details=DagDetails(id=None))
    assert not manager.is_authorized_dag(method="DELETE", user=user("dave"), details=DagDetails(id=None))
    ids = {"cta_irf", "hello_world", "km3net_concordia", "housekeeping"}
    assert manager.filter_authorized_dag_ids(dag_ids=ids, user=user("dave")) == {
        "hello_world", "km3net_concordia",
    }  # fmt: skip


def test_the_installation_is_for_operators_and_administrators(manager: EsapAuthManager, user: Users) -> None:
    def may(name: str) -> list[bool]:
        one = user(name)
        return [
            manager.is_authorized_connection(method="GET", user=one),
            manager.is_authorized_variable(method="GET", user=one),
            manager.is_authorized_configuration(method="GET", user=one),
            manager.is_authorized_team(method="GET", user=one),
            manager.is_authorized_custom_view(method="GET", resource_name="x", user=one),
            manager.is_authorized_asset(method="POST", user=one),
            manager.is_authorized_asset_alias(method="POST", user=one),
            manager.is_authorized_pool(method="PUT", user=one),
            manager.is_authorized_asset(method="GET", user=one),
            manager.is_authorized_view(access_view=AccessView.JOBS, user=one),
        ]

    assert may("alice") == [False] * 10
    assert may("olga") == [False] * 7 + [True] * 3
    assert may("carol") == [True] * 10
    assert manager.is_authorized_view(access_view=AccessView.WEBSITE, user=user("alice"))


def test_menus_show_what_can_be_opened(manager: EsapAuthManager, user: Users) -> None:
    everything = list(MenuItem)
    seen = manager.filter_authorized_menu_items(everything, user=user("alice"))
    assert MenuItem.DAGS in seen
    assert not {MenuItem.CONNECTIONS, MenuItem.VARIABLES, MenuItem.CONFIG, MenuItem.POOLS} & set(seen)
    assert MenuItem.POOLS in manager.filter_authorized_menu_items(everything, user=user("olga"))
    assert manager.filter_authorized_menu_items(everything, user=user("carol")) == everything


def test_a_question_for_somebody_is_theirs(manager: EsapAuthManager, user: Users) -> None:
    assert manager.is_authorized_hitl_task(assigned_users={"alice"}, user=user("alice"))
    assert not manager.is_authorized_hitl_task(assigned_users={"alice"}, user=user("bob"))
    assert manager.is_authorized_hitl_task(assigned_users={"alice"}, user=user("carol"))


def test_the_login_and_what_stands_before_requests_are_airflows_too(
    manager: EsapAuthManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert manager.get_url_login() == "/auth/login"
    assert manager.get_url_login(next_url="/a?b") == "/auth/login?next=%2Fa%3Fb"
    assert manager.get_url_logout() == "/auth/logout"
    names = [one.__name__ for one, _ in manager.get_fastapi_middlewares()]  # type: ignore[attr-defined]
    assert names == ["CallerMiddleware", "SameOriginMiddleware", "Observer"]
