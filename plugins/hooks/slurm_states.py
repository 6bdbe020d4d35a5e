"""SLURM's job states, and what they mean to a batch (man squeue, JOB STATE CODES)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from esap_batch.jobs import JobState

QUEUED, RUNNING, FAILED = JobState.QUEUED, JobState.RUNNING, JobState.FAILED

# A state that is not here counts as running: it may still change, and it must never pass for success.
STATES: Mapping[str, JobState] = {
    "PENDING": QUEUED,
    "CONFIGURING": QUEUED,
    "REQUEUED": QUEUED,
    "REQUEUE_FED": QUEUED,
    "REQUEUE_HOLD": QUEUED,
    "RESV_DEL_HOLD": QUEUED,
    "SPECIAL_EXIT": QUEUED,
    "RUNNING": RUNNING,
    "COMPLETING": RUNNING,
    "RESIZING": RUNNING,
    "SIGNALING": RUNNING,
    "STAGE_OUT": RUNNING,
    "STOPPED": RUNNING,
    "SUSPENDED": RUNNING,
    "COMPLETED": JobState.DONE,
    "BOOT_FAIL": FAILED,
    "DEADLINE": FAILED,
    "FAILED": FAILED,
    "LAUNCH_FAILED": FAILED,
    "NODE_FAIL": FAILED,
    "OUT_OF_MEMORY": FAILED,
    "PREEMPTED": FAILED,
    "RECONFIG_FAIL": FAILED,
    "TIMEOUT": FAILED,
    "CANCELLED": JobState.CANCELLED,
    "REVOKED": JobState.LOST,
    "LOST": JobState.LOST,  # the program at the site says so of what SLURM has forgotten
}
# Where the state alone says why: reasons of docs/runner.md.
REASONS: Mapping[str, str] = {
    "OUT_OF_MEMORY": "MEMORY_LIMIT",
    "TIMEOUT": "TIME_LIMIT",
    "DEADLINE": "TIME_LIMIT",
    "PREEMPTED": "PREEMPTED",
    "NODE_FAIL": "NODE_FAILED",
    "BOOT_FAIL": "NODE_FAILED",
    "LAUNCH_FAILED": "NODE_FAILED",
    "RECONFIG_FAIL": "NODE_FAILED",
}


def state_of(word: str) -> JobState:
    """Map SLURM's state; anything unknown is not final."""
    return STATES.get(word, RUNNING)


def counted(words: Mapping[str, int]) -> Counter[JobState]:
    """Count jobs by our states from counts by SLURM's."""
    counts: Counter[JobState] = Counter()
    for word, number in words.items():
        counts[state_of(word)] += number
    return counts
