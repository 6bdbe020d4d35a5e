"""Parts of the login that need no issuer; the rest is tests/e2e/portal/test_login.py."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from authlib.integrations.base_client import OAuthError
from fastapi import HTTPException
from fastapi.testclient import TestClient

from access import login
from access.issuers import Issuer
from esap_batch.issuers import TokenIssuer


class Client:
    """An issuer's userinfo endpoint."""

    def __init__(self, **claims: Any) -> None:
        self.told = claims

    async def userinfo(self, token: Any) -> dict[str, Any]:
        return self.told


def claims(client: Client, issuer: Issuer, **told: Any) -> dict[str, Any]:
    return asyncio.run(login._claims_of_login(client, issuer, {"userinfo": told}))


def test_groups_that_the_id_token_lacks_come_from_userinfo(issuer: Issuer) -> None:
    """EGI Check-in has them there only."""
    full = {"sub": "1", "preferred_username": "alice", "groups": ["a"]}
    assert claims(Client(), issuer, **full) == full
    more = claims(
        Client(sub="1", groups=["b"], name="x"), issuer, sub="1", preferred_username="alice", name="y"
    )
    assert (more["groups"], more["name"]) == (["b"], "y")
    with pytest.raises(OAuthError, match="somebody else"):
        claims(Client(sub="2", groups=["esap/admins"]), issuer, sub="1", preferred_username="alice")
    with pytest.raises(OAuthError, match="no ID token"):
        claims(Client(), issuer)


def test_with_several_issuers_people_choose(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Issuer(TokenIssuer("km3net", "c", ("a",)), "https://other.test", "id", "")
    monkeypatch.setattr(login, "known_issuers", lambda: {"iam": issuer, "km3net": other})
    answer = TestClient(login.create_app()).get("/login", params={"next": '/"><script>'})
    assert "issuer=iam" in answer.text
    assert "issuer=km3net" in answer.text
    assert "<script>" not in answer.text
    assert TestClient(login.create_app()).get("/login?issuer=none").status_code == 404


def test_without_an_issuer_nobody_can_log_in() -> None:
    with pytest.raises(HTTPException) as refusal:
        login.next_of({})
    assert refusal.value.status_code == 503


def test_a_refusal_is_escaped() -> None:
    page = bytes(login._refused("<script>alert(1)</script>").body).decode()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
