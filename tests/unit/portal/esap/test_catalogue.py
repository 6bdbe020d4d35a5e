from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

Esap = Callable[..., TestClient]


def names(client: TestClient, what: str, **query: Any) -> list[str]:
    answer = client.get(f"batch/{what}/search", params=query)
    assert answer.status_code == 200, answer.text
    return [entry["name"] for entry in answer.json()["results"]]


@pytest.mark.parametrize(
    ("user", "facilities", "n_workflows"),
    [
        ("alice", ["lapalma", "cscs", "fair-slurm"], 5),
        ("dave", ["km3net-local", "fair-slurm"], 2),
        ("carol", ["lapalma", "cscs", "km3net-local", "escape-local", "fair-slurm"], 6),
    ],
)
def test_the_searches_show_what_the_user_may_use(
    esap: Esap, user: str, facilities: list[str], n_workflows: int
) -> None:
    assert names(esap(user), "facilities") == facilities
    assert len(names(esap(user), "workflows")) >= n_workflows


def test_keywords_match_name_title_and_description_in_any_case(alice: TestClient) -> None:
    assert names(alice, "workflows", keyword="CORSIKA's") == ["cta_concordia"]
    assert names(alice, "workflows", keyword="irf")[0] == "cta_irf"
    assert names(alice, "facilities", keyword="la palma") == ["lapalma"]
    assert names(alice, "facilities", keyword="nowhere") == []
    assert names(alice, "facilities", keyword="' or 1=1") == []


def test_pages(alice: TestClient) -> None:
    page = alice.get("batch/workflows/search", params={"page_size": 2, "page": 3}).json()
    assert (page["count"], page["pages"], len(page["results"])) == (5, 3, 1)
    assert page["description"] == "ESAP API Gateway"


def test_nobody_searches_without_credentials(esap: Esap) -> None:
    assert esap().get("batch/workflows/search").status_code == 401
    assert esap("x", "Token").get("batch/facilities/search").status_code == 401


def test_a_facility_tells_how_it_is_doing(alice: TestClient) -> None:
    answer = alice.get("batch/facilities/search", params={"keyword": "la palma"})
    (lapalma,) = answer.json()["results"]
    assert lapalma["description"].endswith("; now: not checked; 7 jobs run and 0 wait")
