"""Connecting a user's DIRAC or IAM to the broker, as the user's browser would."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from localgrid.signin import passwords, walk
from tests.broker_side import broker_side

DIRAC = "dirac:dirac_local"
PAGE = "/batch-broker/credentials"


@contextmanager
def browser(info: Mapping[str, Any], user: str) -> Iterator[httpx.Client]:
    """Log a browser in to the portal."""
    url = info["airflow"]["url"]
    with httpx.Client(base_url=url, timeout=60) as http:
        walk(http, f"{url}{PAGE}", user, passwords(info)[user], f"{url}{PAGE}")
        yield http


def form_token(http: httpx.Client) -> str:
    """Give the token of the page's forms."""
    found = re.search(r'name="form_token" value="([^"]+)"', http.get(PAGE).raise_for_status().text)
    assert found
    return found[1]


def start(http: httpx.Client, system: str) -> httpx.Response:
    """Press Connect; the answer redirects to the system's login page."""
    return http.post(f"{PAGE}/connect", data={"system": system, "form_token": form_token(http)})


def connect(info: Mapping[str, Any], user: str, system: str = DIRAC, as_user: str = "") -> httpx.Response:
    """Connect a system; gives the page that the browser is left with.

    :param as_user: who logs in at the system, if another.
    """
    with browser(info, user) as http:
        answer = start(http, system)
        assert answer.status_code == 303, answer.text
        back = f"{info['airflow']['url']}/batch-broker/callback"
        who = as_user or user
        with httpx.Client(timeout=60) as elsewhere:  # the system has its own cookies, and maybe another user
            given = walk(elsewhere, answer.headers["location"], who, passwords(info)[who], back)
        return http.get(given.headers["location"], follow_redirects=True)


def disconnect(info: Mapping[str, Any], user: str, system: str = DIRAC) -> None:
    """Press Disconnect."""
    with browser(info, user) as http:
        http.post(f"{PAGE}/disconnect", data={"system": system, "form_token": form_token(http)})


def held(info: Mapping[str, Any], user: str, system: str = DIRAC) -> list[str]:
    """Give what the broker holds for a user: the refresh token, then access tokens."""
    (told,) = broker_side(info, "secrets", user, system)
    return list(json.loads(told))


def end_at_diracx(info: Mapping[str, Any], user: str) -> None:
    """End what a user has connected at DiracX itself, as is noticed when the token must be renewed: now."""
    url = f"{info['diracx']['url']}/api/auth/revoke"
    httpx.post(url, data={"token": held(info, user)[0]}).raise_for_status()
    broker_side(info, "age", user, DIRAC, "-1")
