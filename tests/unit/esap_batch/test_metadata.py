from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from esap_batch.metadata import product_metadata
from esap_batch.provenance import BatchActivity

STEERING = {
    "workflow": "cta_irf",
    "request": {"site": "LaPalma", "zenith_deg": 20.0, "force": False, "job_name": None},
    "run_id": "cta_irf/manual__1",
    "fingerprint": "ab" * 32,
    "owner": "alice",
}
SIMULATION = BatchActivity(
    "g1", "simulate", "lapalma", 8, "2026-01-01T00:00:05Z", "2026-01-01T01:00:00Z", "plain",
    ({"name": "esap-fits", "version": "0.2.0"},),
)  # fmt: skip
MERGE = replace(
    SIMULATION, group="g2", step="merge", started="2026-01-01T02:00:00Z", finished="2026-01-01T03:00:00Z"
)


def described(passed: bool = True, **description: Any) -> dict[str, Any]:
    verdict = {"passed": passed, "checks": 12, "findings": []}
    return product_metadata(STEERING, description, "cta-irf-1-g1", [SIMULATION, MERGE], verdict, "0.1.0")


def test_a_product_is_described_by_its_last_step_and_the_time_of_all() -> None:
    found = described()
    assert (found["activity_id"], found["esap_facility"]) == ("g2", "lapalma")
    assert (found["activity_start_time"], found["activity_stop_time"]) == (
        "2026-01-01T00:00:05Z",
        "2026-01-01T03:00:00Z",
    )
    assert found["product_creation_time"] == "2026-01-01T03:00:00Z"
    assert (found["activity_software_name"], found["activity_software_version"]) == ("esap-fits", "0.2.0")


def test_the_request_is_searchable_but_what_was_left_empty_is_not_there() -> None:
    found = described()
    assert (found["request_site"], found["request_zenith_deg"], found["request_force"]) == (
        "LaPalma",
        20.0,
        False,
    )
    assert "request_job_name" not in found
    assert None not in found.values()


@pytest.mark.parametrize(("passed", "word"), [(True, "passed"), (False, "failed")])
def test_the_verdict_is_told(passed: bool, word: str) -> None:
    assert (described(passed)["esap_verdict"], described(passed)["esap_checks"]) == (word, 12)


def test_the_workflows_own_words_come_along_but_cannot_speak_for_the_service() -> None:
    found = described(contact_name="ESAP", esap_owner="mallory", esap_state="draft")
    assert found["contact_name"] == "ESAP"
    assert (found["esap_owner"], found["esap_state"]) == ("alice", "published")


def test_keys_are_flat_and_lower_case_so_that_rucio_can_search_them() -> None:
    found = described(contact_name="ESAP")
    assert all(key == key.lower() and "." not in key for key in found)
    assert all(isinstance(value, str | int | float | bool) for value in found.values())
    assert json.loads(json.dumps(found)) == found


def test_of_a_long_text_only_the_checksum_is_searchable() -> None:
    text = "print()\n" * 1000
    steering = {**STEERING, "request": {"script": text, "site": "x" * 1000}}
    verdict = {"passed": True, "checks": 1}
    found = product_metadata(steering, {}, "cta-irf-1-g1", [MERGE], verdict, "0.1.0")
    assert found["request_script_sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert "request_script" not in found
    assert found["request_site"] == "x" * 1000
