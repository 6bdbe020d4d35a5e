"""Waiting for a batch of jobs, in the triggerer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from structlog.contextvars import bind_contextvars

from esap_batch.jobs import JobBackend, JobCounts, JobState
from hooks.backends import BackendRef, backend_in_trigger
from hooks.broker import LoginNeeded
from hooks.errors import BackendRefused, BackendUnavailable, RefusedForGood
from hooks.places import Places, PlacesRef
from triggers.poller import BulkPoller
from triggers.progress import show_progress
from triggers.standing import Standing
from triggers.takeover import is_taken_over, note_try
from triggers.tally import TALLY

CANCEL_TRIES = 5
TELL_AGAIN_S = 3600  # of jobs that have places, though nothing has changed
_AT_WORK: set[asyncio.Task[None]] = set()  # the loop itself keeps no task alive


class JobsEnded(BaseTrigger):
    """Fires when no job of a batch is queued or running, or its back end refuses or is silent too long.

    :param ref: back end and identity.
    :param group: the batch.
    :param total: number of its jobs, for the progress that it logs.
    :param patience: seconds to bear with a back end that does not answer.
    :param places: how to ask for places of a facility that has a limited number of them.
    :param waiting: jobs that wait for one; it fires as soon as any may be submitted.
    :param facility: under which name the jobs are counted; the connection's without one.
    """

    def __init__(
        self,
        ref: BackendRef,
        group: str,
        total: int,
        patience: float,
        places: PlacesRef | None = None,
        waiting: int = 0,
        facility: str = "",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ref, self.group, self.total, self.patience = ref, group, total, patience
        self.places, self.waiting, self.facility = places, waiting, facility or ref["connection"]
        self._told: int | None = None
        self._told_at, self._refusal = time.monotonic(), ""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = ("ref", "group", "total", "patience", "places", "waiting", "facility")
        return "triggers.jobs.JobsEnded", {n: getattr(self, n) for n in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll together with all other batches of this back end and identity."""
        bind_contextvars(facility=self.facility, user=self.ref.get("owner", ""))  # in all that it logs
        await note_try(self)
        poller, standing = await self._poller(), Standing(self)
        heard, shown = time.monotonic(), ""
        with TALLY.watching(self.facility, self.group):
            async for answer in poller.answers(self.group):
                if isinstance(answer, LoginNeeded):
                    await self._keep_places()
                    await standing.suspended(answer)
                    heard, shown = time.monotonic(), ""
                    continue
                if isinstance(answer, Exception):
                    self.log.warning("no news of the jobs: %s", answer)
                    if time.monotonic() - heard > self.patience or isinstance(answer, RefusedForGood):
                        yield TriggerEvent({"status": "silent", "message": str(answer)})
                        return
                    await standing.silent()
                    continue
                heard = time.monotonic()
                TALLY.tell(self.facility, self.group, answer)
                await standing.well()
                alive = answer[JobState.QUEUED] + answer[JobState.RUNNING]
                if (words := progress(answer, self.total, self.waiting)) != shown:
                    self.log.info("%s", words)
                    await show_progress(self, figures(answer, self.total, self.waiting))
                    shown = words
                if await self._has_places(alive):
                    yield TriggerEvent({"status": "places"})
                    return
                if self._refused_for(self.patience):
                    yield TriggerEvent({"status": "silent", "message": self._refusal})
                    return
                if not alive and not self.waiting:
                    yield TriggerEvent({"status": "ended"})
                    return

    async def _has_places(self, alive: int) -> bool:
        """Tell how many jobs there are, when that has changed or more wait; say whether more may come."""
        is_known = alive == self._told and time.monotonic() - self._told_at < TELL_AGAIN_S
        if not self.places or (not self.waiting and is_known):
            return False
        places = await Places.aof(self.places, self.group)
        assert places is not None
        try:
            free = await asyncio.to_thread(places.look, alive, self.waiting)
        except (BackendUnavailable, BackendRefused) as error:
            self.log.warning("no news of places: %s", error)
            self._refusal = str(error)
            return False
        self._told, self._told_at, self._refusal = alive, time.monotonic(), ""
        return free > 0

    def _refused_for(self, patience: float) -> bool:
        """Say whether jobs wait for places of which there was no news for too long."""
        return bool(self.waiting and self._refusal and time.monotonic() - self._told_at > patience)

    async def _keep_places(self) -> None:
        """Tell again of jobs whose state cannot be seen now, so that their places are not given to others."""
        if self._told is not None:
            await self._has_places(self._told)

    async def _poller(self) -> BulkPoller[JobCounts]:
        backend, interval = await backend_in_trigger(self.ref)
        return BulkPoller.shared(
            tuple(sorted(self.ref.items())), backend.counts, interval, "jobs", self.ref["connection"]
        )

    async def on_kill(self) -> None:
        """Cancel the jobs: a user has cleared, failed or ended the waiting task by hand."""
        await cancel_batches(self, self.ref, [self.group])


async def cancel_batches(trigger: BaseTrigger, ref: BackendRef, groups: Sequence[str]) -> None:
    """Kill what is queued or running of these batches; tries again for a while when that does not work.

    Not when the trigger only goes on in another triggerer. Airflow cancels a trigger that it ends anew each
    second, and takes no notice of what that interrupts: so the work is a task of its own.
    """
    work = asyncio.create_task(_cancel_batches(trigger, ref, groups))
    _AT_WORK.add(work)
    work.add_done_callback(_AT_WORK.discard)
    await asyncio.shield(work)


async def _cancel_batches(trigger: BaseTrigger, ref: BackendRef, groups: Sequence[str]) -> None:
    """Do what `cancel_batches` says.

    When the user's login has ended and the service has no credentials of its own, the jobs cannot be reached.
    """
    if await is_taken_over(trigger):
        trigger.log.info("another triggerer watches from here on; nothing is cancelled")
        return
    backend: JobBackend | None = None
    for group in groups:
        for left in reversed(range(CANCEL_TRIES)):
            try:
                backend = backend or (await backend_in_trigger(ref, closing=True))[0]
                killed = await asyncio.to_thread(backend.cancel, group)
            except LoginNeeded as needed:
                trigger.log.error("the jobs of batch %s go on until their own limits: %s", group, needed)
                break
            except Exception:
                if not left:
                    raise
                trigger.log.exception("could not cancel batch %s yet", group)
                await asyncio.sleep(1)
            else:
                trigger.log.info("cancelled %d jobs of batch %s", killed, group)
                break


def progress(counts: JobCounts, total: int, waiting: int = 0) -> str:
    """Say how far a batch is, in one line: `jobs 3 of 8 done, 2 running, 3 queued, 1 attempt failed`.

    Of those that run it says which files they move: `2 running (1 fetching inputs: 1.2 of 4.0 GB)`.
    `waiting` jobs are not submitted, for lack of a place at the facility.
    """
    parts = [f"jobs {counts[JobState.DONE]} of {total} done"]
    moves = "; ".join(one.words(stage) for stage, one in sorted(counts.stages.items()))
    running = f"running ({moves})" if moves else "running"
    active = ((JobState.RUNNING, running), (JobState.QUEUED, "queued"))
    parts += [f"{counts[state]} {words}" for state, words in active if counts[state]]
    parts += [f"{waiting} waiting for a place at the facility"] if waiting else []
    ended = (JobState.FAILED, JobState.CANCELLED, JobState.LOST)
    parts += [f"{counts[s]} attempt{'s' * (counts[s] > 1)} {s.lower()}" for s in ended if counts[s]]
    return ", ".join(parts)


def figures(counts: JobCounts, total: int, waiting: int = 0) -> dict[str, Any]:
    """Say the same for the XCom `progress`: `{"text", "done", "of", "running", "queued", "waiting", ...}`.

    `stages` has files and bytes of those that move them.
    """
    states = {state.lower(): counts[state] for state in JobState}
    stages = {stage: asdict(moves) for stage, moves in counts.stages.items()}
    text = progress(counts, total, waiting)
    return {"text": text, "of": total, **states, "waiting": waiting, "stages": stages}
