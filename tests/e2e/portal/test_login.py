"""Login and logout of a person with a browser: cookies, redirects, and other sites' pages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest

from localgrid.grid import Grid
from localgrid.signin import SignInRefused, passwords, walk
from tests.e2e.tokens import Mint

OURS, LOGIN = "/ui/auth/me", "/api/v2/auth/login"


@pytest.fixture
def browser(grid: Grid) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=grid.info["airflow"]["url"], timeout=60) as http:
        yield http


def log_in(grid: Grid, browser: httpx.Client, user: str = "alice", following: str = "/") -> httpx.Response:
    """Log in as the UI does; gives the answer that begins the session."""
    start = str(browser.base_url.join(f"{LOGIN}?next={following}"))
    portal = grid.info["airflow"]["url"]
    answer = walk(browser, start, user, passwords(grid.info)[user], f"{portal}/auth/callback")
    return browser.get(answer.headers["location"])


def test_a_person_logs_in_at_the_issuer(grid: Grid, browser: httpx.Client) -> None:
    answer = log_in(grid, browser, following="/dags/cta_irf")
    assert (answer.status_code, answer.headers["location"]) == (303, "/dags/cta_irf")
    cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("_token="))
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    assert "Secure" not in cookie, "the grid has no TLS: a browser would not send it back"
    assert browser.get(OURS).json() == {"id": "alice", "username": "alice"}


def test_the_request_to_the_issuer_has_pkce_state_and_nonce(browser: httpx.Client) -> None:
    answer = browser.get("/auth/login", params={"next": "/"})
    asked = {k: v[0] for k, v in parse_qs(urlsplit(answer.headers["location"]).query).items()}
    assert asked["response_type"] == "code"
    assert asked["code_challenge_method"] == "S256"
    assert {"state", "nonce", "code_challenge"} <= set(asked)
    assert "offline_access" not in asked["scope"]


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"]
)
def test_a_login_leads_to_no_other_site(grid: Grid, browser: httpx.Client, target: str) -> None:
    assert browser.get(LOGIN, params={"next": target}).status_code == 400
    answer = browser.get("/auth/login", params={"next": target})
    portal = grid.info["airflow"]["url"]
    end = walk(
        browser, answer.headers["location"], "alice", passwords(grid.info)["alice"], f"{portal}/auth/callback"
    )
    assert browser.get(end.headers["location"]).headers["location"] == f"{portal}/"


def test_an_answer_that_nobody_asked_for_is_refused(grid: Grid, browser: httpx.Client) -> None:
    """Login CSRF: a code of the attacker's account, or a state of another browser."""
    for query in ("", "?code=x", "?code=x&state=y", "?error=access_denied&error_description=<b>no</b>"):
        answer = browser.get(f"/auth/callback/iam{query}")
        assert answer.status_code == 403, query
        assert "_token" not in answer.headers.get("set-cookie", "")
        assert "<b>" not in answer.text
    assert browser.get("/auth/callback/other").status_code == 404
    with httpx.Client(base_url=browser.base_url, timeout=60) as other:
        portal = grid.info["airflow"]["url"]
        start = f"{portal}{LOGIN}"
        end = walk(other, start, "bob", passwords(grid.info)["bob"], f"{portal}/auth/callback")
    assert browser.get(end.headers["location"]).status_code == 403


def test_a_wrong_password_is_told(grid: Grid, browser: httpx.Client) -> None:
    with pytest.raises(SignInRefused, match="User or password is wrong"):
        walk(
            browser,
            str(browser.base_url.join(LOGIN)),
            "alice",
            "guess",
            grid.info["airflow"]["url"] + "/auth/c",
        )


def test_logout_ends_the_session_here_and_at_the_issuer(grid: Grid, browser: httpx.Client) -> None:
    log_in(grid, browser)
    session = browser.cookies["_token"]
    answer = browser.get("/api/v2/auth/logout")
    assert answer.status_code == 307
    told = browser.get(answer.headers["location"])
    assert told.headers["location"].startswith(f"{grid.info['issuer']['url']}/logout?id_token_hint=")
    assert "_token" not in browser.cookies
    stolen = httpx.get(f"{browser.base_url}{OURS}", headers={"Authorization": f"Bearer {session}"})
    assert stolen.status_code == 401
    end = walk(browser, told.headers["location"], "alice", "", grid.info["airflow"]["url"])
    assert end.headers["location"].startswith(grid.info["airflow"]["url"])
    again = browser.get("/auth/login", follow_redirects=True)
    assert 'name="password"' in again.text, "the issuer asks for the password again"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({}, 200),
    ],
)
def test_a_page_of_another_site_cannot_act_for_the_user(
    grid: Grid, browser: httpx.Client, headers: dict[str, str], status: int
) -> None:
    log_in(grid, browser)
    body: dict[str, Any] = {"page_limit": 1}
    answer = browser.post("/api/v2/dags/~/dagRuns/list", json=body, headers=headers)
    assert answer.status_code == status, answer.text
    bearer = {**headers, "Authorization": f"Bearer {Mint(grid.info).token('erin')}"}
    assert browser.post("/api/v2/dags/~/dagRuns/list", json=body, headers=bearer).status_code == 200


def test_an_issuers_token_becomes_one_of_airflows_that_lasts_no_longer(
    grid: Grid, browser: httpx.Client
) -> None:
    mint, ends = Mint(grid.info), int(time.time()) + 120
    headers = {"Authorization": f"Bearer {mint.token('erin', exp=ends)}"}
    for path, body in (("/auth/token", None), ("/ui/auth/token", {"token_type": "api"})):
        answer = browser.post(path, json=body, headers=headers)
        assert answer.is_success, answer.text
        given = answer.json()["access_token"]
        assert jwt.decode(given, options={"verify_signature": False})["exp"] <= ends + 1
        own = browser.get(OURS, headers={"Authorization": f"Bearer {given}"})
        assert own.json()["username"] == "erin"
    assert browser.post("/auth/token").status_code == 401
    assert browser.post("/auth/token", headers=mint.headers("expired", "erin")).status_code == 401
