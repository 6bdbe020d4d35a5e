"""Every document is valid against the schema of the standard."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from portal.core.jobs import JobView
from portal.core.phases import Phase
from portal.results.failures import Failure
from portal.results.listing import Result
from portal.results.run import News
from portal.uws import representations as uws
from tests.uws_schema import HREF, NAMES, parsed, said

BASE = "https://esap.example/airflow"
NOW = datetime(2026, 11, 21, 9, 30, 0, 7000, tzinfo=UTC)
PENDING = JobView(
    id=12,
    owner="alice",
    workflow="hello_world",
    run_label=None,
    request={"message": "<&>\"'", "n_jobs": 3, "force": False, "left_out": None, "list": ["a,b", 1]},
    phase=Phase.PENDING,
    dag_id="hello_world",
    dag_run_id=None,
    created_at=NOW,
    started_at=None,
    start_time=None,
    end_time=None,
    destruction=NOW,
    execution_duration=0,
    quote=None,
    error=None,
    fingerprint=None,
    notes={},
)
DONE = replace(
    PENDING,
    phase=Phase.ERROR,
    run_label="no 7",
    dag_run_id="uws/12",
    started_at=NOW,
    start_time=NOW,
    end_time=NOW,
    quote=NOW,
)
RESULTS = [
    Result(
        "irf.fits.gz", "irf.fits.gz", "/batch/jobs/12/results/irf.fits.gz", 7, "application/fits", "0000abcd"
    ),
    Result("archive", "all.zip", "/batch/jobs/12/results.zip", None, "application/zip"),
]


def test_what_is_not_known_is_nil() -> None:
    root = parsed(uws.job(PENDING, [], None, News(), BASE))
    assert root.get("version") == "1.1"
    assert [said(root, n) for n in ("quote", "startTime", "endTime")] == [None, None, None]
    assert said(root, "creationTime") == said(root, "destruction") == "2026-11-21T09:30:00.007Z"
    assert [said(root, n) for n in ("jobId", "ownerId", "phase", "executionDuration")] == [
        "12", "alice", "PENDING", "0",
    ]  # fmt: skip
    assert root.find("uws:errorSummary", NAMES) is None
    assert len(root.find("uws:results", NAMES)) == 0


def test_parameters_are_text_and_null_is_none() -> None:
    root = parsed(uws.parameters(PENDING))
    assert {p.get("id"): p.text for p in root} == {
        "message": "<&>\"'", "n_jobs": "3", "force": "false", "list": '["a,b", 1]',
    }  # fmt: skip


def test_a_job_that_has_ended_tells_all() -> None:
    root = parsed(uws.job(DONE, RESULTS, Failure("await_jobs:\nbad"), News("lapalma", "1 of 3"), BASE))
    assert said(root, "endTime") == said(root, "quote") == "2026-11-21T09:30:00.007Z"
    summary = root.find("uws:errorSummary", NAMES)
    assert (summary.get("type"), summary.get("hasDetail")) == ("transient", "true")
    assert said(summary, "message") == "await_jobs: bad"
    info = {e.tag.rpartition("}")[2]: e.text for e in root.find("uws:jobInfo", NAMES)}
    assert info == {
        "workflow": "hello_world",
        "facility": "lapalma",
        "progress": "1 of 3",
        "page": f"{BASE}/batch/jobs/12",
        "run": f"{BASE}/dags/hello_world/runs/uws%2F12",
    }


def test_a_fatal_error_is_called_so() -> None:
    root = parsed(uws.job(DONE, [], Failure("no", is_fatal=True), News(), BASE))
    assert root.find("uws:errorSummary", NAMES).get("type") == "fatal"


def test_results_are_links_with_size_type_and_checksum() -> None:
    first, second = parsed(uws.results(RESULTS, BASE))
    assert first.get(HREF) == f"{BASE}/batch/jobs/12/results/irf.fits.gz"
    assert (first.get("size"), first.get("mime-type")) == ("7", "application/fits")
    assert first.get("{urn:uwscustom}adler32") == "0000abcd"
    assert (second.get("size"), second.get("{urn:uwscustom}adler32")) == (None, None)


def test_a_list_has_links_and_may_be_empty() -> None:
    assert len(parsed(uws.job_list([], f"{BASE}/uws/jobs"))) == 0
    (ref,) = parsed(uws.job_list([DONE], f"{BASE}/uws/jobs"))
    assert (ref.get("id"), ref.get(HREF)) == ("12", f"{BASE}/uws/jobs/12")
    assert [said(ref, n) for n in ("phase", "runId", "ownerId", "creationTime")] == [
        "ERROR", "no 7", "alice", "2026-11-21T09:30:00.007Z",
    ]  # fmt: skip


def test_what_xml_cannot_hold_is_replaced() -> None:
    job = replace(PENDING, request={"a\x00b": "c\x0bd\ud800\uffff"}, run_label="\x1b")
    (parameter,) = parsed(uws.job(job, [], None, News(), BASE)).find("uws:parameters", NAMES)
    assert (parameter.get("id"), parameter.text) == ("a\ufffdb", "c\ufffdd\ufffd\ufffd")


def test_all_phases_are_phases_of_the_standard() -> None:
    jobs = [replace(DONE, phase=phase) for phase in Phase]
    assert [said(ref, "phase") for ref in parsed(uws.job_list(jobs, BASE))] == list(Phase)
