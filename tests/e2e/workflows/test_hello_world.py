"""The whole pipeline around a payload that behaves as asked."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from hooks.rucio_lake import RucioLake
from hooks.storage_element import StorageElement
from tests.e2e.conftest import Runs

DAG = "hello_world"


def unlike() -> str:
    """A message that makes a request unlike any other."""
    return f"hello {uuid.uuid4().hex[:8]}"


def test_two_jobs_make_a_published_product(alice: Runs, lake: RucioLake) -> None:
    run = alice.start(DAG, n_jobs=2, message=unlike())
    assert alice.end(DAG, run) == "success"
    product = alice.api.xcom(DAG, run, "ingest_products")
    names = sorted(f["name"].rsplit("/", 1)[-1] for f in lake.files(product["dataset"]))
    papers = ["provenance.json", "steering.json", "verdict.json"]
    assert names == sorted(["hello_00000.json", "hello_00001.json", *papers])
    assert lake.is_published(product["dataset"])
    assert len(product["rules"]) == 2
    assert alice.api.xcom(DAG, run, "report_end") == {
        "outcome": "published",
        "product": product,
        "missing": 0,
    }


def test_an_equal_request_is_answered_with_the_product_that_is_there(alice: Runs) -> None:
    conf: dict[str, Any] = {"n_jobs": 1, "message": unlike()}
    first = alice.start(DAG, **conf)
    assert alice.end(DAG, first) == "success"
    second = alice.start(DAG, **conf, facility="cscs", job_name="another name")
    assert alice.end(DAG, second) == "success"
    assert alice.task_state(DAG, second, "submit_jobs") == "skipped"
    found = alice.api.xcom(DAG, second, "check_duplicate")
    assert found["dataset"] == alice.api.xcom(DAG, first, "ingest_products")["dataset"]
    assert found["made_by"] == f"{DAG}/{first}"
    assert alice.api.xcom(DAG, second, "report_end") == {
        "outcome": "found",
        "product": found,
        "missing": 0,
    }


def test_of_equal_requests_in_flight_one_runs_and_the_others_get_its_product(alice: Runs) -> None:
    conf: dict[str, Any] = {"n_jobs": 1, "message": unlike(), "behaviour": "slow", "duration_s": 5}
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: alice.start(DAG, **conf), range(5)))
    assert {alice.end(DAG, run) for run in runs} == {"success"}
    submitted = [r for r in runs if alice.task_state(DAG, r, "submit_jobs") == "success"]
    assert len(submitted) == 1
    assert len({alice.api.xcom(DAG, r, "check_duplicate")["dataset"] for r in runs}) == 1


def test_force_makes_it_again(alice: Runs) -> None:
    conf: dict[str, Any] = {"n_jobs": 1, "message": unlike()}
    runs = []
    for force in (False, True):
        runs.append(alice.start(DAG, **conf, force=force))
        assert alice.end(DAG, runs[-1]) == "success"
    datasets = [alice.api.xcom(DAG, r, "ingest_products")["dataset"] for r in runs]
    assert datasets[0].endswith("-g1")
    assert datasets[1] == datasets[0].removesuffix("1") + "2"


def test_a_job_that_fails_once_is_tried_again(alice: Runs) -> None:
    run = alice.start(DAG, n_jobs=2, message=unlike(), behaviour="fail_once")
    assert alice.end(DAG, run) == "success"
    told = alice.told(DAG, run, "await_jobs")
    assert "submitting 2 jobs again" in told
    assert "DIAGNOSIS PAYLOAD_FAILED" in told


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("always_fail", "PAYLOAD_FAILED"),
        ("partial_output", "OUTPUT_MISSING"),
        ("too_much_memory", "MEMORY_LIMIT"),
        ("too_long", "TIME_LIMIT"),
    ],
)
def test_what_fails_for_good_is_told_and_leaves_nothing_of_its_outputs(
    alice: Runs, lake: RucioLake, behaviour: str, reason: str
) -> None:
    asked = {"behaviour": behaviour, "duration_s": 1, "memory_mb": 64, "facility": "lapalma"}
    run = alice.start(DAG, n_jobs=1, message=unlike(), **asked)
    assert alice.end(DAG, run) == "failed"
    assert alice.task_state(DAG, run, "await_jobs") == "failed"
    assert f"DIAGNOSIS {reason}" in alice.told(DAG, run, "await_jobs")
    assert alice.task_state(DAG, run, "clean_up") == "success"
    dataset = alice.api.xcom(DAG, run, "check_duplicate")["dataset"]
    assert lake.files(dataset) == []
    assert not lake.is_published(dataset)
    (output,) = lake.pfns("LAPALMA-DISK", [f"{dataset}/hello_00000.json"]).values()
    assert not StorageElement().exists([output])


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("more_memory", "with 256 MB of memory instead of 128"),
        ("more_time", "with 6 s of wall time instead of 3"),
    ],
)
def test_what_ran_out_of_something_gets_more_of_it(alice: Runs, behaviour: str, words: str) -> None:
    run = alice.start(DAG, n_jobs=1, message=unlike(), behaviour=behaviour, duration_s=3)
    assert alice.end(DAG, run) == "success"
    assert words in alice.told(DAG, run, "await_jobs")


def test_a_corrupt_product_is_quarantined_and_can_be_made_anew(alice: Runs, lake: RucioLake) -> None:
    message = unlike()
    run = alice.start(DAG, n_jobs=1, message=message, behaviour="corrupt_output")
    assert alice.end(DAG, run) == "failed"
    told = alice.told(DAG, run, "verify_outputs")
    assert "hello.checksum" in told
    dataset = alice.api.xcom(DAG, run, "check_duplicate")["dataset"]
    assert f"/ctao/quarantine/{dataset.rsplit('/', 1)[-1]}" in told
    assert lake.files(dataset) == []


def test_a_run_that_makes_nothing_fails_whatever_is_allowed(alice: Runs) -> None:
    run = alice.start(
        DAG, n_jobs=2, message=unlike(), behaviour="partial_output", allowed_failure_fraction=1.0
    )
    assert alice.end(DAG, run) == "failed"
    assert "so nothing was made" in alice.told(DAG, run, "await_jobs")
