"""Steering files that are stored; those of jobs with runs are in tests/e2e."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from portal.core import steering

Esap = Callable[..., TestClient]
FILES = "batch/steering/"
HELLO = {"workflow": "hello_world", "title": "t", "request": {"n_jobs": 2}}
FLAT = {
    "uuid": "1", "type": "URL", "title": "flat", "description": "d", "workflow": "CONCORDIA",
    "Parameters": {"singularity_image": "auto", "NSHOW": "20"},
}  # fmt: skip


def stored(client: TestClient, document: Any = HELLO) -> dict[str, Any]:
    answer = client.post(FILES, json=document)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_a_file_is_found_by_id_and_fingerprint_by_its_owner(
    alice: TestClient, bob: TestClient, esap: Esap
) -> None:
    file = stored(alice)
    assert file["document"] == HELLO
    for key in (file["uuid"], file["fingerprint"]):
        assert alice.get(f"{FILES}{key}/").json()["uuid"] == file["uuid"]
        assert bob.get(f"{FILES}{key}/").status_code == 404
    assert bob.post(f"{FILES}{file['uuid']}/rerun/", json={}).status_code == 404
    assert bob.delete(f"{FILES}{file['uuid']}/").status_code == 404
    assert esap().get(FILES).status_code == 401
    assert bob.get(FILES).json()["count"] == 0


def test_files_are_listed_and_searched(alice: TestClient) -> None:
    mine = [stored(alice, {**HELLO, "title": title})["uuid"] for title in ("one 100%", "two")]
    assert [f["uuid"] for f in alice.get(FILES).json()["results"]] == mine[::-1]
    assert [f["uuid"] for f in alice.get(FILES, params={"keyword": "ONE"}).json()["results"]] == mine[:1]
    assert alice.get(FILES, params={"keyword": "%"}).json()["count"] == 1
    assert alice.get(FILES, params={"workflow": "cta_irf"}).json()["count"] == 0
    assert alice.get(FILES, params={"fingerprint": "x"}).status_code == 400


def test_esaps_flat_file_goes_to_the_users_own_workflow(alice: TestClient, esap: Esap) -> None:
    assert stored(alice, FLAT)["workflow"] == "cta_concordia"
    assert stored(esap("dave"), FLAT)["workflow"] == "km3net_concordia"
    unclear = esap("carol").post(FILES, json=FLAT)
    assert unclear.status_code == 400
    assert unclear.json()["problems"][0]["allowed"] == "cta_concordia, km3net_concordia"
    assert stored(esap("carol"), {**FLAT, "workflow": "cta_concordia"})["workflow"] == "cta_concordia"


def test_a_run_is_made_of_a_file(alice: TestClient, triggered: list[Any]) -> None:
    file = stored(alice, FLAT)
    job = alice.post(f"{FILES}{file['uuid']}/rerun/", json={"phase": "RUN", "runId": "again"})
    assert job.status_code == 303
    assert job.json()["runId"] == "again"
    assert triggered[0][2] == {"NSHOW": 20}
    same = alice.post(f"{FILES}{file['fingerprint']}/rerun/", json={})
    forced = alice.post(f"{FILES}{file['uuid']}/rerun/", json={"force": True})
    assert forced.json()["jobId"] != same.json()["jobId"]


def test_the_file_of_a_job_that_has_not_begun(alice: TestClient, bob: TestClient) -> None:
    body = {"parameters": [{"key": "workflow", "value": "hello_world"}, {"key": "n_jobs", "value": "2"}]}
    number = alice.post("uws/jobs/", json=body).json()["jobId"]
    file = alice.get(f"{FILES}job-{number}/").json()
    assert (file["jobId"], file["document"]["request"]["n_jobs"]) == (number, 2)
    assert file["fingerprint"] == stored(alice)["fingerprint"]
    assert bob.get(f"{FILES}job-{number}/").status_code == 404
    assert alice.delete(f"{FILES}job-{number}/").status_code == 409
    outside = alice.post("uws/jobs/", json={"parameters": [{"key": "type", "value": "external"}]}).json()
    assert alice.get(f"{FILES}job-{outside['jobId']}/").status_code == 404


def test_an_upload_is_a_file(alice: TestClient) -> None:
    given = {"file": ("x.json", json.dumps(HELLO["request"]), "application/json")}
    bare = alice.post(FILES, files=given, data={"workflow": "hello_world"})
    assert bare.status_code == 201, bare.text
    assert alice.post(FILES, files=given).status_code == 400  # of which workflow?
    assert alice.post(FILES, files={**given, "other": ("y", "{}")}).status_code == 400
    assert alice.post(FILES, files={"file": ("x", b"\xff")}).status_code == 400
    assert alice.post(FILES, data={"file": "no upload"}).status_code == 415


@pytest.mark.parametrize(
    ("document", "status", "field"),
    [
        ({}, 400, "workflow"),
        ({"workflow": 7, "request": {}}, 400, "workflow"),
        ({"workflow": "no_such", "request": {}}, 404, ""),
        ({"workflow": "km3net_concordia", "request": {}}, 403, ""),
        ({"workflow": "hello_world", "request": []}, 400, "request"),
        ({"workflow": "hello_world", "request": {"n_jobs": 0}}, 400, "n_jobs"),
        ({"workflow": "hello_world", "request": {}, "evil": 1}, 400, "evil"),
        ({"workflow": "hello_world", "request": {}, "title": ["x"]}, 400, "title"),
        ({"workflow": "hello_world", "Parameters": {}}, 400, "workflow"),
        ({**FLAT, "Parameters": {"NSHOW": "many"}}, 400, "Parameters.NSHOW"),
        ({**FLAT, "Parameters": []}, 400, "Parameters"),
        ({**FLAT, "evil": 1}, 400, "evil"),
    ],
)
def test_files_that_cannot_be_run_are_not_stored(
    alice: TestClient, document: Any, status: int, field: str
) -> None:
    answer = alice.post(FILES, json=document)
    assert answer.status_code == status, answer.text
    if field:
        assert field in [p["field"] for p in answer.json()["problems"]]
    assert alice.get(FILES).json()["count"] == 0


@pytest.mark.parametrize(
    "wish", [{"phase": "ABORT"}, {"force": 1}, {"runId": 7}, {"runId": "a\nb"}, {"evil": 1}]
)
def test_wishes_that_are_none(alice: TestClient, triggered: list[Any], wish: Any) -> None:
    assert alice.post(f"{FILES}{stored(alice)['uuid']}/rerun/", json=wish).status_code == 400
    assert triggered == []


@pytest.mark.parametrize(
    "key", ["..%2f..%2fetc", "x" * 65, "A B", "no-such", "job-0", "job-99999999999999999999"]
)
def test_keys_that_are_none(alice: TestClient, key: str) -> None:
    assert alice.get(f"{FILES}{key}/").status_code in (400, 404)


def test_there_is_a_most(alice: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steering, "MOST_STORED", 2)
    for _ in range(2):
        stored(alice)
    assert alice.post(FILES, json=HELLO).status_code == 409
