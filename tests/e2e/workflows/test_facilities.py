"""Facilities are tested by a job at each; what is out of order gets no jobs until it has recovered."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator

import httpx
import pytest

from esap_batch.facilities import load_facilities
from esap_batch.health import CHECKS, CONNECTION, RUNTIMES, SOFTWARE, VARIABLE, Check, Health, Outcome
from hooks.settings import config_dir
from localgrid.layout import PROJECT
from tests.e2e.conftest import Runs

CHECK, DAG = "facilities_check", "hello_world"
FAULT = "connection failed (a test says so)"


@pytest.fixture(scope="module")
def carol(users: Callable[[str], Runs]) -> Runs:
    return users("carol")


@pytest.fixture(scope="module")
def checked(carol: Runs) -> str:
    """Give a run of the check; the facilities of the local grid are in order."""
    run = carol.start(CHECK)
    assert carol.end(CHECK, run) == "success"
    return run


def keep(admin: Runs, health: Health) -> None:
    key = f"{VARIABLE}{health.facility}"
    body = {"key": key, "value": json.dumps(health.document())}
    admin.api.call("PATCH", f"/variables/{key}", json=body).raise_for_status()


@pytest.fixture
def fault(carol: Runs, checked: str) -> Iterator[None]:
    """Have the last check of La Palma say that it is out of order."""
    key = f"{VARIABLE}lapalma"
    before = Health.of(json.loads(carol.api.get(f"/variables/{key}")["value"]))
    keep(carol, Health("lapalma", time.time(), (Check(CONNECTION, Outcome.FAILED, "a test says so"),)))
    yield
    keep(carol, before)


def test_every_facility_is_tested_with_a_job_and_shown_in_a_table(carol: Runs, checked: str) -> None:
    """Heavy software and Apptainer are not installed everywhere, and then it is told."""
    table = carol.api.xcom(CHECK, checked, "tell_health")
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]
    shown = {row[0]: dict(zip(CHECKS, row[1:], strict=False)) for row in rows if len(row) > len(CHECKS)}
    missing = {f"esap-{name}" for name in ("ctapipe", "gammapy") if not (PROJECT / ".envs" / name).is_dir()}
    no_apptainer = not (PROJECT / ".envs" / "apptainer" / "bin" / "apptainer").exists()
    for facility in load_facilities(config_dir() / "facilities.yaml"):
        if facility.enabled:
            software = "failed" if missing & set(facility.software) else "passed"
            runtimes = "failed" if no_apptainer and "apptainer" in facility.types else "passed"
            wanted = {**dict.fromkeys(CHECKS, "passed"), SOFTWARE: software, RUNTIMES: runtimes}
            assert shown.pop(facility.name) == wanted, table
    assert shown == {}


def test_what_is_out_of_order_gets_no_jobs_until_a_check_finds_it_well(
    carol: Runs, alice: Runs, fault: None
) -> None:
    run = alice.start(DAG, n_jobs=1, message=uuid.uuid4().hex)
    assert alice.end(DAG, run) == "success"
    chosen = alice.api.xcom(DAG, run, "select_facility")
    assert chosen["facility"] != "lapalma"
    assert f"is out of order: {FAULT}" in chosen["rejected"]["lapalma"][0]

    named = alice.start(DAG, n_jobs=1, message=uuid.uuid4().hex, facility="lapalma")
    assert alice.end(DAG, named) == "failed"
    assert f"facility = 'lapalma': is out of order: {FAULT}, checked at" in alice.told(
        DAG, named, "select_facility"
    )
    page = httpx.get(f"{alice.api.url}/batch/facilities", auth=alice.api.auth).text
    assert f"Not for you: is out of order: {FAULT}" in page

    assert carol.end(CHECK, carol.start(CHECK)) == "success"
    again = alice.start(DAG, n_jobs=1, message=uuid.uuid4().hex, facility="lapalma")
    assert alice.end(DAG, again) == "success"
