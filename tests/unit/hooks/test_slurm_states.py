from __future__ import annotations

import pytest

from esap_batch.jobs import JobState
from esap_batch.retries import ACTIONS
from hooks.slurm_states import REASONS, STATES, counted, state_of
from runner.esap_slurm.states import ENDED

# man squeue of 22.05 and of 24.11, JOB STATE CODES
DOCUMENTED = [
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "CONFIGURING",
    "COMPLETING",
    "DEADLINE",
    "FAILED",
    "LAUNCH_FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PENDING",
    "PREEMPTED",
    "RECONFIG_FAIL",
    "REQUEUED",
    "REQUEUE_FED",
    "REQUEUE_HOLD",
    "RESIZING",
    "RESV_DEL_HOLD",
    "REVOKED",
    "RUNNING",
    "SIGNALING",
    "SPECIAL_EXIT",
    "STAGE_OUT",
    "STOPPED",
    "SUSPENDED",
    "TIMEOUT",
]


@pytest.mark.parametrize("word", DOCUMENTED)
def test_every_documented_state_is_known(word: str) -> None:
    assert word in STATES


def test_only_completed_is_done() -> None:
    assert [word for word, state in STATES.items() if state is JobState.DONE] == ["COMPLETED"]


@pytest.mark.parametrize("word", ["", "completed", "COMPLETED+", "NEW_IN_25"])
def test_an_unknown_state_is_not_final(word: str) -> None:
    assert state_of(word) is JobState.RUNNING


def test_the_program_at_the_site_keeps_the_states_that_are_final_here() -> None:
    assert {word for word, state in STATES.items() if state.is_terminal} == set(ENDED)


def test_every_reason_has_an_action() -> None:
    assert set(REASONS.values()) <= set(ACTIONS)
    assert all(STATES[word] is JobState.FAILED for word in REASONS)


def test_jobs_are_counted_by_our_states() -> None:
    found = counted({"PENDING": 2, "CONFIGURING": 1, "RUNNING": 3, "TIMEOUT": 1, "FAILED": 1, "STRANGE": 1})
    assert found == {JobState.QUEUED: 3, JobState.RUNNING: 4, JobState.FAILED: 2}
