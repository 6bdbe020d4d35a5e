"""The portal's way to its caller."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import HTTPException, Request

from access.users import EsapUser, current_user, service_token, service_user

Users = Callable[[str], EsapUser]


@pytest.fixture(autouse=True)
def manager(monkeypatch: pytest.MonkeyPatch, user: Users) -> None:
    class Manager:
        async def get_user_from_token(self, token: str) -> EsapUser:
            return user(token)

        def generate_jwt(self, user: EsapUser, expiration_time_in_seconds: int) -> str:
            return f"{user.name} {expiration_time_in_seconds}"

    monkeypatch.setattr("airflow.api_fastapi.app.get_auth_manager", Manager)


def request(**headers: str) -> Request:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope: dict[str, Any] = {"type": "http", "headers": raw}
    return Request(scope)


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"Authorization": "Bearer alice"}, "alice"),
        ({"Authorization": "bearer  alice "}, "alice"),
        ({"Cookie": "_token=bob"}, "bob"),
        ({"Authorization": "Bearer alice", "Cookie": "_token=bob"}, "alice"),
        ({"Authorization": "Token abc", "Cookie": "_token=bob"}, "bob"),
    ],
)
def test_a_bearer_token_wins_over_the_cookie(headers: dict[str, str], name: str) -> None:
    assert asyncio.run(current_user(request(**headers))).name == name


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer "}, {"Authorization": "Basic YTpi"}])
def test_nobody_is_told_how_to_come_in(headers: dict[str, str]) -> None:
    with pytest.raises(HTTPException) as refusal:
        asyncio.run(current_user(request(**headers)))
    assert refusal.value.status_code == 401
    assert (refusal.value.headers or {})["WWW-Authenticate"] == 'Bearer realm="esap-batch"'


def test_the_service_is_an_administrator_with_a_short_token() -> None:
    assert service_user().identity.is_admin
    assert service_user().is_service
    assert service_token() == "(esap-batch) 60"
