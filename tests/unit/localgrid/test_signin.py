"""Pages of an issuer are gone through as a person would."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from localgrid.signin import SignInRefused, walk

LOGIN = """<form method="post" action="/in?a=1"><input name="csrf" value="x&amp;y"><input name="username">
<input name="password" type="password"><button name="answer" value="yes">Go</button>
<button name="answer" value="no">Stop</button></form><form action="/elsewhere"><input name="other"></form>"""


def client(answer: Callable[[httpx.Request], httpx.Response]) -> httpx.Client:
    return httpx.Client(transport=httpx.MockTransport(answer))


def test_forms_are_filled_in_until_the_way_leads_back() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(f"{request.method} {request.url.path} {request.content.decode()}")
        if request.url.path == "/start":
            return httpx.Response(302, headers={"location": "/page"})
        if request.url.path == "/page":
            return httpx.Response(200, text=LOGIN)
        return httpx.Response(303, headers={"location": "http://me/callback?code=c"})

    end = walk(client(answer), "http://issuer/start", "alice", "secret", "http://me/callback")
    assert end.headers["location"] == "http://me/callback?code=c"
    assert seen[-1] == "POST /in csrf=x%26y&username=alice&password=secret&answer=yes"


def test_a_page_without_a_form_is_the_end() -> None:
    page = walk(client(lambda _: httpx.Response(200, text="done")), "http://issuer/", "alice", "secret")
    assert page.text == "done"


def test_a_refusal_is_told() -> None:
    refusal = httpx.Response(401, text=f"wrong {LOGIN}")
    with pytest.raises(SignInRefused, match=r"alice: .* answers 401: .*wrong"):
        walk(client(lambda _: refusal), "http://issuer/", "alice", "secret")


def test_a_circle_ends() -> None:
    answer = httpx.Response(302, headers={"location": "/again"})
    with pytest.raises(SignInRefused, match="still no end"):
        walk(client(lambda _: answer), "http://issuer/", "alice", "secret")
