"""Sign in at the grid's issuer as a person would: its pages' forms filled in, one after the other."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx

SCOPE = "openid profile wlcg.groups"
MOST_PAGES = 20


class SignInRefused(RuntimeError):  # noqa: N818 - says what happened
    """The issuer did not let a user in; says what it answered."""


class _Form(HTMLParser):
    """The first form of a page: where it goes and what it sends, its first button included."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self._is_open = self._has_button = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form" and self.action is None:
            self.action, self._is_open = found.get("action", ""), True
        elif tag == "input" and "name" in found and self._is_open:
            self.fields[found["name"]] = found.get("value", "")
        elif tag == "button" and not self._has_button and (self._is_open or "form" in found):
            self._has_button = True
            if "name" in found:
                self.fields[found["name"]] = found.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._is_open = False


def passwords(info: Mapping[str, Any]) -> dict[str, str]:
    """The password of each user of a grid."""
    found: dict[str, str] = json.loads(Path(info["issuer"]["passwords_file"]).read_text())
    return found


def walk(http: httpx.Client, url: str, user: str, password: str, end: str = "") -> httpx.Response:
    """Open an address and go through redirects and forms, with `user` signing in and agreeing to all.

    Gives the first answer that redirects to an address beginning with `end`, or the first page without form.

    Raises:
        SignInRefused: a page says so, or the pages never end.

    """
    answer = http.get(url)
    for _ in range(MOST_PAGES):
        if answer.is_redirect:
            target = urljoin(str(answer.url), answer.headers["location"])
            if end and target.startswith(end):
                return answer
            answer = http.get(target)
            continue
        form = _Form(answer.text)
        if answer.is_error:
            raise SignInRefused(f"{user}: {answer.url} answers {answer.status_code}: {answer.text[-600:]}")
        if form.action is None:
            return answer
        given = {"username": user, "password": password}
        fields = {name: given.get(name, value) for name, value in form.fields.items()}
        answer = http.post(urljoin(str(answer.url), form.action), data=fields)
    raise SignInRefused(f"{user}: still no end after {MOST_PAGES} pages, at {answer.url}")


def sign_in(
    info: Mapping[str, Any], user: str, password: str | None = None, scope: str = SCOPE, **more: str
) -> dict[str, Any]:
    """Get tokens of a user by the code flow with PKCE, as a script of the user's would.

    :param more: of the authorization request, say `audience`.
    """
    issuer = info["issuer"]
    verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "response_type": "code",
        "client_id": issuer["client"],
        "redirect_uri": issuer["redirect"],
        "scope": scope,
        "state": state,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        **more,
    }
    with httpx.Client(timeout=30) as http:
        metadata = http.get(f"{issuer['url']}/.well-known/openid-configuration").raise_for_status().json()
        start = httpx.URL(metadata["authorization_endpoint"], params=asked)
        answer = walk(http, str(start), user, password or passwords(info)[user], issuer["redirect"])
        told = parse_qs(urlsplit(answer.headers.get("location", "")).query)
        if told.get("state") != [state] or "code" not in told:
            raise SignInRefused(f"{user}: the issuer answers {told or answer.text[-600:]}")
        given = http.post(
            metadata["token_endpoint"],
            data={
                "grant_type": "authorization_code",
                "client_id": issuer["client"],
                "redirect_uri": issuer["redirect"],
                "code": told["code"][0],
                "code_verifier": verifier,
            },
        )
    if given.is_error:
        raise SignInRefused(f"{user}: the issuer answers {given.status_code}: {given.text}")
    tokens: dict[str, Any] = given.json()
    return tokens
