from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from airflow.sdk import Connection
from airflow.sdk.bases.hook import BaseHook

from esap_batch.jobs import JobCounts, JobState
from esap_batch.progress import SUSPENDED
from hooks.backends import BackendRef
from hooks.broker import LoginNeeded
from hooks.errors import RefusedForGood
from hooks.rucio_lake import RucioSettings
from triggers import carousel as module
from triggers import standing
from triggers.carousel import PACE_S, CarouselMoves
from triggers.poller import BulkPoller

REF: BackendRef = {"type": "dirac", "connection": "dirac_local", "user": "alice"}


class Clock:
    """Stands for `time`: it goes on by what is waited for, or by a step when there is news."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 1000.0, step
        self.waits: list[float] = []

    def monotonic(self) -> float:
        return self.now


class Systems:
    """Back end and lake of a trigger. Each poll gives the next answer, the last one for ever."""

    def __init__(self, jobs: Sequence[Any] = (), recalls: Sequence[Any] = ()) -> None:
        self.jobs, self.recalls = list(jobs), list(recalls)

    def counts(self, groups: Sequence[str]) -> dict[str, JobCounts]:
        running = _next(self.jobs)
        return {group: JobCounts({JobState.RUNNING: running}) for group in groups}

    def recall_states(self, tags: Sequence[str]) -> dict[str, str]:
        return dict.fromkeys(tags, _next(self.recalls))


def _next(answers: list[Any]) -> Any:
    answer = answers.pop(0) if len(answers) > 1 else answers[0]
    if isinstance(answer, Exception):
        raise answer
    return answer


def trigger(**more: Any) -> CarouselMoves:
    given: dict[str, Any] = {"groups": ["g"], "tag": "", "recalls": "", "running": 2, "releasing": False}
    return CarouselMoves(ref=REF, patience=600, **{**given, **more})


def fired(
    monkeypatch: pytest.MonkeyPatch,
    systems: Systems,
    one: CarouselMoves,
    step: float = 1.0,
    connection: Any = None,
) -> tuple[dict[str, Any], float]:
    """Give what the trigger fires with, and after how many seconds of its clock."""
    clock = Clock(step)
    really_wait = asyncio.wait

    async def wait(tasks: Any, timeout: float) -> Any:
        clock.waits.append(timeout)
        done, _ = await really_wait(tasks, timeout=0.02)
        clock.now += min(clock.step, timeout) if done else timeout
        for task in tasks:
            task.cancel()

    async def standard(conn_id: str) -> Connection:
        return Connection(
            conn_id=conn_id, conn_type="http", host="h", extra=json.dumps({"poll_interval": 0.001})
        )

    async def backend(_ref: BackendRef) -> tuple[Systems, float]:
        return systems, 0.001

    async def scenario() -> list[dict[str, Any]]:
        return [event.payload async for event in one.run()]

    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(asyncio, "wait", wait)
    monkeypatch.setattr(BaseHook, "aget_connection", connection or standard)
    monkeypatch.setattr(module, "backend_in_trigger", backend)
    monkeypatch.setattr(RucioSettings, "of", lambda _connection: None)
    monkeypatch.setattr(module, "BulkLake", lambda _lake: systems)
    monkeypatch.setattr(BulkPoller, "_standing", {})
    (payload,) = asyncio.run(scenario())
    return payload, clock.now - 1000.0


def test_it_comes_back_from_what_the_triggerer_keeps() -> None:
    path, arguments = trigger(tag="t", recalls="r OK").serialize()
    assert path == f"{CarouselMoves.__module__}.{CarouselMoves.__qualname__}"
    assert CarouselMoves(**json.loads(json.dumps(arguments))).serialize() == (path, arguments)


@pytest.mark.parametrize(
    ("systems", "one"),
    [
        (Systems(jobs=[2, 1, 0]), trigger()),
        (Systems(recalls=["r REPLICATING", "r OK"]),
         trigger(groups=[], running=0, tag="t", recalls="r REPLICATING")),
        (Systems(jobs=[0], recalls=["r OK"]), trigger(tag="t", recalls="r REPLICATING")),
    ],
)  # fmt: skip
def test_it_fires_at_once_when_nothing_is_under_way_any_more(
    monkeypatch: pytest.MonkeyPatch, systems: Systems, one: CarouselMoves
) -> None:
    payload, after = fired(monkeypatch, systems, one, step=0.01)
    assert payload == {"status": "moved"}
    assert after < PACE_S


@pytest.mark.parametrize(
    ("systems", "one"),
    [
        (Systems(jobs=[2, 1]), trigger()),
        (Systems(jobs=[2], recalls=["a REPLICATING b OK"]),
         trigger(tag="t", recalls="a REPLICATING b REPLICATING")),
        (Systems(jobs=[0], recalls=["a REPLICATING"]), trigger(tag="t", recalls="a REPLICATING")),
        (Systems(jobs=[2]), trigger(releasing=True)),
    ],
)  # fmt: skip
def test_changes_are_gathered_while_something_is_under_way(
    monkeypatch: pytest.MonkeyPatch, systems: Systems, one: CarouselMoves
) -> None:
    payload, after = fired(monkeypatch, systems, one)
    assert payload == {"status": "moved"}
    assert PACE_S <= after < 2 * PACE_S


def test_nothing_new_is_no_reason_to_fire(monkeypatch: pytest.MonkeyPatch) -> None:
    payload, after = fired(monkeypatch, Systems(jobs=[2] * 50 + [1]), trigger())
    assert payload == {"status": "moved"}
    assert after > PACE_S


def test_a_turn_is_asked_for_once_a_day_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """It renews the recalls."""
    monkeypatch.setattr(module, "RENEW_S", 60.0)
    payload, after = fired(monkeypatch, Systems(jobs=[2]), trigger())
    assert payload == {"status": "moved"}
    assert 60 <= after < 60 + 2 * PACE_S


def test_what_a_watcher_has_died_of_is_told_when_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def none(_name: str) -> Any:
        raise LookupError("no connection rucio_default")

    systems = Systems(jobs=[2], recalls=["r OK"])
    payload, after = fired(monkeypatch, systems, trigger(tag="t", recalls="r OK"), connection=none)
    assert payload == {
        "status": "silent",
        "message": "Rucio does not answer since 600 s; LookupError: no connection rucio_default",
    }
    assert after > 600


def test_a_watcher_that_has_died_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short failure of Airflow's API costs the task no try."""
    failures = [ConnectionError("the API server restarts"), LookupError("it starts")]

    async def at_first_none(conn_id: str) -> Connection:
        if failures:
            raise failures.pop(0)
        extra = json.dumps({"poll_interval": 0.001})
        return Connection(conn_id=conn_id, conn_type="http", host="h", extra=extra)

    monkeypatch.setattr(module, "RESTART_S", 0.0)
    systems = Systems(recalls=["r OK"])
    one = trigger(groups=[], running=0, tag="t", recalls="r REPLICATING")
    payload, _ = fired(monkeypatch, systems, one, connection=at_first_none)
    assert payload == {"status": "moved"}
    assert not failures


def test_a_refusal_for_good_that_a_watcher_dies_of_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(_name: str) -> Any:
        raise RefusedForGood("Rucio", "http://x", "no rights")

    one = trigger(groups=[], running=0, tag="t", recalls="r OK")
    payload, after = fired(monkeypatch, Systems(), one, connection=refused)
    assert payload == {"status": "silent", "message": "Rucio at http://x refuses: no rights"}
    assert after < 600


def test_systems_that_are_silent_for_too_long_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    systems = Systems(jobs=[ConnectionError("no route")], recalls=[ConnectionError("no route")])
    payload, after = fired(monkeypatch, systems, trigger(tag="t", recalls="r REPLICATING"))
    assert payload == {
        "status": "silent",
        "message": "the facility's job service does not answer since 600 s",
    }
    assert after > 600


def test_one_system_that_is_silent_is_not_hidden_by_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    systems = Systems(jobs=[2] * 1000, recalls=[ConnectionError("no route")])
    payload, _ = fired(monkeypatch, systems, trigger(tag="t", recalls="r REPLICATING"), step=50)
    assert payload == {"status": "silent", "message": "Rucio does not answer since 600 s"}


def test_a_refusal_that_cannot_heal_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    systems = Systems(jobs=[RefusedForGood("DiracX", "http://x", "no rights")])
    payload, after = fired(monkeypatch, systems, trigger())
    assert payload["status"] == "silent"
    assert "no rights" in payload["message"]
    assert after < 600


def test_systems_that_come_back_in_time_are_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    systems = Systems(jobs=[ConnectionError("no route"), ConnectionError("no route"), 0])
    assert fired(monkeypatch, systems, trigger())[0] == {"status": "moved"}


def test_a_kill_cancels_the_jobs_of_all_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled: list[Sequence[str]] = []

    async def cancel(_trigger: CarouselMoves, ref: BackendRef, groups: Sequence[str]) -> None:
        assert ref == REF
        cancelled.append(groups)

    monkeypatch.setattr(module, "cancel_batches", cancel)
    asyncio.run(trigger(groups=["g", "h"]).on_kill())
    assert cancelled == [["g", "h"]]


def test_a_login_that_has_ended_suspends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    async def show(_trigger: Any, mark: Any) -> None:
        told.append(mark if isinstance(mark, str) else mark["text"])

    monkeypatch.setattr(standing, "show_mark", show)
    monkeypatch.setattr(standing, "show_progress", show)
    needed = LoginNeeded("dirac:dirac_local", "alice", "it was revoked", "http://portal/credentials")
    payload, _ = fired(monkeypatch, Systems(jobs=[needed, needed, 0]), trigger(), step=0.01)
    assert payload == {"status": "moved"}
    assert told == [needed.notice, SUSPENDED, ""]
