from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskAwaitingInput, TaskDeferred
from airflow.sdk.execution_time import hitl

from esap_batch.carousel import Outcome
from esap_batch.use_cases import cta_reprocessing
from hooks.errors import BackendUnavailable
from operators.campaign.process import GIVE_UP, GO_ON, ProcessObservations
from operators.campaign.reserve import ledger
from operators.campaign.turn import revive
from operators.submission import SUBMITTING, end_submission
from tests.unit.operators.campaign.conftest import Tasks
from tests.unit.operators.campaign.world import World, observations
from triggers.carousel import CarouselMoves

LEDGER = "user/alice/2026-11"


class Run:
    """The task in its world, as Airflow would take it through its tries."""

    def __init__(self, tasks: Tasks, count: int, **request: Any) -> None:
        self.tasks = tasks
        self.world = tasks.world = World(request)
        self.world.plan(observations(count))
        self.asked: list[dict[str, Any]] = []
        size = 100 * count
        plan = {"blocks": self.world.blocks, "todo": count, "todo_bytes": size, "recall_bytes": size,
                "observations": count}  # fmt: skip
        self.plan = plan
        self.task = self.new_task()

    def new_task(self) -> ProcessObservations:
        """Make the task as a new worker process does."""
        return ProcessObservations(
            task_id="process", steering=self.world.steering, facility={"facility": "lapalma"},
            plan=self.plan, use_case=cta_reprocessing,
        )  # fmt: skip

    def begin(self) -> dict[str, Any]:
        """Give the trigger that the task waits for, or its result."""
        try:
            return self.task.execute(self.tasks.context)
        except TaskDeferred as waiting:
            return {"waits": waiting.trigger}

    def go_on(self, status: str = "moved") -> dict[str, Any]:
        try:
            return self.task.resume(self.tasks.context, {"status": status, "message": "nobody answers"})
        except TaskDeferred as waiting:
            return {"waits": waiting.trigger}

    def to_the_end(self) -> dict[str, Any]:
        answer = self.begin()
        while "waits" in answer:
            self.world.advance()
            answer = self.go_on()
        return answer

    def reserved(self) -> int:
        lake: Any = self.world.lake
        return sum(e.size for e in ledger(lake, LEDGER))


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **question: asked.append(question))
    return asked


def test_all_is_done_and_summed_up(tasks: Tasks) -> None:
    run = Run(tasks, 5)
    assert run.to_the_end() == {
        "done": 5, "failed": 0, "elsewhere": 0, "bytes": 500, "recalled_bytes": 500, "failures": {},
        "missing": None,
    }  # fmt: skip
    assert run.reserved() == 500
    assert tasks.ti.pushed["progress"]["text"].startswith("observations 5 of 5 done")


def test_a_turn_says_that_it_is_under_way(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tasks, 2)
    mark, seen = f"{run.world.worker().area}/{SUBMITTING}", []
    recall = run.world.lake.recall

    def recalling(*args: Any) -> Any:
        seen.append(mark in run.world.storage.files)
        return recall(*args)

    monkeypatch.setattr(run.world.lake, "recall", recalling)
    run.begin()
    assert seen == [True]
    assert mark not in run.world.storage.files


def test_no_turn_is_taken_for_a_run_that_was_ended_meanwhile(tasks: Tasks) -> None:
    run = Run(tasks, 2)
    run.begin()
    run.world.recall_some()
    end_submission(run.world.worker().site.storage, run.world.worker().area)
    with pytest.raises(AirflowFailException, match="the run was ended meanwhile"):
        run.go_on()
    assert run.world.backend.alive == []


def test_it_waits_for_the_jobs_and_recalls_that_are_under_way(tasks: Tasks) -> None:
    run = Run(tasks, 3, window_gb=2e-7)
    first = run.begin()["waits"]
    assert (first.groups, first.running, first.tag) == ([], 0, run.world.worker().tag)
    assert first.recalls == "rule 1 REPLICATING rule 2 REPLICATING"
    run.world.recall_some(1)
    second = run.go_on()["waits"]
    assert (second.groups, second.running) == ([run.world.worker().group(0)], 1)
    assert second.recalls == "rule 1 OK rule 2 REPLICATING"
    run.world.run_some()
    assert run.go_on()["waits"].releasing


def test_systems_that_do_not_answer_end_the_try(tasks: Tasks) -> None:
    run = Run(tasks, 1)
    run.begin()
    with pytest.raises(AirflowException, match="nobody answers"):
        run.go_on("silent")


def test_failures_within_what_is_allowed_are_listed(tasks: Tasks) -> None:
    run = Run(tasks, 4, allowed_failure_fraction=0.25)
    run.world.reasons = {2: ["BAD_DESCRIPTION"]}
    result = run.to_the_end()
    assert (result["done"], result["failed"], result["failures"]) == (3, 1, {"BAD_DESCRIPTION": 1})
    kept = json.loads(run.world.storage.files[result["missing"]["pfn"]])
    assert [o["obs_id"] for o in kept["observations"]] == [2]


def test_more_failures_fail_the_task_and_clearing_it_does_only_what_failed(tasks: Tasks) -> None:
    run = Run(tasks, 4)
    run.world.reasons = {2: ["BAD_DESCRIPTION"]}
    with pytest.raises(
        AirflowFailException, match=r"1 of 4 observations failed, allowed are 0.*Clear this task"
    ):
        run.to_the_end()
    published = dict(run.world.lake.published)
    tasks.ti.max_tries += 8  # as Airflow does for a task that is cleared
    assert run.to_the_end()["done"] == 4
    assert run.world.lake.published.items() >= published.items()
    assert [i.attempt for i in run.world.items().values()] == [1, 2, 1, 1]
    assert run.reserved() == 500  # one was recalled twice


def held(tasks: Tasks) -> Run:
    run = Run(tasks, 6, hold_after=2, window_gb=2e-7)
    run.world.reasons = {1: ["BAD_DESCRIPTION"], 2: ["BAD_DESCRIPTION"]}
    with pytest.raises(TaskAwaitingInput):
        run.to_the_end()
    return run


def test_too_many_failures_ask_somebody(tasks: Tasks, questions: list[dict[str, Any]]) -> None:
    run = held(tasks)
    (question,) = questions
    assert question["options"] == [GO_ON, GIVE_UP]
    assert "2 observations have failed with BAD_DESCRIPTION" in question["body"]
    assert "- observation 1: it broke." in question["body"]
    assert "HELD: BAD_DESCRIPTION" in tasks.ti.pushed["progress"]["text"]
    assert sum(run.world.lake.asked.values()) == 2
    assert run.world.worker().state().held


def test_whoever_says_go_on_has_all_of_it_done(tasks: Tasks, questions: list[dict[str, Any]]) -> None:
    run = held(tasks)
    answer = {"chosen_options": [GO_ON], "responded_by_user": {"name": "bob"}}
    with pytest.raises(TaskDeferred):
        run.task.resume_held(tasks.context, answer)
    assert run.world.worker().state().held == ""
    assert run.to_the_end()["done"] == 6
    assert len(questions) == 1


def test_whoever_gives_up_ends_the_task(tasks: Tasks, questions: list[dict[str, Any]]) -> None:
    run = held(tasks)
    answer = {"chosen_options": [GIVE_UP], "responded_by_user": {"name": "bob"}}
    with pytest.raises(AirflowFailException, match=r"bob has given this campaign up\. 2 observations"):
        run.task.resume_held(tasks.context, answer)


def test_a_new_try_of_a_held_task_asks_again_and_one_try_asks_once(
    tasks: Tasks, questions: list[dict[str, Any]]
) -> None:
    run = held(tasks)
    with pytest.raises(AirflowException, match="the question is put in the next try"):
        run.begin()
    tasks.ti.id = "try-2"
    with pytest.raises(TaskAwaitingInput):
        run.begin()
    assert len(questions) == 2
    assert questions[0]["body"] == questions[1]["body"]


def test_a_second_recall_needs_budget_too(tasks: Tasks) -> None:
    run = Run(tasks, 2)
    run.world.reasons = {1: ["BAD_DESCRIPTION"]}
    with pytest.raises(AirflowFailException):
        run.to_the_end()
    limit = 10_000_000_000_000
    run.world.lake.append(LEDGER, f"/ctao/esap/budget/{LEDGER}/000002", "d/other", limit - 200)
    tasks.ti.max_tries += 8
    with pytest.raises(AirflowFailException, match="over the budget of user alice"):
        run.begin()
    assert sum(run.world.lake.asked.values()) == 2
    revive(run.world.worker())
    assert run.reserved() == limit


def test_another_try_takes_no_failures_up_again(tasks: Tasks) -> None:
    run = Run(tasks, 4, allowed_failure_fraction=0.25)
    run.world.reasons = {1: ["BAD_DESCRIPTION"]}
    run.begin()
    while not any(i.outcome is Outcome.FAILED for i in run.world.items().values()):
        run.world.advance()
        run.go_on()
    with pytest.raises(AirflowException, match="nobody answers"):
        run.go_on("silent")
    assert run.to_the_end()["failed"] == 1
    assert set(run.world.lake.asked.values()) == {1}
    assert run.reserved() == 400


def test_the_share_of_failures_is_of_what_was_to_do(tasks: Tasks) -> None:
    run = Run(tasks, 4, allowed_failure_fraction=0.25)
    run.task.plan["observations"] = 100  # the others are done since long
    run.world.reasons = {1: ["BAD_DESCRIPTION"], 2: ["BAD_DESCRIPTION"]}
    with pytest.raises(AirflowFailException, match="2 of 4 observations failed, allowed are 1"):
        run.to_the_end()


class Outage:
    """Lets a back end answer nothing until it is over."""

    def __init__(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run, self.is_over, self.answers = run, False, run.world.backend.attempts
        monkeypatch.setattr(run.world.backend, "attempts", self)

    def __call__(self, group: str) -> Any:
        if self.is_over:
            return self.answers(group)
        raise BackendUnavailable("DiracX", "http://dirac", "no route")

    def wait(self, step: Callable[[], Any]) -> TaskDeferred:
        with pytest.raises(TaskDeferred) as waiting:
            step()
        return waiting.value

    def look_again(self, waiting: TaskDeferred) -> TaskDeferred:
        """Do what Airflow does when the pause is over, in a new process."""
        step = getattr(self.run.new_task(), waiting.method_name)
        return self.wait(lambda: step(self.run.tasks.context, event=None, **(waiting.kwargs or {})))


def test_an_outage_uses_up_no_try(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tasks, 2)
    run.begin()
    run.world.recall_some()
    run.go_on()
    outage, since = Outage(run, monkeypatch), set()
    first = outage.wait(lambda: run.task.resume(tasks.context, {"status": "moved"}))
    waiting = first
    for _ in range(20):
        assert waiting.method_name == "after_silence"
        since.add((waiting.kwargs or {})["since"])
        waiting = outage.look_again(waiting)
    assert len(since) == 1
    outage.is_over = True
    assert isinstance(outage.look_again(waiting).trigger, CarouselMoves)
    assert run.to_the_end()["done"] == 2


def test_an_outage_is_borne_for_as_long_as_told(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tasks, 2)
    run.begin()
    run.world.recall_some()
    run.go_on()
    outage = Outage(run, monkeypatch)
    outage.wait(lambda: run.task.resume(tasks.context, {"status": "moved"}))
    long_ago = "2026-01-01T00:00:00+00:00"
    with pytest.raises(BackendUnavailable, match="no route"):
        run.new_task().after_silence(
            tasks.context, None, "resume", {"event": {"status": "moved"}}, since=long_ago
        )


@pytest.mark.parametrize("fault", [FileNotFoundError, PermissionError])
def test_what_waiting_cannot_mend_is_not_waited_for(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch, fault: type[OSError]
) -> None:
    run = Run(tasks, 2)
    run.begin()

    def read(pfn: str) -> bytes:
        raise fault(pfn)

    monkeypatch.setattr(run.world.storage, "read", read)
    with pytest.raises(fault, match=r"\.json"):
        run.task.resume(tasks.context, {"status": "moved"})


def test_an_outage_begins_anew_after_a_turn_that_went_well(
    tasks: Tasks,
) -> None:
    run = Run(tasks, 2)
    run.begin()
    run.task.silent_since = datetime(2026, 1, 1, tzinfo=UTC)
    run.go_on()
    assert run.task.silent_since is None
