from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from hooks.broker import LoginNeeded
from operators.login import NeedsLogin, goes_on_after_login
from triggers.credentials import CredentialsBack

NEEDED = LoginNeeded("d", "alice", "it was revoked", "http://p/credentials", seconds=60, required=True)
CONTEXT: Any = "context"


class Step(NeedsLogin):
    """Does its work when `login` is true."""

    login = False

    @goes_on_after_login
    def begin(self, context: Any) -> Any:
        return self.resume(context, {"status": "moved"}, 3)

    @goes_on_after_login
    def resume(self, context: Any, event: dict[str, str], limit: int) -> Any:
        if not self.login:
            raise NEEDED
        return f"{context} {event['status']} {limit}"


@pytest.fixture
def step() -> Step:
    return Step(task_id="t")


def test_it_waits_in_the_triggerer_and_repeats_the_step_with_what_it_was_given(step: Step) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        step.resume("context", {"status": "ended"}, limit=5)
    trigger = deferred.value.trigger
    assert isinstance(trigger, CredentialsBack)
    assert trigger.serialize()[1] == {
        "system": "d", "user": "alice", "why": "it was revoked", "seconds": 60, "required": True,
    }  # fmt: skip
    assert deferred.value.method_name == "after_login"
    kwargs = deferred.value.kwargs or {}
    assert kwargs == {"step": "resume", "arguments": {"event": {"status": "ended"}, "limit": 5}}
    step.login = True
    assert step.after_login(CONTEXT, event={"status": "back"}, **kwargs) == "context ended 5"


def test_a_step_within_a_step_is_repeated_itself(step: Step) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        step.begin("context")
    assert (deferred.value.kwargs or {})["step"] == "resume"


def test_it_may_wait_again(step: Step) -> None:
    arguments = {"event": {"status": "ended"}, "limit": 5}
    with pytest.raises(TaskDeferred):
        step.after_login(CONTEXT, event={"status": "back"}, step="resume", arguments=arguments)


def test_other_errors_pass(step: Step) -> None:
    class Broken(Step):
        @goes_on_after_login
        def begin(self, context: Any) -> Any:
            raise ValueError(context)

    with pytest.raises(ValueError, match="context"):
        Broken(task_id="t").begin("context")
