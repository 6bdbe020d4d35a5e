from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.triggers.base import TriggerEvent
from structlog.contextvars import get_contextvars

from esap_batch.jobs import JobCounts, JobState
from esap_batch.progress import SUSPENDED, UNKNOWN
from esap_batch.stages import Moves
from hooks.backends import BackendRef
from hooks.broker import LoginNeeded
from hooks.errors import BackendRefused, BackendUnavailable, RefusedForGood
from hooks.places import PlacesRef
from triggers import jobs as module
from triggers import standing
from triggers.jobs import CANCEL_TRIES, JobsEnded, figures, progress

REF: BackendRef = {"type": "dirac", "connection": "dirac_local", "user": "alice"}
NEEDED = LoginNeeded("dirac:dirac_local", "alice", "it was revoked", "http://portal/credentials")


class Backend:
    """Gives one answer after another, the last one for ever."""

    def __init__(self, answers: Iterable[JobCounts | Exception] = ()) -> None:
        self.answers = list(answers)
        self.asked: list[list[str]] = []
        self.cancelled: list[str] = []
        self.broken_cancels = 0
        self.broken: Exception = ConnectionError("down")

    def counts(self, groups: Sequence[str]) -> dict[str, JobCounts]:
        self.asked.append(list(groups))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return dict.fromkeys(groups, answer)

    def cancel(self, group: str) -> int:
        self.cancelled.append(group)
        if len(self.cancelled) <= self.broken_cancels:
            raise self.broken
        return 3


def serve(monkeypatch: pytest.MonkeyPatch, backend: Backend) -> list[Any]:
    """Let triggers find `backend` behind every connection; gives what they ask for."""
    opened: list[Any] = []

    async def open_backend(ref: BackendRef, *, closing: bool = False) -> tuple[Backend, float]:
        opened.append((ref, closing))
        return backend, 0.001

    monkeypatch.setattr(module, "backend_in_trigger", open_backend)
    return opened


def counted(**states: int) -> JobCounts:
    return JobCounts({JobState[name.upper()]: n for name, n in states.items()})


def events(trigger: JobsEnded) -> list[TriggerEvent]:
    async def scenario() -> list[TriggerEvent]:
        return [event async for event in trigger.run()]

    return asyncio.run(scenario())


def trigger(patience: float = 600) -> JobsEnded:
    return JobsEnded(REF, "g", 4, patience)


def test_it_comes_back_from_what_the_triggerer_keeps() -> None:
    path, arguments = trigger().serialize()
    assert path == f"{JobsEnded.__module__}.{JobsEnded.__qualname__}"
    again = JobsEnded(**json.loads(json.dumps(arguments)))
    assert again.serialize() == trigger().serialize()


def test_it_fires_once_when_nothing_is_queued_or_running(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Backend([counted(queued=4), counted(done=2, running=2), counted(done=3, failed=1)])
    opened = serve(monkeypatch, backend)
    assert events(trigger()) == [TriggerEvent({"status": "ended"})]
    assert len(backend.asked) >= 3
    assert opened == [(REF, False)]


def test_its_log_names_facility_and_user(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, Backend([counted(done=4)]))

    async def scenario() -> dict[str, Any]:
        async for _ in JobsEnded({**REF, "owner": "alice"}, "g", 4, 1, facility="cscs").run():
            return get_contextvars()
        raise AssertionError("it has not fired")

    assert asyncio.run(scenario()).items() >= {"facility": "cscs", "user": "alice"}.items()


@pytest.mark.parametrize("state", ["failed", "cancelled", "lost", "done"])
def test_jobs_that_ended_in_any_way_are_not_waited_for(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    serve(monkeypatch, Backend([counted(**{state: 4})]))
    assert events(trigger()) == [TriggerEvent({"status": "ended"})]


def test_a_batch_that_the_back_end_does_not_know_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, Backend([JobCounts()]))
    assert events(trigger()) == [TriggerEvent({"status": "ended"})]


def test_a_back_end_that_is_silent_for_too_long_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, Backend([ConnectionError("no route")]))
    assert events(trigger(patience=0)) == [TriggerEvent({"status": "silent", "message": "no route"})]


def test_a_back_end_that_comes_back_in_time_is_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, Backend([ConnectionError("no route"), counted(running=4), counted(done=4)]))
    assert events(trigger()) == [TriggerEvent({"status": "ended"})]


def test_triggers_of_one_back_end_and_user_share_its_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Backend([counted(done=4)])
    serve(monkeypatch, backend)

    async def ended(group: str) -> int:
        return len([e async for e in JobsEnded(REF, group, 4, 600).run()])

    async def scenario() -> list[int]:
        return await asyncio.gather(*(ended(f"g{n}") for n in range(50)))

    assert asyncio.run(scenario()) == [1] * 50
    assert len(backend.asked) < 50


def kill(monkeypatch: pytest.MonkeyPatch, backend: Backend) -> list[Any]:
    async def at_once(_seconds: float) -> None:
        """Take no time between two tries."""

    opened = serve(monkeypatch, backend)
    monkeypatch.setattr(asyncio, "sleep", at_once)
    asyncio.run(trigger().on_kill())
    return opened


@pytest.mark.parametrize("broken", [0, 1, CANCEL_TRIES - 1])
def test_a_kill_cancels_the_jobs_and_tries_again(monkeypatch: pytest.MonkeyPatch, broken: int) -> None:
    backend = Backend()
    backend.broken_cancels = broken
    assert kill(monkeypatch, backend) == [(REF, True)]
    assert backend.cancelled == ["g"] * (broken + 1)


def test_a_kill_tries_again_when_its_connection_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    backend, hiccups = Backend(), [ConnectionError("api-server away")] * 2

    async def open_backend(_ref: BackendRef, *, closing: bool) -> tuple[Backend, float]:
        if hiccups:
            raise hiccups.pop()
        return backend, 0.001

    async def at_once(_seconds: float) -> None:
        """Take no time between two tries."""

    monkeypatch.setattr(module, "backend_in_trigger", open_backend)
    monkeypatch.setattr(asyncio, "sleep", at_once)
    asyncio.run(trigger().on_kill())
    assert backend.cancelled == ["g"]


def test_a_kill_goes_on_when_airflow_cancels_the_trigger_again(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Backend()
    serve(monkeypatch, backend)
    let_go = asyncio.Event()

    async def slow(_trigger: Any) -> bool:
        await let_go.wait()
        return False

    monkeypatch.setattr(module, "is_taken_over", slow)

    async def scenario() -> None:
        killing = asyncio.create_task(trigger().on_kill())
        await asyncio.sleep(0)
        killing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await killing
        assert backend.cancelled == []
        let_go.set()
        await asyncio.gather(*module._AT_WORK)

    asyncio.run(scenario())
    assert backend.cancelled == ["g"]


def test_nothing_is_cancelled_when_another_triggerer_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    async def taken_over(_trigger: Any) -> bool:
        return True

    monkeypatch.setattr(module, "is_taken_over", taken_over)
    backend = Backend()
    assert kill(monkeypatch, backend) == []
    assert backend.cancelled == []


def test_a_cancel_that_never_works_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Backend()
    backend.broken_cancels = CANCEL_TRIES
    with pytest.raises(ConnectionError):
        kill(monkeypatch, backend)
    assert len(backend.cancelled) == CANCEL_TRIES


def test_jobs_that_no_credentials_reach_are_told_and_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    backend = Backend()
    backend.broken_cancels, backend.broken = CANCEL_TRIES, NEEDED
    logger = SimpleNamespace(error=lambda line, *values: told.append(line % values))
    monkeypatch.setattr(JobsEnded, "log", logger)
    kill(monkeypatch, backend)
    assert backend.cancelled == ["g"]
    assert told == [f"the jobs of batch g go on until their own limits: {NEEDED}"]


def marked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Gives what a trigger says of its run, each mark and progress."""
    told: list[str] = []

    async def show(_trigger: Any, mark: str) -> None:
        told.append(mark)

    async def show_progress(_trigger: Any, document: dict[str, Any]) -> None:
        told.append(document["text"])

    monkeypatch.setattr(standing, "show_mark", show)
    monkeypatch.setattr(standing, "show_progress", show_progress)
    return told


def test_a_login_that_has_ended_suspends_and_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    told = marked(monkeypatch)
    serve(monkeypatch, Backend([NEEDED, NEEDED, NEEDED, counted(running=4), counted(done=4)]))
    assert events(trigger(patience=0)) == [TriggerEvent({"status": "ended"})]
    assert told == [NEEDED.notice, SUSPENDED, ""]
    assert "alice logs in again" in NEEDED.notice
    assert "http://portal/credentials" in NEEDED.notice


def test_a_back_end_that_is_silent_for_a_while_makes_the_run_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    told = marked(monkeypatch)
    monkeypatch.setattr(standing, "UNKNOWN_AFTER_S", 0.0)
    serve(monkeypatch, Backend([ConnectionError("away"), ConnectionError("away"), counted(done=4)]))
    assert events(trigger()) == [TriggerEvent({"status": "ended"})]
    assert told == [UNKNOWN, ""]


def test_a_short_silence_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    told = marked(monkeypatch)
    serve(monkeypatch, Backend([ConnectionError("away"), counted(done=4)]))
    events(trigger())
    assert told == [""]


def test_progress_is_one_line_of_what_there_is() -> None:
    counts = counted(done=3, running=2, queued=3, lost=2, cancelled=1)
    assert (
        progress(counts, 10) == "jobs 3 of 10 done, 2 running, 3 queued, 1 attempt cancelled, 2 attempts lost"
    )
    assert progress(JobCounts(), 8) == "jobs 0 of 8 done"


def test_progress_says_which_files_running_jobs_move() -> None:
    counts = counted(done=3, running=2, queued=3)
    counts.stages = {"fetching inputs": Moves(1, 1, 3, 1_200_000_000, 4_000_000_000)}
    assert progress(counts, 8) == ("jobs 3 of 8 done, 2 running (1 fetching inputs: 1.2 of 4.0 GB), 3 queued")
    counts.stages["storing outputs"] = Moves(1, 0, 2, 0, 40)
    assert "(1 fetching inputs: 1.2 of 4.0 GB; 1 storing outputs: 0 of 40 B)" in progress(counts, 8)
    assert figures(counts, 8)["stages"]["storing outputs"] == {
        "jobs": 1,
        "files": 0,
        "of_files": 2,
        "bytes": 0,
        "of_bytes": 40,
    }


def test_figures_say_the_same_in_numbers() -> None:
    assert figures(counted(done=3, running=2, failed=1), 10) == {
        "text": "jobs 3 of 10 done, 2 running, 1 attempt failed",
        "of": 10,
        "done": 3,
        "running": 2,
        "queued": 0,
        "waiting": 0,
        "failed": 1,
        "cancelled": 0,
        "lost": 0,
        "stages": {},
    }


def test_progress_is_shown_once_for_each_change(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    async def show(_trigger: JobsEnded, document: dict[str, Any]) -> None:
        shown.append(document["text"])

    monkeypatch.setattr(module, "show_progress", show)
    serve(monkeypatch, Backend([counted(queued=4), counted(queued=4), counted(done=4)]))
    events(trigger())
    assert shown == ["jobs 0 of 4 done, 4 queued", "jobs 4 of 4 done"]


def test_a_back_end_that_refuses_for_good_is_not_borne_with(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, Backend([RefusedForGood("DiracX", "http://d", "401"), counted(done=4)]))
    (event,) = events(trigger())
    assert event.payload == {"status": "silent", "message": "DiracX at http://d refuses: 401"}


class Places:
    """Gives places as it is told; keeps what it was told of the jobs."""

    def __init__(self, *given: int | Exception) -> None:
        self.given = list(given)
        self.told: list[tuple[int, int]] = []

    def look(self, active: int, waiting: int) -> int:
        self.told.append((active, waiting))
        answer = self.given.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def limited(monkeypatch: pytest.MonkeyPatch, places: Places, waiting: int) -> JobsEnded:
    async def opened(_ref: Any, _batch: str) -> Places:
        return places

    monkeypatch.setattr("triggers.jobs.Places.aof", opened)
    ref: PlacesRef = {"facility": "lapalma", "experiment": "ctao", "user": "alice"}
    return JobsEnded(REF, "g", 4, 600, places=ref, waiting=waiting)


def test_jobs_that_wait_for_a_place_keep_it_waiting_until_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serve(monkeypatch, Backend([counted(running=2), counted(done=2)]))
    places = Places(0, BackendUnavailable("the broker", "http://portal", "down"), 0, 1)
    assert [e.payload for e in events(limited(monkeypatch, places, 2))] == [{"status": "places"}]
    assert places.told == [(2, 2), (0, 2), (0, 2), (0, 2)]


def test_places_that_become_free_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(
        monkeypatch,
        Backend([counted(running=2), counted(running=2), counted(running=1, done=1), counted(done=2)]),
    )
    places = Places(0, 0, 0)
    assert [e.payload for e in events(limited(monkeypatch, places, 0))] == [{"status": "ended"}]
    assert places.told == [(2, 0), (1, 0), (0, 0)]


def test_places_that_are_refused_for_too_long_end_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, Backend([counted(running=2)]))
    refusals = [BackendRefused("the broker", "http://portal", "no such facility")] * 3
    waiting = limited(monkeypatch, Places(*refusals), 2)
    waiting.patience = 0.0
    (event,) = events(waiting)
    assert event.payload["status"] == "silent"
    assert "no such facility" in event.payload["message"]


def test_places_are_told_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triggers.jobs.TELL_AGAIN_S", 0)
    serve(monkeypatch, Backend([counted(running=2), counted(running=2), counted(done=2)]))
    places = Places(0, 0, 0)
    events(limited(monkeypatch, places, 0))
    assert places.told == [(2, 0), (2, 0), (0, 0)]


def test_waiting_for_a_place_shows_in_the_progress() -> None:
    assert (
        progress(counted(done=1, running=1), 5, 3)
        == "jobs 1 of 5 done, 1 running, 3 waiting for a place at the facility"
    )
