"""The lake's client against a server whose database gives way."""

from __future__ import annotations

from typing import Any

import pytest
from requests import Response
from rucio.client import Client
from rucio.common.constants import HTTPMethod

from hooks import lake_client
from hooks.lake_client import ATTEMPTS, GAVE_WAY, LakeClient


def answer(status: int, error: str = "") -> Response:
    made = Response()
    made.status_code = status
    if error:
        made.headers["ExceptionClass"] = error
    return made


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> LakeClient:
    monkeypatch.setattr(LakeClient._send_request.retry, "sleep", lambda _seconds: None)
    return object.__new__(LakeClient)


def serve(monkeypatch: pytest.MonkeyPatch, answers: list[Response]) -> list[Any]:
    asked: list[Any] = []

    def send(_self: Client, *args: Any, **_options: Any) -> Response:
        asked.append(args)
        return answers[min(len(asked), len(answers)) - 1]

    monkeypatch.setattr(Client, "_send_request", send)
    return asked


@pytest.mark.parametrize("error", sorted(GAVE_WAY))
def test_a_transaction_that_lost_against_a_daemon_is_sent_again(
    client: LakeClient, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    asked = serve(monkeypatch, [answer(500, error), answer(500, error), answer(201)])
    told = client._send_request("http://lake/rules/", HTTPMethod.POST)
    assert told is not None
    assert told.status_code == 201
    assert asked == [("http://lake/rules/", HTTPMethod.POST)] * 3


@pytest.mark.parametrize("told", [answer(201), answer(409, "DuplicateRule"), answer(500, "RucioException")])
def test_any_other_answer_is_given_as_it_is(
    client: LakeClient, monkeypatch: pytest.MonkeyPatch, told: Response
) -> None:
    asked = serve(monkeypatch, [told])
    assert client._send_request("http://lake/rules/", HTTPMethod.POST) is told
    assert len(asked) == 1


def test_a_database_that_stays_down_is_told_in_the_end(
    client: LakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    down = answer(500, "DatabaseException")
    asked = serve(monkeypatch, [down])
    assert client._send_request("http://lake/rules/", HTTPMethod.POST) is down
    assert len(asked) == ATTEMPTS


def test_the_errors_are_rucios_own() -> None:
    from rucio.common import exception

    assert all(issubclass(getattr(exception, name), exception.RucioException) for name in GAVE_WAY)
    assert lake_client.gave_way(None) is False
