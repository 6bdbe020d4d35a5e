from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from esap_batch.jobs import Attempt, JobState
from esap_batch.retries import Diagnosis, decide, diagnose, duplicates, latest_attempts

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
    decision = decide(1, [broken], {0: diagnose(broken, report("SOFTWARE_MISSING"))}, 3, 0)
    assert decision.failures_exceeded
    assert decision.failed[0].reason == "SOFTWARE_MISSING"


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
