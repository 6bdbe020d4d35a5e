from __future__ import annotations

import json
from pathlib import Path

from esap_batch.facilities import load_facilities
from esap_batch.health import (
    CLOCK,
    CONNECTION,
    RUNTIMES,
    SOFTWARE,
    Check,
    Health,
    Outcome,
    as_found,
    faults,
    recent,
    table,
)

CONFIG = Path(__file__).parents[3] / "config"
AT = 1_700_000_000.0
WELL = Health("well", AT, (Check(CONNECTION, Outcome.PASSED),))
ILL = Health(
    "ill", AT, (Check(CONNECTION, Outcome.PASSED), Check(CLOCK, Outcome.FAILED, "the worker's is 90 s ahead"))
)
FULL = Health("full", AT, (Check(SOFTWARE, Outcome.UNKNOWN, "the job waits"),))
FAULT = "clock failed (the worker's is 90 s ahead), checked at 2023-11-14 22:13:20 UTC"


def test_a_result_survives_being_kept() -> None:
    for health in (WELL, ILL, FULL):
        assert Health.of(json.loads(json.dumps(health.document()))) == health


def test_only_what_has_failed_is_held_against_a_facility() -> None:
    assert (WELL.fault, FULL.fault, ILL.fault) == ("", "", FAULT)
    assert faults([WELL, ILL, FULL]) == {"ill": f"is out of order: {FAULT}"}


def test_old_results_say_nothing() -> None:
    assert recent([ILL], AT + 60, 60) == [ILL]
    assert recent([ILL], AT + 61, 60) == []


def test_a_check_that_was_not_made_is_unknown() -> None:
    assert WELL.outcome(CLOCK).outcome is Outcome.UNKNOWN


def test_the_table_has_a_line_for_each_facility_and_a_note_for_each_trouble() -> None:
    lines = table([WELL, ILL, FULL]).splitlines()
    assert lines[0] == "| facility | connection | storage | job | clock | software | runtimes | at |"
    assert [line.split(" | ")[0] for line in lines[2:5]] == ["| well", "| ill", "| full"]
    assert "| passed | unknown | unknown | failed |" in lines[3]
    assert lines[6:] == [
        "- ill: clock failed: the worker's is 90 s ahead",
        "- full: software unknown: the job waits",
    ]


def test_where_all_is_well_there_is_only_the_table() -> None:
    assert len(table([WELL]).splitlines()) == 3


def test_software_that_is_missing_speaks_against_those_who_need_it_only() -> None:
    facilities = load_facilities(CONFIG / "facilities.yaml")
    check = Check(SOFTWARE, Outcome.FAILED, "esap-ctapipe 0.2.0: is not there", ("esap-ctapipe 0.2.0",))
    health = Health("cscs", 1000.0, (check,))
    assert Health.of(json.loads(json.dumps(health.document()))) == health
    assert (health.fault, health.lacking) == ("", ("esap-ctapipe 0.2.0",))
    assert faults([health]) == {}
    found = {f.name: f for f in as_found(facilities, [health])}
    assert found["cscs"].software["esap-ctapipe"] == ()
    assert found["cscs"].software["esap-fits"] == ("0.2.0",)
    assert found["lapalma"].software["esap-ctapipe"] == ("0.2.0",)
    assert as_found(facilities, []) == facilities


def test_a_runtime_that_is_missing_is_not_counted_on() -> None:
    facilities = load_facilities(CONFIG / "facilities.yaml")
    check = Check(RUNTIMES, Outcome.FAILED, "apptainer: apptainer is not there", ("apptainer",))
    health = Health("fair-slurm", 1000.0, (check,))
    assert (faults([health]), health.lacking) == ({}, ("apptainer",))
    types = {f.name: f.types for f in as_found(facilities, [health])}
    assert types["fair-slurm"] == ["plain", "rootfs"]
    assert types["escape-local"] == ["plain", "rootfs"]
    assert {f.name: f.types for f in facilities}["fair-slurm"] == ["plain", "rootfs", "apptainer"]
