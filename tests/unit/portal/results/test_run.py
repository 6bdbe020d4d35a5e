from __future__ import annotations

from typing import Any

from esap_batch.progress import PROGRESS
from portal.results.run import GIVEN, Run, Submission
from tests.unit.portal.results.conftest import STEERING, finished, task


def test_what_the_tasks_of_a_finished_run_have_given() -> None:
    run = finished()
    assert run.steering == STEERING
    assert run.facility == "lapalma"
    assert run.outcome["outcome"] == "published"
    assert run.submissions == [Submission("submit_jobs", "esap-1", "lapalma", 2)]


def test_a_run_that_has_just_begun_knows_nothing() -> None:
    run = Run((task("validate_request", state="running"),))
    assert (run.steering, run.facility, run.outcome, run.submissions) == (None, "", {}, [])
    assert run.progress() is None


def test_the_steering_file_that_names_the_data_counts() -> None:
    chosen = {**STEERING, "selection": {"sha256": "ff"}}
    run = Run((), {"select_data": {GIVEN: chosen}, "validate_request": {GIVEN: STEERING}})
    assert run.steering == chosen


def test_batches_come_in_the_order_of_their_tasks() -> None:
    def submitted(group: str) -> dict[str, Any]:
        return {GIVEN: {"group": group, "count": 1, "facility": "cscs", "journal": {}}}

    told = {
        "submit_merge": submitted("b"),
        "submit_simulation": submitted("a"),
        "await_merge": {GIVEN: {"group": "b"}},
    }
    run = Run((task("submit_simulation"), task("submit_merge"), task("await_merge")), told)
    assert [s.group for s in run.submissions] == ["a", "b"]


def test_the_task_that_works_tells_how_far_it_is() -> None:
    told = {name: {PROGRESS: {"text": name}} for name in ("first", "second", "third")}
    tasks = (task("first"), task("second", state="deferred"), task("third"))
    assert Run(tasks, told).progress() == ("second", {"text": "second"})
    over = Run(tuple(task(name) for name in told), told)
    assert over.progress() == ("third", {"text": "third"})
