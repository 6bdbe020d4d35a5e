"""UWS 1.1 with jobs that run. Numbers are sections of REC-UWS-1.1-20161024."""

from __future__ import annotations

import json
import shlex
import subprocess
import uuid
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from esap_batch.jobs import JobState, group_name
from hooks.dirac_wms import DiracWms
from localgrid.grid import Grid
from localgrid.layout import PROJECT
from tests.e2e.conftest import Runs
from tests.e2e.uws import QUIET, Uws, number, utc
from tests.uws_schema import NAMES, said

SLOW = {"behaviour": "slow", "duration_s": "600", "n_jobs": "1"}
ACTIVE = ("PENDING", "QUEUED", "EXECUTING")


@pytest.fixture(scope="module")
def uws(alice: Runs) -> Uws:
    return Uws(alice.api)


@pytest.fixture(scope="module")
def started(uws: Uws) -> dict[str, str]:
    """Start the jobs of several tests at once; a site has two slots, so no slow one waits for another."""
    return {
        "good": uws.make(n_jobs=1, PHASE="RUN", RUNID="good"),
        "bad": uws.make(n_jobs=1, PHASE="RUN", behaviour="always_fail"),
        "limited": uws.make(PHASE="RUN", EXECUTIONDURATION=5, facility="cscs", **SLOW),
        "unwanted": uws.make(PHASE="RUN", facility="cscs", **SLOW),
        "doomed": uws.make(PHASE="RUN", facility="lapalma", **SLOW),
    }


def ended(uws: Uws, path: str) -> Any:
    """Wait by the service's own means until a job's phase is not an active one; give the job."""
    while (phase := uws.phase(path)) in ACTIVE:
        uws.http.get(path, params={"WAIT": 60, "PHASE": phase}, timeout=90)
    return uws.xml(path)


def grid_jobs(dirac: DiracWms, uws: Uws, path: str) -> Any:
    group = group_name(QUIET, uws.run_id(path), "submit_jobs")
    return dirac.counts([group])[group]


def test_a_job_runs_from_creation_to_its_results(
    started: dict[str, str], uws: Uws, users: Callable[[str], Runs]
) -> None:
    """2.2.3.5, 2.1.10: each result is a link that delivers the file, of the size and type that is told."""
    root = ended(uws, started["good"])
    assert said(root, "phase") == "COMPLETED"
    times = [said(root, n) or "" for n in ("creationTime", "startTime", "endTime")]
    assert times == sorted(times)
    assert (said(root, "quote") or "") > times[0]
    assert all(t.endswith("Z") for t in times)
    info = {e.tag.rpartition("}")[2]: e.text for e in root.find("uws:jobInfo", NAMES)}
    assert info["progress"] == "jobs 1 of 1 done"
    assert info["facility"] in ("lapalma", "cscs", "fair-slurm")

    results = uws.results(started["good"])
    product = results["hello_00000.json"]
    found = uws.fetch(product)
    assert found.status_code == 200
    assert found.headers["content-type"].startswith(product.get("mime-type"))
    assert len(found.content) == int(product.get("size"))
    assert f"{zlib.adler32(found.content):08x}" == product.get("{urn:uwscustom}adler32")
    assert uws.parameters(started["good"])["message"] in found.text
    redirect = uws.http.get(f"{started['good']}/results/hello_00000.json")
    assert redirect.headers["location"] == found.request.url

    bob = Uws(users("bob").api)
    assert bob.fetch(product).status_code == 404
    bob.refused("GET", f"{started['good']}/results/hello_00000.json", 404)


def test_what_has_its_result_stays_as_it_is(started: dict[str, str], uws: Uws) -> None:
    path = started["good"]
    ended(uws, path)
    assert "is COMPLETED" in uws.refused("POST", path, 409, data={"n_jobs": "2"})
    assert "is COMPLETED" in uws.refused("POST", path, 409, data={"EXECUTIONDURATION": "2"})
    for command in ("RUN", "ABORT"):
        assert uws.post(f"{path}/phase", PHASE=command) == path
        assert uws.phase(path) == "COMPLETED"


def test_an_equal_request_leads_to_the_standing_job_of_the_same_user(
    started: dict[str, str], uws: Uws, users: Callable[[str], Runs]
) -> None:
    same = {"message": uws.parameters(started["good"])["message"], "n_jobs": "1", "behaviour": "ok"}
    assert uws.make(**same, PHASE="RUN") == started["good"]
    assert uws.make(**same, facility="cscs") == started["good"]  # where it runs does not change the result
    assert uws.make(**{**same, "n_jobs": "2"}) != started["good"]
    assert Uws(users("bob").api).make(**same) != started["good"]


def test_a_failed_job_says_why(started: dict[str, str], uws: Uws) -> None:
    """2.1.7, 2.2.2.5."""
    path = started["bad"]
    root = ended(uws, path)
    assert said(root, "phase") == "ERROR"
    summary = root.find("uws:errorSummary", NAMES)
    assert (summary.get("type"), summary.get("hasDetail")) == ("transient", "true")
    detail = uws.text(f"{path}/error")
    assert detail.startswith("await_jobs: ")
    assert "1 of 1 jobs" in (said(summary, "message") or "")
    assert uws.text(f"{path}/error") == detail  # now from the job's own row


def test_a_job_ends_with_its_execution_duration(
    started: dict[str, str], uws: Uws, dirac: DiracWms, wait_for: Any
) -> None:
    """2.1.4: it is aborted, and its jobs on the grid with it."""
    root = ended(uws, started["limited"])
    assert said(root, "phase") == "ABORTED"
    assert "execution duration is over (5 s)" in uws.text(f"{started['limited']}/error")
    wait_for(lambda: not {JobState.QUEUED, JobState.RUNNING} & set(grid_jobs(dirac, uws, started["limited"])))


def test_abort_reaches_the_grid(started: dict[str, str], uws: Uws, dirac: DiracWms, wait_for: Any) -> None:
    """2.2.3.6."""
    path = started["unwanted"]
    wait_for(lambda: grid_jobs(dirac, uws, path)[JobState.RUNNING] > 0)
    assert uws.post(f"{path}/phase", PHASE="ABORT") == path
    assert uws.phase(path) == "ABORTED"
    wait_for(lambda: grid_jobs(dirac, uws, path) == {JobState.CANCELLED: 1})
    assert uws.led(uws.http.delete(path)) == f"{QUIET}/jobs"


def test_a_job_ends_at_its_destruction(
    started: dict[str, str], uws: Uws, dirac: DiracWms, wait_for: Any
) -> None:
    """2.1.5: it is aborted first; what was asked for is still told afterwards."""
    path = started["doomed"]
    wait_for(lambda: grid_jobs(dirac, uws, path)[JobState.RUNNING] > 0)
    uws.post(f"{path}/destruction", DESTRUCTION=utc(seconds=3))
    assert said(uws.xml(path, WAIT=50), "phase") == "ARCHIVED"
    wait_for(lambda: grid_jobs(dirac, uws, path) == {JobState.CANCELLED: 1})
    assert uws.parameters(path)["behaviour"] == "slow"
    assert uws.results(path) == {}


def test_a_job_that_waits_for_a_person_is_held(uws: Uws, wait_for: Any) -> None:
    """2.1.3: HELD is no active phase, so WAIT returns at once."""
    large = {"statistical_uncertainty": "0.015", "zenith_deg": "24"}
    path = uws.make("cta_irf", PHASE="RUN", **large)
    wait_for(lambda: uws.phase(path) == "HELD")
    assert number(path) in uws.ids(PHASE="HELD")
    assert said(uws.xml(path, WAIT=-1), "phase") == "HELD"
    uws.post(f"{path}/phase", PHASE="ABORT")
    assert uws.phase(path) == "ABORTED"


def test_a_run_that_was_started_in_airflow_is_a_job(uws: Uws, alice: Runs) -> None:
    message = uuid.uuid4().hex
    run = alice.start(QUIET, message=message, n_jbos=2)  # which only validate_request refuses
    (path,) = [p for ref in uws.ids() if uws.parameters(p := f"jobs/{ref}").get("message") == message]
    root = ended(uws, path)
    assert said(root, "phase") == "ERROR"
    assert said(root, "ownerId") == "alice"
    assert root.find("uws:errorSummary", NAMES).get("type") == "fatal"
    assert "did you mean n_jobs?" in uws.text(f"{path}/error")
    assert run in (root.find("uws:jobInfo", NAMES)[-1].text or "")


def test_a_list_takes_the_same_number_of_statements_for_few_jobs_and_for_1000(grid: Grid) -> None:
    settings = dict(
        line.split("=", 1) for line in grid.layout.airflow_environment_file.read_text().splitlines()
    )
    counted = subprocess.run(
        [grid.layout.program("airflow", "python"), "-m", "tests.e2e.programs.count_statements"],
        env={k: "".join(shlex.split(v)) for k, v in settings.items()}
        | {"PYTHONPATH": f"{PROJECT}:{PROJECT}/plugins"},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    few, many = json.loads(counted.stdout.splitlines()[-1]).values()
    assert few == many <= 3
