from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esap_batch.facilities import Facility, load_facilities
from esap_batch.jobs import Attempt, JobState, Limits
from esap_batch.retries import (
    OF_ONE_NODE,
    Diagnosis,
    decide,
    diagnose,
    duplicates,
    known_attempts,
    latest_attempts,
    limits_of,
    raised,
)

FACILITIES = Path(__file__).parents[3] / "config" / "facilities.yaml"
DONE, FAILED, CANCELLED = JobState.DONE, JobState.FAILED, JobState.CANCELLED


def attempt(index: int, number: int = 1, state: JobState = DONE, job_id: str = "7") -> Attempt:
    return Attempt(job_id, index, number, state, "Failed; Application Finished With Errors")


def report(reason: str = "PAYLOAD_FAILED") -> dict[str, str]:
    return {"reason": reason, "message": "the payload ended with exit code 3.", "payload_log_tail": "a\nb"}


def test_a_completed_attempt_counts_more_than_a_newer_one() -> None:
    assert latest_attempts([attempt(0, 1), attempt(0, 2, FAILED)])[0].attempt == 1
    assert latest_attempts([attempt(0, 1, FAILED), attempt(0, 2, CANCELLED)])[0].attempt == 2


def test_of_two_submissions_under_one_name_the_first_stays() -> None:
    first, second, other = attempt(0, job_id="9"), attempt(0, job_id="10"), attempt(1, job_id="11")
    assert duplicates([second, other, first]) == [second]


def test_a_failed_job_is_told_by_its_report() -> None:
    found = diagnose(attempt(4, 2, FAILED), report())
    assert str(found) == (
        "job 4 (attempt 2, id 7): DIAGNOSIS PAYLOAD_FAILED: the payload ended with exit code 3. "
        "ACTION read the payload's log below"
    )
    assert found.log_tail == ("a", "b")


def test_a_failed_job_without_a_report_is_told_by_the_facility() -> None:
    found = diagnose(attempt(0, 1, FAILED), None)
    assert found.reason == "LOST"
    assert "Application Finished With Errors" in found.message


def test_a_job_that_failed_after_its_runner_was_content_is_not_called_ok() -> None:
    assert diagnose(attempt(0, 1, FAILED), report("OK")).reason == "LOST"


@pytest.mark.parametrize("told", ["PAYLOAD_SIGNAL", "PAYLOAD_FAILED", "TERMINATED", "OK"])
def test_what_the_site_did_to_a_payload_is_told_by_the_facility(told: str) -> None:
    killed = replace(attempt(0, 1, FAILED), detail="OUT_OF_MEMORY", reason="MEMORY_LIMIT")
    found = diagnose(killed, report(told))
    assert (found.reason, found.message) == ("MEMORY_LIMIT", "the facility says: OUT_OF_MEMORY.")
    assert found.log_tail == ("a", "b")


def test_what_the_runner_knows_better_is_told_by_the_runner() -> None:
    killed = replace(attempt(0, 1, FAILED), detail="TIMEOUT", reason="TIME_LIMIT")
    assert diagnose(killed, report("INPUT_CORRUPT")).reason == "INPUT_CORRUPT"


def test_a_storage_that_is_down_is_worth_another_try_and_a_lost_file_is_not() -> None:
    for reason, again in (("INPUT_UNREACHABLE", {0: 3}), ("INPUT_MISSING", {}), ("INPUT_CORRUPT", {})):
        broken = attempt(0, 2, FAILED)
        assert decide(1, [broken], {0: diagnose(broken, report(reason))}, 3, 0).resubmit == again


@pytest.mark.parametrize("reason", sorted(OF_ONE_NODE))
def test_what_one_node_may_lack_is_tried_on_another_once(reason: str) -> None:
    first, second = attempt(0, 1, FAILED), attempt(0, 2, FAILED)
    assert decide(1, [first], {0: diagnose(first, report(reason))}, 3, 0).resubmit == {0: 2}
    again = decide(1, [first, second], {0: diagnose(second, report(reason))}, 3, 0)
    assert (again.resubmit, again.failures_exceeded) == ({}, True)


def test_failed_and_cancelled_jobs_are_tried_again_and_completed_ones_never() -> None:
    attempts = [attempt(0), attempt(1, 1, FAILED), attempt(2, 1, CANCELLED)]
    diagnoses = {a.index: diagnose(a, report()) for a in attempts[1:]}
    decision = decide(3, attempts, diagnoses, attempt_limit=3, allowed_failures=0)
    assert decision.resubmit == {1: 2, 2: 2}
    assert set(decision.done) == {0}
    assert not decision.is_final


def test_a_job_that_was_never_submitted_is_submitted() -> None:
    assert decide(2, [attempt(0)], {}, 3, 0).resubmit == {1: 1}


def test_what_cannot_be_helped_is_not_tried_again() -> None:
    broken = attempt(0, 1, FAILED)
    decision = decide(1, [broken], {0: diagnose(broken, report("BAD_DESCRIPTION"))}, 3, 0)
    assert decision.failures_exceeded
    assert decision.failed[0].reason == "BAD_DESCRIPTION"


def test_a_limit_is_a_limit() -> None:
    attempts = [attempt(0, n, FAILED) for n in (1, 2, 3)]
    decision = decide(1, attempts, {0: diagnose(attempts[2], report())}, 3, 0)
    assert decision.is_final
    assert decision.failures_exceeded


def test_failures_within_the_allowance_let_the_batch_pass() -> None:
    attempts = [attempt(0), attempt(1, 3, FAILED)]
    decision = decide(2, attempts, {1: diagnose(attempts[1], report())}, 3, allowed_failures=1)
    assert decision.is_final
    assert not decision.failures_exceeded
    assert [d.index for d in decision.failed] == [1]


def test_a_lost_output_is_made_under_an_attempt_number_that_is_free() -> None:
    attempts = [attempt(0, 1), attempt(0, 2, FAILED)]
    gone = Diagnosis(0, 1, "7", "OUTPUT_LOST", "it is not there")
    assert decide(1, attempts, {0: gone}, 5, 0).resubmit == {0: 3}


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 4), st.sampled_from([DONE, FAILED, CANCELLED]))),
    st.integers(1, 6),
    st.integers(0, 10),
)
def test_every_job_ends_up_in_exactly_one_place(
    rows: list[tuple[int, int, JobState]], limit: int, allowed: int
) -> None:
    attempts = [attempt(i, n, state, job_id=str(k)) for k, (i, n, state) in enumerate(rows)]
    latest = latest_attempts(attempts)
    diagnoses = {i: diagnose(a, None) for i, a in latest.items() if a.state is not DONE}
    decision = decide(10, attempts, diagnoses, limit, allowed)
    places = [*decision.done, *decision.resubmit, *(d.index for d in decision.failed)]
    assert sorted(places) == list(range(10))
    taken = {a.key for a in attempts}
    assert not taken & set(decision.resubmit.items())
    assert all(n <= limit for n in decision.resubmit.values())


@pytest.fixture(scope="module")
def lapalma() -> Facility:
    return next(f for f in load_facilities(FACILITIES) if f.name == "lapalma")


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("MEMORY_LIMIT", Limits(600, 1000, 300)),
        ("TIME_LIMIT", Limits(1200, 500, 300)),
        ("DISK_LIMIT", Limits(600, 500, 600)),
        ("PAYLOAD_FAILED", Limits(600, 500, 300)),
    ],
)
def test_only_what_a_job_ran_out_of_is_raised(lapalma: Facility, reason: str, expected: Limits) -> None:
    assert raised(Limits(600, 500, 300), reason, lapalma, 2) == expected


def test_the_facility_is_the_limit_of_limits(lapalma: Facility) -> None:
    most = lapalma.limits.max_memory_mb
    assert raised(Limits(memory_mb=most - 1), "MEMORY_LIMIT", lapalma, 2).memory_mb == most
    assert raised(Limits(memory_mb=most), "MEMORY_LIMIT", lapalma, 2).memory_mb == most


def memory_limit(lapalma: Facility, had: Limits, before: int = 0) -> tuple[object, str]:
    broken = attempt(0, 1, FAILED)
    decision = decide(
        1, [broken], {0: diagnose(broken, report("MEMORY_LIMIT"))}, 3, 0,
        before=before, limits={0: had}, facility=lapalma,
    )  # fmt: skip
    return dict(decision.limits), str((decision.failed or decision.again)[0])


def test_a_job_that_ran_out_of_memory_is_submitted_again_with_more(lapalma: Facility) -> None:
    limits, told = memory_limit(lapalma, Limits(memory_mb=500))
    assert limits == {0: Limits(memory_mb=1000)}
    assert told.endswith("ACTION it is submitted again as attempt 2, with 1000 MB of memory instead of 500")


def test_a_job_that_had_the_maximum_has_failed_for_good_unless_a_user_wants_another_go(
    lapalma: Facility,
) -> None:
    most = Limits(memory_mb=lapalma.limits.max_memory_mb)
    limits, told = memory_limit(lapalma, most)
    assert limits == {}
    assert "ACTION 2000 MB of memory is the most that La Palma on-site computing" in told
    limits, told = memory_limit(lapalma, most, before=1)
    assert limits == {0: most}
    assert told.endswith("ACTION it is submitted again as attempt 2")


def test_the_newest_report_tells_the_limits_that_a_job_has() -> None:
    def ran(number: int, memory_mb: int) -> dict[str, object]:
        return {"index": 0, "attempt": number, "limits": {"memory_mb": memory_mb}}

    assert limits_of([ran(2, 200), ran(1, 100), {"index": 0, "attempt": 3, "limits": {}}]) == {
        0: Limits(memory_mb=200)
    }


def test_what_the_back_end_has_forgotten_is_known_from_its_report() -> None:
    lost, failed = attempt(0, 1, JobState.LOST, "1"), attempt(1, 1, FAILED, "2")
    kept = {
        "1": {"reason": "OK", "index": 0, "attempt": 1},
        "2": {"reason": "PAYLOAD_FAILED", "index": 1, "attempt": 1},
        "3": {"reason": "OK", "index": 2, "attempt": 4},
        "4": {"reason": "PAYLOAD_FAILED", "index": 3, "attempt": 1},
    }
    states = {a.key: a.state for a in known_attempts([lost, failed], kept)}
    assert states == {(0, 1): DONE, (1, 1): FAILED, (2, 4): DONE}
