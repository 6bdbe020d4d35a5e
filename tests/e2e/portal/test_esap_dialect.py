"""ESAP's dialect over the same jobs, driven by ESAP's own package django-uws where it has a client for it."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from hooks.lake_inputs import InputLake
from hooks.rucio_lake import RucioLake
from localgrid.airflow_api import AirflowApi
from localgrid.grid import Grid
from localgrid.layout import PROJECT
from localgrid.samples import prepare

PYTHON = PROJECT / ".envs" / "django-uws" / "bin" / "python"
CLIENT = Path(__file__).parents[1] / "clients" / "with_django_uws.py"
JOBS = "/esap-api/uws/jobs/"
NEEDS_PACKAGE = pytest.mark.skipif(
    not PYTHON.exists(), reason="no .envs/django-uws: run localgrid/bootstrap.sh django-uws"
)
MARK = uuid.uuid4().hex[:8]  # so that no request equals one of an earlier session on a standing grid


class Esap:
    """ESAP's gateway, which calls with its user's own token."""

    def __init__(self, api: AirflowApi) -> None:
        self.http = httpx.Client(base_url=api.url, auth=api.auth, timeout=60)

    def create(self, *, run_id: str = "", phase: str = "PENDING", **parameters: Any) -> httpx.Response:
        given = [{"key": key, "value": value, "byReference": False} for key, value in parameters.items()]
        return self.http.post(JOBS, json={"runId": run_id, "phase": phase, "parameters": given})

    def made(self, **options: Any) -> dict[str, Any]:
        answer = self.create(**options)
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"] == answer.json()["url"]
        return dict(answer.json())

    def job(self, number: int) -> dict[str, Any]:
        answer = self.http.get(f"{JOBS}{number}/")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def tell(self, number: int, phase: str) -> httpx.Response:
        return self.http.post(f"{JOBS}{number}/phase/", json={"PHASE": phase})


@pytest.fixture(scope="module")
def esap(grid: Grid) -> Callable[[str], Esap]:
    return lambda user: Esap(AirflowApi.of(grid.info, user))


@pytest.fixture(scope="module")
def alice(esap: Callable[[str], Esap]) -> Esap:
    return esap("alice")


@pytest.fixture(scope="module")
def bob(esap: Callable[[str], Esap]) -> Esap:
    return esap("bob")


def django_uws(grid: Grid, command: str, job: dict[str, Any], *rest: str) -> list[dict[str, Any]]:
    """Run the package's classes in its own environment; give what they have told."""
    url = f"{grid.info['airflow']['url']}/esap-api/uws"
    done = subprocess.run(
        [PYTHON, CLIENT, command, url, str(job["jobId"]), *rest],
        env={**os.environ, "TOKEN": job["jobToken"]["key"], "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def worker(grid: Grid, job: dict[str, Any]) -> httpx.Client:
    return httpx.Client(
        base_url=grid.info["airflow"]["url"],
        headers={"Authorization": f"Token {job['jobToken']['key']}"},
        timeout=60,
    )


@NEEDS_PACKAGE
def test_django_uws_client_watches_a_job_from_creation_to_its_results(grid: Grid, alice: Esap) -> None:
    job = alice.made(run_id="with django-uws", type="batch", workflow="hello_world", n_jobs="2", message=MARK)
    assert (job["phase"], job["runId"], job["results"]) == ("PENDING", "with django-uws", [])
    assert {"key": "n_jobs", "value": "2", "byReference": False, "isPost": True} in job["parameters"]
    assert alice.tell(job["jobId"], "RUN").status_code == 303

    told = django_uws(grid, "watch", job)

    phases = [step["phase"] for step in told if "phase" in step]
    assert phases
    assert set(phases) <= {"QUEUED", "EXECUTING"}
    assert "not good" in told[-1]["refused"]
    done = alice.job(job["jobId"])
    assert done["phase"] == "COMPLETED"
    results = {r["key"]: r for r in done["results"]}
    assert results["JobStatus"]["value"] == "Done"
    file = alice.http.get(results["hello_00000.json"]["value"])
    assert file.json()["message"] == MARK
    assert len(file.content) == results["hello_00000.json"]["size"]
    assert done["jobToken"] is None


@NEEDS_PACKAGE
def test_django_uws_worker_does_a_job_of_its_own(grid: Grid, alice: Esap, bob: Esap) -> None:
    job = alice.made(type="external.greeting", name="alice")
    early = django_uws(grid, "call", job, "execute_job")
    assert "is PENDING" in early[0]["refused"]
    assert alice.tell(job["jobId"], "RUN").json()["phase"] == "QUEUED"

    told = django_uws(grid, "work", job)

    assert {"at_work": "QUEUED"} in told  # the class holds the job as it was when the worker took it
    done = alice.job(job["jobId"])
    greeting = {"key": "greeting", "value": "hello alice", "size": None, "mimeType": "text/plain"}
    assert (done["phase"], done["results"]) == ("COMPLETED", [greeting])
    assert done["creationTime"] < done["startTime"] < done["endTime"]
    again = django_uws(grid, "call", job, "add_results", json.dumps([greeting]))
    assert "not good" in again[0]["refused"]
    assert bob.http.get(f"{JOBS}{job['jobId']}/").status_code == 404


@NEEDS_PACKAGE
def test_django_uws_worker_that_fails_says_why(grid: Grid, alice: Esap) -> None:
    failing = alice.made(type="external.failing", phase="RUN")
    unknown = alice.made(type="external.nobody", phase="RUN")

    for job in (failing, unknown):
        django_uws(grid, "work", job)

    done = alice.job(failing["jobId"])
    assert done["phase"] == "ERROR"
    assert f"ValueError: job {failing['jobId']} cannot be done" in done["errorSummary"]
    assert "Unknown worker type" in alice.job(unknown["jobId"])["errorSummary"]


def test_a_token_is_good_for_the_workers_calls_on_its_own_job_only(
    grid: Grid, alice: Esap, bob: Esap
) -> None:
    mine = alice.made(type="external", phase="RUN")
    other = alice.made(type="external", phase="RUN")
    path, others = f"{JOBS}{mine['jobId']}/", f"{JOBS}{other['jobId']}/"
    at = worker(grid, mine)

    assert at.get(path).json()["phase"] == "QUEUED"
    assert at.get(others).status_code == 401
    assert at.post(f"{others}phase/", data={"PHASE": "EXECUTING"}).status_code == 401
    assert at.get(JOBS).status_code == 401
    assert at.delete(path).status_code == 403
    assert at.post(f"{path}phase/", data={"PHASE": "ABORT"}).status_code == 403
    for user, status in ((alice, 403), (bob, 404)):  # the worker's calls are the worker's
        assert user.tell(mine["jobId"], "COMPLETE").status_code == status
        assert user.http.post(f"{path}results/", json=[{"key": "a", "value": "b"}]).status_code == status
        assert user.http.patch(path, json={"errorSummary": "no"}).status_code == status
    assert at.post(f"{path}phase/", data={"PHASE": "COMPLETE"}).status_code == 409  # not EXECUTING yet
    assert at.post(f"{path}phase/", data={"PHASE": "EXECUTING"}, follow_redirects=True).status_code == 200
    assert alice.tell(mine["jobId"], "ABORT").json()["phase"] == "ABORTED"
    refused = at.get(path)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Token")


def test_the_phase_of_a_run_is_airflows(
    grid: Grid, alice: Esap, bob: Esap, wait_for: Callable[..., Any]
) -> None:
    job = alice.made(type="batch", workflow="hello_world", behaviour="slow", duration_s="60", message="phase")
    number, path = job["jobId"], f"{JOBS}{job['jobId']}/"
    at = worker(grid, job)
    assert at.post(f"{path}phase/", json={"PHASE": "EXECUTING"}).status_code == 409
    alice.tell(number, "RUN")
    wait_for(lambda: alice.job(number)["phase"] == "EXECUTING")

    assert at.post(f"{path}phase/", json={"PHASE": "EXECUTING"}).status_code == 303  # as it is
    for told in ("COMPLETE", "ERROR"):
        refused = at.post(f"{path}phase/", json={"PHASE": told})
        assert refused.status_code == 409
        assert "is EXECUTING" in refused.json()["detail"]
    assert at.post(f"{path}results/", json={"key": "a", "value": "b"}).status_code == 409
    assert bob.tell(number, "ABORT").status_code == 404

    assert alice.tell(number, "ABORT").status_code == 303
    wait_for(lambda: alice.job(number)["phase"] == "ABORTED")
    assert alice.tell(number, "ABORT").status_code == 303  # a second one is no error
    assert alice.tell(number, "RUN").status_code == 409
    killed = [r["value"] for r in alice.job(number)["results"] if r["key"] == "JobStatus"]
    assert killed == ["Killed"]
    assert alice.http.delete(path).status_code == 204
    assert alice.http.get(path).status_code == 404
    assert alice.http.delete(path).status_code == 404


def test_paths_without_their_slash_do_the_same(alice: Esap) -> None:
    body = {"parameters": [{"key": "workflow", "value": "hello_world"}, {"key": "message", "value": "slash"}]}
    made = alice.http.post(JOBS.rstrip("/"), json=body)
    assert made.status_code == 303
    assert alice.http.get(made.json()["url"].rstrip("/")).json()["jobId"] == made.json()["jobId"]
    assert alice.http.get("/esap-api/batch/facilities/search").status_code == 200


def test_equal_requests_lead_to_one_job_whose_token_is_told_once(alice: Esap) -> None:
    first = alice.made(type="batch", workflow="hello_world", message=f"equal {MARK}", phase="RUN")
    second = alice.made(type="batch", workflow="hello_world", message=f"equal {MARK}", phase="RUN")
    assert second["jobId"] == first["jobId"]
    assert first["jobToken"]
    assert second["jobToken"] is None
    assert alice.tell(first["jobId"], "ABORT").status_code == 303


def test_lists_are_pages_of_the_users_own_jobs(alice: Esap, esap: Callable[[str], Esap]) -> None:
    made = [alice.made(type="external", run_id=f"paged {MARK}", n=str(n))["jobId"] for n in range(3)]
    ask: dict[str, Any] = {"runId": f"paged {MARK}", "page_size": 2}
    first = alice.http.get(JOBS, params={**ask, "phase": "PENDING"}).json()
    assert (first["count"], first["pages"], len(first["results"])) == (3, 2, 2)
    second = alice.http.get(first["links"]["next"]).json()
    listed = [job["jobId"] for job in first["results"] + second["results"]]
    assert listed == sorted(made, reverse=True)
    assert alice.http.get(JOBS, params={**ask, "phase": "COMPLETED"}).json()["count"] == 0
    dave = esap("dave").http.get(JOBS, params={"runId": ask["runId"]}).json()
    assert dave["results"] == []


def test_the_searches_find_what_the_user_may_use(alice: Esap, esap: Callable[[str], Esap]) -> None:
    found = alice.http.get("/esap-api/batch/workflows/search", params={"keyword": "concordia"}).json()
    assert [w["name"] for w in found["results"]] == ["cta_concordia"]
    assert set(found["results"][0]) == {"name", "description", "url", "ref", "filepath", "workflowtype"}
    dave = esap("dave").http.get("/esap-api/batch/workflows/search", params={"keyword": "concordia"}).json()
    assert [w["name"] for w in dave["results"]] == ["km3net_concordia"]
    near = alice.http.get("/esap-api/batch/facilities/search", params={"keyword": "LA PALMA"}).json()
    assert [f["name"] for f in near["results"]] == ["lapalma"]
    assert set(near["results"][0]) == {"name", "description", "url", "facilitytype", "runtimeengine"}
    places = esap("dave").http.get("/esap-api/batch/facilities/search").json()
    assert [f["name"] for f in places["results"]] == ["km3net-local", "fair-slurm"]
    assert httpx.get(alice.http.base_url.join("/esap-api/batch/workflows/search")).status_code == 401


STEERING = "/esap-api/batch/steering/"


def test_a_steering_file_is_stored_found_and_run_again(
    alice: Esap, bob: Esap, wait_for: Callable[..., Any]
) -> None:
    document = {
        "workflow": "hello_world",
        "title": "three",
        "request": {"message": f"stored {MARK}", "n_jobs": 1},
    }
    stored = alice.http.post(STEERING, json=document)
    assert stored.status_code == 201
    file = stored.json()
    assert alice.http.get(stored.headers["location"]).json() == file
    assert alice.http.get(f"{STEERING}{file['fingerprint']}/").json()["uuid"] == file["uuid"]
    assert bob.http.get(file["url"]).status_code == 404
    assert bob.http.delete(file["url"]).status_code == 404

    again = alice.http.post(f"{file['url']}rerun/", json={"phase": "RUN", "runId": "again"})
    assert again.status_code == 303
    number = again.json()["jobId"]
    assert alice.http.delete(file["url"]).status_code == 204

    def of_its_job() -> dict[str, Any]:
        return dict(alice.http.get(f"{STEERING}{file['fingerprint']}/").json())

    wait_for(lambda: of_its_job()["document"]["requested_at"])  # that of the job, which its run has written
    of_job = of_its_job()
    assert (of_job["jobId"], of_job["fingerprint"]) == (number, file["fingerprint"])
    assert of_job["document"]["run_id"].startswith(f"hello_world/uws-{number}-")
    same = alice.http.post(f"{of_job['url']}rerun/", json={"phase": "RUN"})
    assert same.json()["jobId"] == number  # it stands
    forced = alice.http.post(f"{of_job['url']}rerun/", json={"force": True})
    assert forced.json()["jobId"] != number
    assert alice.tell(number, "ABORT").status_code == 303
    assert bob.http.get(f"{STEERING}job-{number}/").status_code == 404
    assert bob.http.get(f"{STEERING}{file['fingerprint']}/").status_code == 404


def test_esaps_flat_steering_file_is_taken_as_it_is(alice: Esap, esap: Callable[[str], Esap]) -> None:
    flat = {
        "uuid": "d1", "type": "URL", "title": "ESAP CONCORDIA", "description": "", "workflow": "CONCORDIA",
        "Parameters": {"singularity_image": "auto", "cputime": "600", "job_name": "protons", "NSHOW": "200"},
    }  # fmt: skip
    uploaded = alice.http.post(STEERING, files={"file": ("concordia.json", json.dumps(flat))})
    assert uploaded.status_code == 201, uploaded.text
    assert uploaded.json()["workflow"] == "cta_concordia"
    made = alice.http.post(JOBS, json={"runId": "flat", **flat})
    assert made.status_code == 303, made.text
    assert {"key": "NSHOW", "value": "200", "byReference": False, "isPost": True} in made.json()["parameters"]
    dave = esap("dave").http.post(STEERING, json=flat)
    assert dave.json()["workflow"] == "km3net_concordia"
    wrong = alice.http.post(STEERING, json={**flat, "Parameters": {"NSHOW": "many", "output_file_name": "x"}})
    assert wrong.status_code == 400
    assert {p["field"] for p in wrong.json()["problems"]} == {
        "Parameters.NSHOW",
        "Parameters.output_file_name",
    }


OFFERS = "/esap-api/offersets"
WORKFLOW_TYPE = "urn:esap-batch:workflow-1.0"


def asked(user: Esap, workflow: str, **request: Any) -> dict[str, Any]:
    executable = {"type": WORKFLOW_TYPE, "workflow": workflow, "request": request}
    answer = user.http.post(OFFERS, json={"name": "test", "executable": executable})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def saying(phase: str, **options: Any) -> dict[str, Any]:
    return {"update": {"type": "uri:enum-value-update", "path": "phase", "value": phase}, **options}


def test_an_offer_is_accepted_and_becomes_a_job_at_that_facility(
    alice: Esap, bob: Esap, wait_for: Callable[..., Any]
) -> None:
    found = asked(alice, "hello_world", message=f"offered {MARK}", n_jobs=2)
    assert found["result"] == "YES"
    assert [o["esap"]["facility"] for o in found["offers"]] == ["lapalma", "cscs", "fair-slurm"]
    why_not = {m["values"]["facility"]: m["message"] for m in found["messages"]}
    assert "is open to km3net" in why_not["km3net-local"]
    assert "switched off" in why_not["egi-dirac"]
    offer = found["offers"][1]
    assert "has esap-noop 0.1.0" in offer["esap"]["reasons"]
    assert offer["esap"]["cpu_hours"] == pytest.approx(2 * 300 / 3600 * 1.02, rel=0.03)
    assert bob.http.get(offer["href"]).status_code == 404
    assert bob.http.post(offer["href"], json=saying("ACCEPTED")).status_code == 404
    assert alice.http.get(f"{offer['href'][:-3]}xx/").status_code == 404  # a signature of nobody
    assert alice.http.get(found["href"]).json()["offers"][1]["uuid"] == offer["uuid"]

    accepted = alice.http.post(offer["href"], json=saying("ACCEPTED", runId="offered"))

    assert accepted.status_code == 200, accepted.text
    number = accepted.json()["job"]["jobId"]
    assert alice.http.post(offer["href"], json=saying("ACCEPTED")).json()["job"]["jobId"] == number
    job = alice.job(number)
    assert {"key": "facility", "value": "cscs", "byReference": False, "isPost": True} in job["parameters"]
    assert job["quote"] == offer["esap"]["expected_end"]
    wait_for(lambda: alice.http.get(offer["href"]).json()["phase"] == "RUNNING")
    assert bob.http.post(offer["href"], json=saying("CANCELLED")).status_code == 404
    assert alice.http.post(offer["href"], json=saying("CANCELLED")).status_code == 200
    wait_for(lambda: alice.http.get(offer["href"]).json()["phase"] == "CANCELLED")
    assert alice.job(number)["phase"] == "ABORTED"


def test_offers_tell_the_load_of_a_facility(alice: Esap, wait_for: Callable[..., Any]) -> None:
    slow = alice.made(
        type="batch", workflow="hello_world", behaviour="slow", duration_s="90", n_jobs="3",
        facility="lapalma", phase="RUN", force="true",
    )  # fmt: skip
    wait_for(lambda: any("3 of 2000 jobs are taken" in r for r in reasons_at(alice, "lapalma")))
    assert alice.tell(slow["jobId"], "ABORT").status_code == 303


def test_offers_tell_the_data_that_must_move(grid: Grid, lake: RucioLake, alice: Esap) -> None:
    prepare("cta_reprocessing", grid, lake)
    raw = asked(alice, "cta_reprocessing", obs_ids="101-102", telescopes="2", processor="esap-noop")
    offer = raw["offers"][0]["esap"]
    files = InputLake(lake).files(InputLake(lake).find("acada", [{"obs_id": 101}, {"obs_id": 102}]))
    wanted = {f.lfn: f.size for found in files.values() for f in found if "_tel002_" in f.lfn}
    assert (offer["jobs"], offer["move_bytes"]) == (2, {"LAPALMA-TAPE": sum(wanted.values())})

    prepare("cta_pi_analysis", grid, lake)
    analysis = asked(alice, "cta_pi_analysis", project="PI-2026-001", processor="esap-noop")
    moving = {o["esap"]["facility"]: sum(o["esap"]["move_bytes"].values()) for o in analysis["offers"]}
    assert set(moving) == {"lapalma", "cscs", "fair-slurm"}
    assert moving["lapalma"] != moving["cscs"]
    assert analysis["offers"][0]["esap"]["facility"] == min(moving, key=lambda name: moving[name])


def reasons_at(user: Esap, facility: str) -> list[str]:
    offers = asked(user, "hello_world", message="how busy")["offers"]
    return next(list(o["esap"]["reasons"]) for o in offers if o["esap"]["facility"] == facility)


def test_what_nobody_can_run_gets_no_offer_and_the_reasons(alice: Esap) -> None:
    heavy = asked(alice, "hello_world", memory_mb=50000)
    assert (heavy["result"], heavy["offers"]) == ("NO", [])
    assert any("needs 50000 MB of memory" in m["message"] for m in heavy["messages"])
    unknown = {"type": "https://www.purl.org/ivoa.net/EB/schema/types/executable/jupyter-notebook-1.0"}
    no = alice.http.post(OFFERS, json={"executable": unknown})
    assert (no.status_code, no.json()["result"]) == (200, "NO")
