"""ESAP's jobs without Airflow; what their runs do is in tests/e2e/portal/test_esap_dialect.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from airflow.models.dagrun import DagRun
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from portal.core.airflow_api import AirflowApi
from portal.results import listing
from store.sessions import now
from store.tables import Job

Esap = Callable[..., TestClient]
JOBS = "uws/jobs/"
JSON_TYPE = {"Content-Type": "application/json"}


def parameters(**given: Any) -> dict[str, Any]:
    return {"parameters": [{"key": key, "value": value} for key, value in given.items()]}


def made(client: TestClient, **given: Any) -> dict[str, Any]:
    answer = client.post(JOBS, json=parameters(**given))
    assert answer.status_code == 303, answer.text
    return dict(answer.json())


def rows(database: Any) -> int:
    with Session(database) as session:
        return session.scalar(select(func.count()).select_from(Job)) or 0


def ended(database: Any, state: str) -> None:
    """Bring all runs to a state."""
    with Session(database) as session, session.begin():
        session.execute(update(DagRun).values(state=state, end_date=now()))


async def no_results(_job: Any) -> list[Any]:
    return []


def test_a_job_is_made_pending_with_typed_fields_and_its_token(
    alice: TestClient, triggered: list[Any]
) -> None:
    answer = alice.post(JOBS, json={"runId": "mine", **parameters(workflow="hello_world", n_jobs="2")})
    job = answer.json()
    assert answer.headers["location"] == job["url"] == "http://esap.test/esap-api/uws/jobs/1/"
    assert (job["jobId"], job["phase"], job["runId"], job["ownerId"]) == (1, "PENDING", "mine", "alice")
    assert len(job["jobToken"]["key"]) > 40
    assert [p["key"] for p in job["parameters"]] == ["type", "workflow", "n_jobs"]
    assert all(set(p) == {"key", "value", "byReference", "isPost"} for p in job["parameters"])
    assert job["results"] == []
    assert job["errorSummary"] is None
    assert job["quote"] > job["creationTime"]
    assert triggered == []


def test_run_starts_the_run_with_the_typed_request(alice: TestClient, triggered: list[Any]) -> None:
    number = made(alice, type="batch", workflow="hello_world", n_jobs="2", force="true")["jobId"]
    assert alice.post(f"{JOBS}{number}/phase/", data={"PHASE": "RUN"}).status_code == 303
    ((dag, run, conf),) = triggered
    assert (dag, conf) == ("hello_world", {"n_jobs": 2, "force": True})
    assert run.startswith(f"uws-{number}-")


@pytest.mark.parametrize("state", ["running", "success"])
def test_a_client_that_makes_and_then_runs_an_equal_job_gets_the_standing_one(
    alice: TestClient, triggered: list[Any], database: Any, state: str
) -> None:
    first = made(alice, workflow="hello_world", n_jobs="2")["jobId"]
    alice.post(f"{JOBS}{first}/phase/", data={"PHASE": "RUN"})
    ended(database, state)
    assert made(alice, workflow="hello_world", n_jobs="2")["jobId"] == first
    again = alice.post(f"{JOBS}{first}/phase/", data={"PHASE": "RUN"})
    assert (again.status_code, len(triggered)) == (303, 1)


def test_the_document_of_a_failed_job_says_why_though_nobody_has_looked(
    alice: TestClient, triggered: list[Any], database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def tasks(*_: Any) -> list[Any]:
        return []

    monkeypatch.setattr(AirflowApi, "tasks", tasks)
    monkeypatch.setattr(listing, "list_results", no_results)
    number = made(alice, workflow="hello_world", n_jobs="2")["jobId"]
    alice.post(f"{JOBS}{number}/phase/", data={"PHASE": "RUN"})
    ended(database, "failed")
    why = "The run was ended before it had a result."
    assert alice.get(f"{JOBS}{number}/").json()["errorSummary"] == why
    assert alice.get(JOBS).json()["results"][0]["errorSummary"] == why
    ended(database, "success")
    assert alice.get(f"{JOBS}{number}/").json()["errorSummary"] is None
    assert alice.get(JOBS).json()["results"][0]["errorSummary"] is None


def test_a_job_that_has_failed_or_was_ended_cannot_be_run_again(alice: TestClient, database: Any) -> None:
    failed = made(alice, workflow="hello_world", n_jobs="2")["jobId"]
    alice.post(f"{JOBS}{failed}/phase/", data={"PHASE": "RUN"})
    ended(database, "failed")
    aborted = made(alice, workflow="hello_world", n_jobs="3")["jobId"]
    alice.post(f"{JOBS}{aborted}/phase/", data={"PHASE": "ABORT"})
    for number in (failed, aborted):
        assert alice.post(f"{JOBS}{number}/phase/", data={"PHASE": "RUN"}).status_code == 409


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 400, "parameters"),
        ({"parameters": {}}, 400, "parameters"),
        ({"parameters": ["x"]}, 400, "parameters.0"),
        ({"parameters": [{"key": "a"}]}, 400, "parameters.0"),
        ({"parameters": [{"key": "", "value": "x"}]}, 400, "parameters.0.key"),
        ({"parameters": [{"key": "a\nb", "value": "x"}]}, 400, "parameters.0.key"),
        ({"parameters": [{"key": "a", "value": "x", "evil": 1}]}, 400, "parameters.0.evil"),
        ({"parameters": [{"key": "a", "value": "x", "byReference": 2}]}, 400, "parameters.0.byReference"),
        (parameters(n_jobs="1"), 400, "workflow"),
        (parameters(workflow="no_such"), 404, ""),
        (parameters(workflow="../hello_world"), 404, ""),
        (parameters(workflow="km3net_concordia"), 403, ""),
        (parameters(type="staging", workflow="hello_world"), 400, "type"),
        (parameters(type=7, workflow="hello_world"), 400, "type"),
        (parameters(workflow="hello_world", n_jobs="many"), 400, "n_jobs"),
        (parameters(workflow="hello_world", n_job="1"), 400, "n_job"),
        (parameters(workflow="hello_world", n_jobs=10**15), 400, "n_jobs"),
        (parameters(workflow="hello_world", message="m" * 300), 400, "message"),
        ({"parameters": [{"key": "workflow", "value": "hello_world"}] * 2}, 400, "workflow"),
        ({**parameters(workflow="hello_world"), "evil": 1}, 400, "evil"),
        ({**parameters(workflow="hello_world"), "runId": "a\r\nSet-Cookie: b"}, 400, "runId"),
        ({**parameters(workflow="hello_world"), "runId": ["a"]}, 400, "runId"),
        ({**parameters(workflow="hello_world"), "phase": "ABORT"}, 400, "phase"),
        ({"parameters": [{"key": "type", "value": "external"}, {"key": "a", "value": "file:///etc/passwd",
          "byReference": True}]}, 400, "a"),
        ({"parameters": [{"key": "type", "value": "external"}, {"key": "a", "value": "http://[",
          "byReference": True}]}, 400, "a"),
        ({"parameters": [{"key": "workflow", "value": "hello_world"}, {"key": "message", "value": "http://a",
          "byReference": True}]}, 400, "message"),
    ],
)  # fmt: skip
def test_bad_input_is_named_and_makes_nothing(
    alice: TestClient, database: Any, body: Any, status: int, field: str
) -> None:
    answer = alice.post(JOBS, json=body)
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert told["detail"]
    if field:
        assert field in [p["field"] for p in told["problems"]], told
    assert rows(database) == 0


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"[" * 50_000, "application/json", 400),
        (b'{"parameters": [], "parameters": []}', "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"a": NaN}', "application/json", 400),
        (b'{"parameters": [{"key": "workflow", "value": "\\u0000"}]}', "application/json", 400),
        (b"x" * (10 << 20), "application/json", 413),
        (b"<a/>", "application/xml", 415),
        (b"a=b", "application/x-www-form-urlencoded", 415),
    ],
)
def test_bodies_that_cannot_be_read(
    alice: TestClient, database: Any, content: bytes, media_type: str, status: int
) -> None:
    answer = alice.post(JOBS, content=content, headers={"Content-Type": media_type})
    assert answer.status_code == status, answer.text
    assert rows(database) == 0


def test_a_large_body_is_refused_before_it_is_read(alice: TestClient) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for n in range(1000):
            assert n < 10, "it is read on and on"
            yield b"x" * 100_000

    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(alice.app)
        async with httpx.AsyncClient(transport=transport, headers=dict(alice.headers)) as client:
            return await client.post(
                "http://esap.test/esap-api/uws/jobs/", content=parts(), headers=JSON_TYPE
            )

    assert asyncio.run(post()).status_code == 413


def test_wrong_verbs_name_the_right_ones(alice: TestClient) -> None:
    answer = alice.put(f"{JOBS}1/", json={})
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET, PATCH")
    assert "allowed are DELETE, GET, PATCH" in answer.json()["detail"]


@pytest.mark.parametrize(
    "path", ["uws/jobs/x/", "uws/jobs/0/", "uws/jobs/-1/", f"uws/jobs/{2**63}/", "uws/jobs/..%2f..%2fetc/"]
)
def test_ids_that_are_none(alice: TestClient, path: str) -> None:
    assert alice.get(path).status_code in (400, 404)


@pytest.mark.parametrize(
    "query",
    ["page=0", "page=x", "page_size=501", "phase=DONE", "evil=1", "page=1&page=2", "runId=%00", "runId=%ff"],
)
def test_queries_that_are_wrong(alice: TestClient, query: str) -> None:
    assert alice.get(f"{JOBS}?{query}").status_code == 400


def test_others_see_and_change_nothing(alice: TestClient, bob: TestClient, esap: Esap) -> None:
    path = f"{JOBS}{made(alice, workflow='hello_world')['jobId']}/"
    assert bob.get(path).status_code == 404
    assert bob.post(f"{path}phase/", json={"PHASE": "RUN"}).status_code == 404
    assert bob.delete(path).status_code == 404
    assert bob.get(JOBS).json()["count"] == 0
    nobody = esap()
    for answer in (nobody.get(JOBS), nobody.get(path), nobody.post(JOBS, json={}), nobody.delete(path)):
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert esap("carol").get(path).status_code == 200  # an administrator
    assert alice.get(path).json()["phase"] == "PENDING"


def test_a_worker_does_its_job_by_its_token_alone(alice: TestClient, esap: Esap) -> None:
    job = made(alice, type="external.sum", numbers="1 2", source="http://a/b")
    path, worker = f"{JOBS}{job['jobId']}/", esap(job["jobToken"]["key"], "Token")

    def tell(phase: str) -> int:
        return int(worker.post(f"{path}phase/", data={"PHASE": phase}).status_code)

    assert tell("EXECUTING") == 409  # nobody has started it
    assert alice.post(f"{path}phase/", json={"PHASE": "RUN"}).json()["phase"] == "QUEUED"
    assert tell("COMPLETE") == 409
    assert tell("EXECUTING") == 303
    assert tell("EXECUTING") == 303
    results = [
        {"key": "sum", "value": "3", "size": 1, "mimeType": "text/plain"},
        {"key": "log", "value": "ok"},
    ]
    assert worker.post(f"{path}results/", json=results).status_code == 201
    corrected = worker.post(f"{path}results/", json={"key": "sum", "value": "3.0"})
    assert [(r["key"], r["value"]) for r in corrected.json()["results"]] == [("sum", "3.0"), ("log", "ok")]
    done = worker.post(f"{path}phase/", data={"PHASE": "COMPLETE"})
    assert (done.status_code, done.json()["phase"]) == (303, "COMPLETED")
    assert worker.get(path).status_code == 401
    assert tell("ERROR") == 401
    seen = alice.get(path).json()
    assert seen["startTime"] <= seen["endTime"]
    for command in ("RUN", "ABORT"):
        assert alice.post(f"{path}phase/", json={"PHASE": command}).json()["phase"] == "COMPLETED"


def test_a_worker_that_fails_tells_the_end_of_its_report(alice: TestClient, esap: Esap) -> None:
    job = made(alice, type="external")
    path, worker = f"{JOBS}{job['jobId']}/", esap(job["jobToken"]["key"], "Token")
    alice.post(f"{path}phase/", json={"PHASE": "RUN"})
    report = "line\n" * 10_000 + "ValueError: why"
    assert worker.patch(path, data={"errorSummary": report}).status_code == 200
    assert worker.post(f"{path}phase/", json={"PHASE": "ERROR"}).json()["phase"] == "ERROR"
    assert alice.get(path).json()["errorSummary"].endswith("ValueError: why")


@pytest.mark.parametrize(
    ("results", "field"),
    [
        ([{"key": "a"}], "results.0.value"),
        ([{"key": "", "value": "x"}], "results.0.key"),
        ([{"key": "a", "value": "x\ny"}], "results.0.value"),
        ([{"key": "a", "value": "x", "size": -1}], "results.0.size"),
        ([{"key": "a", "value": "x", "size": True}], "results.0.size"),
        ([{"key": "a", "value": "x", "mimeType": 1}], "results.0.mimeType"),
        ([{"key": "a", "value": "x", "evil": 1}], "results.0.evil"),
        (["x"], "results.0"),
    ],
)
def test_results_that_are_none(alice: TestClient, esap: Esap, results: Any, field: str) -> None:
    job = made(alice, type="external")
    worker = esap(job["jobToken"]["key"], "Token")
    answer = worker.post(f"{JOBS}{job['jobId']}/results/", json=results)
    assert answer.status_code == 400
    assert field in [p["field"] for p in answer.json()["problems"]]


@pytest.mark.parametrize("phase", ["", "COMPLETED", "run", None, ["RUN"], {"a": 1}])
def test_commands_that_are_none(alice: TestClient, phase: Any) -> None:
    number = made(alice, workflow="hello_world")["jobId"]
    answer = alice.post(f"{JOBS}{number}/phase/", json={"PHASE": phase})
    assert answer.status_code == 400
    assert answer.json()["problems"][0]["allowed"] == "RUN, ABORT, EXECUTING, COMPLETE, ERROR"
    assert alice.post(f"{JOBS}{number}/phase/", content=b"PHASE=RUN&PHASE=ABORT", headers={
        "Content-Type": "application/x-www-form-urlencoded"}).status_code == 400  # fmt: skip


def test_a_token_is_kept_as_a_hash_and_told_once(alice: TestClient, database: Any) -> None:
    job = made(alice, type="external")
    with Session(database) as session:
        row = session.get_one(Job, job["jobId"])
        assert row.token_hash
        assert job["jobToken"]["key"] not in str(vars(row))
    assert alice.get(f"{JOBS}{job['jobId']}/").json()["jobToken"] is None


def test_pages_of_the_list(alice: TestClient) -> None:
    numbers = [made(alice, type="external", n=str(n))["jobId"] for n in range(5)]
    page = alice.get(JOBS, params={"page_size": 2, "page": 2}).json()
    assert (page["count"], page["pages"], page["requested_page"]) == (5, 3, "2")
    assert [job["jobId"] for job in page["results"]] == [numbers[2], numbers[1]]
    assert page["links"] == {
        "next": "http://esap.test/esap-api/uws/jobs/?page_size=2&page=3",
        "previous": "http://esap.test/esap-api/uws/jobs/?page_size=2&page=1",
    }
    beyond = alice.get(JOBS, params={"page": 99}).json()
    assert (beyond["results"], beyond["links"]) == ([], {"next": None, "previous": None})


def test_a_deleted_job_is_gone_for_its_worker_too(alice: TestClient, esap: Esap) -> None:
    job = made(alice, type="external")
    path = f"{JOBS}{job['jobId']}/"
    assert alice.delete(path).status_code == 204
    assert alice.get(path).status_code == 404
    assert esap(job["jobToken"]["key"], "Token").get(path).status_code == 401
