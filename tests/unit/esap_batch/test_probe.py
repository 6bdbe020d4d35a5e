from __future__ import annotations

from typing import Any

import pytest

from esap_batch.health import CLOCK, JOB, RUNTIMES, SOFTWARE, STORAGE, Check, Outcome
from esap_batch.jobs import InputFile
from esap_batch.probe import ASKED, PROGRAM, failure, findings, found_lfn, probe_batch
from tests.unit.esap_batch.test_facilities import facility

PING = InputFile("ping.json", "/a/ping.json", 3, "00000001", "file:///a/ping.json")


def judged(found: dict[str, Any], tolerance_s: float = 5) -> dict[str, Check]:
    usual = {"time": 1005.0, "software": {"prog 1.0": ""}, "runtimes": {"plain": ""}}
    return {c.name: c for c in findings({**usual, **found}, 1000.0, 1010.0, tolerance_s)}


def test_the_probe_is_one_plain_job_that_looks_for_all_that_the_facility_says_it_has() -> None:
    place = facility("here", runtimes=({"type": "rootfs", "engine": "bwrap"},), max_mb_per_s=3)
    batch = probe_batch(place, "g", "print()", PING)
    (job,) = batch.jobs
    assert (batch.runtime["type"], batch.software, batch.transfer) == ("plain", (), {"max_mb_per_s": 3})
    assert job.files[PROGRAM] == "print()"
    assert job.files[ASKED] == {
        "software": [["prog", "1.0"], ["prog", "1.1"]],
        "runtimes": [{"type": "rootfs", "engine": "bwrap"}],
    }
    assert (job.inputs, job.outputs[0].lfn) == ((PING,), found_lfn("g"))


def test_a_job_that_found_all_in_order_passes_every_check() -> None:
    assert {name: c.outcome for name, c in judged({}).items()} == dict.fromkeys(
        (STORAGE, JOB, CLOCK, SOFTWARE, RUNTIMES), Outcome.PASSED
    )


@pytest.mark.parametrize(
    ("time", "detail"),
    [(994.0, "at least 6 s behind"), (1016.0, "at least 6 s ahead"), (995.0, ""), (1015.0, "")],
)
def test_a_clock_is_wrong_when_the_job_ran_before_it_was_sent_or_after_it_was_seen(
    time: float, detail: str
) -> None:
    check = judged({"time": time})[CLOCK]
    assert (check.outcome is Outcome.FAILED) == bool(detail)
    assert detail in check.detail


def test_what_is_missing_is_named() -> None:
    found = judged(
        {
            "software": {"b 2": "is not there", "a 1": "", "c 3": "X is not set"},
            "runtimes": {"plain": "", "podman": "podman is not there"},
        }
    )
    detail = "b 2: is not there; c 3: X is not set"
    assert found[SOFTWARE] == Check(SOFTWARE, Outcome.FAILED, detail, ("b 2", "c 3"))
    detail = "podman: podman is not there"
    assert found[RUNTIMES] == Check(RUNTIMES, Outcome.FAILED, detail, ("podman",))


@pytest.mark.parametrize(
    ("reason", "name"),
    [
        ("INPUT_MISSING", STORAGE),
        ("INPUT_UNREACHABLE", STORAGE),
        ("UPLOAD_FAILED", STORAGE),
        ("SOFTWARE_MISSING", JOB),
    ],
)
def test_a_job_that_failed_says_of_what(reason: str, name: str) -> None:
    failed = [c for c in failure({"reason": reason, "message": "no."}, "") if c.outcome is Outcome.FAILED]
    assert failed == [Check(name, Outcome.FAILED, f"{reason}: no.")]


def test_a_job_without_a_report_is_told_by_the_back_end() -> None:
    assert list(failure(None, "LOST")) == [Check(JOB, Outcome.FAILED, "it left no report: LOST")]
