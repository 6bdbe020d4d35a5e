from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from esap_batch.jobs import Attempt, Batch, JobSpec, JobState, Load
from esap_batch.stages import Moves
from hooks.slurm_ssh import OVERHEAD, SlurmSsh
from hooks.ssh_program import SshSettings

BATCH = Batch("esap-abc", (JobSpec(0, ("true",)),), site="main")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    return []


@pytest.fixture
def slurm(asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a back end whose site answers with what it is told."""

    def with_answer(answer: Any) -> SlurmSsh:
        at = SshSettings("host", 22, "esap", "ssh-ed25519 AAAA", Path("key"), "work")
        backend = SlurmSsh(at, "alice", Path("runner"), {"account": "esap"}, "SCRATCH")

        def ask(question: dict[str, Any], _within: float = 0) -> Any:
            asked.append(question)
            return answer

        monkeypatch.setattr(backend.site, "ask", ask)
        return backend

    return with_answer


def test_a_submission_carries_all_that_the_site_needs(slurm: Any, asked: list[dict[str, Any]]) -> None:
    found = slurm([["12_0", 0, 1, "PENDING", "Priority"]]).submit(BATCH, {0: 1})
    assert found == [Attempt("12_0", 0, 1, JobState.QUEUED, "PENDING; Priority")]
    (question,) = asked
    assert question == {
        "ask": "submit",
        "work_area": "work",
        "owner": "alice",
        "group": "esap-abc",
        "batch": BATCH.document(),
        "attempts": [(0, 1)],
        "site": "main",
        "options": {"partition": "main", "account": "esap"},
        "overhead": OVERHEAD,
        "scratch_env": "SCRATCH",
    }


def test_states_come_with_what_slurm_knows_of_the_reason(slurm: Any) -> None:
    rows = [["1_0", 0, 1, "OUT_OF_MEMORY", ""], ["1_1", 1, 1, "NODE_FAIL", "x"], ["1_2", 2, 1, "FAILED", "y"]]
    assert [(a.state, a.reason, a.detail) for a in slurm(rows).attempts("esap-abc")] == [
        (JobState.FAILED, "MEMORY_LIMIT", "OUT_OF_MEMORY"),
        (JobState.FAILED, "NODE_FAILED", "NODE_FAIL; x"),
        (JobState.FAILED, "", "FAILED; y"),
    ]


def test_counts_are_of_our_states(slurm: Any) -> None:
    told = {"a": {"states": {"COMPLETED": 2}, "stages": {}}, "b": {"states": {}, "stages": {}}}
    assert slurm(told).counts(["a", "b"]) == {"a": {JobState.DONE: 2}, "b": {}}


def test_counts_say_which_files_jobs_move(slurm: Any) -> None:
    told = {"a": {"states": {"RUNNING": 3}, "stages": {"fetching inputs": [2, 1, 4, 100, 900]}}}
    assert slurm(told).counts(["a"])["a"].stages == {"fetching inputs": Moves(2, 1, 4, 100, 900)}


def test_reports_are_asked_for_of_ended_jobs_only(slurm: Any, asked: list[dict[str, Any]]) -> None:
    backend = slurm({"1_0": {"reason": "OK"}})
    attempts = [Attempt("1_0", 0, 1, JobState.DONE), Attempt("1_1", 1, 1, JobState.RUNNING)]
    assert backend.reports(attempts[1:]) == {}
    assert asked == []
    assert backend.reports(attempts) == {"1_0": {"reason": "OK"}}
    assert asked[0]["jobs"] == ["1_0"]


def test_load_is_of_everybody_and_failures_are_the_users(slurm: Any) -> None:
    answer = {"queue": {"PENDING": 4, "RUNNING": 2}, "ended": {"COMPLETED": 3, "TIMEOUT": 1, "CANCELLED": 5}}
    assert slurm(answer).load("main") == Load(queued=4, running=2, failed_recently=1, ended_recently=4)
