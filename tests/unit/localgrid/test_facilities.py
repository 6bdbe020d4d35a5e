"""The command that tests facilities."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from localgrid import facilities
from localgrid.airflow_api import AirflowApi


def airflow(monkeypatch: pytest.MonkeyPatch, states: list[str], table: str | None) -> AirflowApi:
    left: Iterator[str] = iter(states)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(200, json={"dag_run_id": "r1"})
        if re.search("/xcomEntries/table$", request.url.path):
            return httpx.Response(200, json={"value": table}) if table else httpx.Response(404)
        return httpx.Response(200, json={"state": next(left)})

    monkeypatch.setattr(facilities, "LOOK_EVERY", 0.0)
    api = AirflowApi("http://airflow", lambda: {"access_token": "t", "expires_in": 60})
    api._http = httpx.Client(base_url="http://airflow", transport=httpx.MockTransport(answer))
    return api


@pytest.mark.parametrize(("end", "well"), [("success", True), ("failed", False)])
def test_the_table_is_given_with_whether_all_is_well(
    monkeypatch: pytest.MonkeyPatch, end: str, well: bool
) -> None:
    api = airflow(monkeypatch, ["queued", "running", end], "| table |")
    assert facilities.check(api, 60) == ("| table |", well)


def test_a_run_that_shows_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="run r1 of facilities_check has failed before"):
        facilities.check(airflow(monkeypatch, ["failed"], None), 60)


def test_a_run_that_does_not_end_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="run r1 of facilities_check is running after 0 s"):
        facilities.check(airflow(monkeypatch, ["running"] * 9, None), 0)
