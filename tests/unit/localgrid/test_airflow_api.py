"""The client renews its user's token."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from localgrid.airflow_api import AirflowApi


@pytest.mark.parametrize(
    ("lasts", "later", "fetched"), [(3600, 60, 1), (3600, 3580, 2), (20, 5, 1), (20, 30, 2)]
)
def test_a_token_is_used_until_shortly_before_its_end(
    monkeypatch: pytest.MonkeyPatch, lasts: int, later: float, fetched: int
) -> None:
    given: list[str] = []
    seen: list[str] = []

    def tokens() -> dict[str, Any]:
        given.append(f"token-{len(given)}")
        return {"access_token": given[-1], "expires_in": lasts}

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["Authorization"])
        return httpx.Response(200, json={})

    clock = [1000.0]
    monkeypatch.setattr("localgrid.airflow_api.time.monotonic", lambda: clock[0])
    api = AirflowApi("http://airflow", tokens)
    api._http = httpx.Client(
        base_url="http://airflow", auth=api._bearer, transport=httpx.MockTransport(answer)
    )
    api.get("/dags")
    clock[0] += later
    api.get("/dags")
    assert len(given) == fetched
    assert seen == ["Bearer token-0", f"Bearer {given[-1]}"]
