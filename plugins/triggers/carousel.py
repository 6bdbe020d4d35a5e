"""Waiting until a campaign has something to do, in the triggerer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from airflow.sdk.bases.hook import BaseHook
from airflow.triggers.base import BaseTrigger, TriggerEvent
from structlog.contextvars import bind_contextvars

from esap_batch.jobs import JobState
from hooks.backends import BackendRef, backend_in_trigger, poll_interval
from hooks.broker import LoginNeeded
from hooks.errors import RefusedForGood
from hooks.lake_bulk import BulkLake
from hooks.rucio_lake import RucioLake, RucioSettings
from hooks.settings import LAKE_CONNECTION
from triggers.jobs import cancel_batches
from triggers.poller import BulkPoller
from triggers.standing import Standing
from triggers.takeover import note_try
from triggers.tally import TALLY

RECALLS = "recalls"
RESTART_S = 10.0  # before a watcher that has died is started again
PACE_S = 10.0  # a turn costs a worker seconds, so changes are gathered for as long
RENEW_S = 86400.0  # each turn renews the recalls


class CarouselMoves(BaseTrigger):
    """Fires when jobs have ended or recalls got on, at once if nothing else is under way; else once a day.

    :param ref: back end and identity. :param groups: batches with jobs under way.
    :param tag: of the run's recalls, or nothing when there are none.
    :param recalls: what `BulkLake.recall_states` said of them at the last turn.
    :param running: number of jobs that were under way.
    :param releasing: room on disk or a place at the facility is waited for, of which there is no news: fires
        after `PACE_S` at the latest.
    :param patience: seconds to bear with systems that do not answer.
    :param facility: under which name the jobs are counted; the connection's without one.
    """

    def __init__(
        self,
        ref: BackendRef,
        groups: Sequence[str],
        tag: str,
        recalls: str,
        running: int,
        releasing: bool,
        patience: float,
        facility: str = "",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ref, self.groups, self.tag, self.recalls = ref, list(groups), tag, recalls
        self.running, self.releasing, self.patience = running, releasing, patience
        self.facility = facility or ref["connection"]

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = ("ref", "groups", "tag", "recalls", "running", "releasing", "patience", "facility")
        return "triggers.carousel.CarouselMoves", {n: getattr(self, n) for n in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll together with all other runs of this back end, identity and lake."""
        bind_contextvars(facility=self.facility, user=self.ref.get("owner", ""))  # in all that it logs
        await note_try(self)
        self._news, began = asyncio.Event(), time.monotonic()
        self._alive, self._state = dict.fromkeys(self.groups, -1), self.recalls
        self._heard = dict.fromkeys([*self.groups, *([RECALLS] if self.tag else [])], began)
        self._refusal, self._standing = "", Standing(self)
        self._died: dict[str, str] = {}
        watchers: dict[str, Callable[[], Coroutine[Any, Any, None]]]
        watchers = {group: partial(self._watch_jobs, group) for group in self.groups}
        if self.tag:
            watchers[RECALLS] = self._watch_recalls
        watching = [asyncio.create_task(self._keep_up(name, watch)) for name, watch in watchers.items()]
        try:
            yield await self._wait(began)
        finally:
            for task in watching:
                task.cancel()

    async def _wait(self, began: float) -> TriggerEvent:
        while True:
            now = time.monotonic()
            waited = now - began
            moved = waited >= PACE_S and (self.releasing or self._has_moved())
            if moved or waited >= RENEW_S or self._is_all_over():
                return TriggerEvent({"status": "moved"})
            if why := self._silence(now):
                return TriggerEvent({"status": "silent", "message": why})
            news = asyncio.create_task(self._news.wait())
            await asyncio.wait([news], timeout=PACE_S - waited if waited < PACE_S else PACE_S)
            news.cancel()
            self._news.clear()

    def _silence(self, now: float) -> str:
        """Say who has not answered for too long, or will not answer at all."""
        silent = [name for name, heard in self._heard.items() if now - heard > self.patience]
        if silent:
            who = "Rucio does" if silent == [RECALLS] else "the facility's job service does"
            causes = [self._died[name] for name in silent if name in self._died]
            return "; ".join([f"{who} not answer since {self.patience:.0f} s", *causes[:1]])
        return self._refusal

    def _has_moved(self) -> bool:
        known = [n for n in self._alive.values() if n >= 0]
        return self._state != self.recalls or (len(known) == len(self.groups) and sum(known) < self.running)

    def _is_all_over(self) -> bool:
        """Say whether nothing is left to wait for: no job, no recall on its way."""
        return (
            all(n == 0 for n in self._alive.values())
            and "REPLICATING" not in self._state
            and self._has_moved()
        )

    async def _keep_up(self, source: str, watch: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start a watcher that has died again, as of a failed look-up: it is silent until it has news."""
        while True:
            try:
                await watch()
            except Exception as error:
                self._died[source] = f"{type(error).__name__}: {error}"
                self._miss(RECALLS if source == RECALLS else "jobs", error)
            await asyncio.sleep(RESTART_S)

    async def _watch_jobs(self, group: str) -> None:
        backend, interval = await backend_in_trigger(self.ref)
        poller = BulkPoller.shared(
            tuple(sorted(self.ref.items())), backend.counts, interval, "jobs", self.ref["connection"]
        )
        with TALLY.watching(self.facility, group):
            async for answer in poller.answers(group):
                if isinstance(answer, LoginNeeded):
                    self._heard[group] = time.monotonic()
                    await self._standing.suspended(answer)
                    continue
                if isinstance(answer, Exception):
                    self._miss("jobs", answer)
                    await self._standing.silent()
                    continue
                TALLY.tell(self.facility, group, answer)
                await self._standing.well()
                self._alive[group] = answer[JobState.QUEUED] + answer[JobState.RUNNING]
                self._tell(group)

    async def _watch_recalls(self) -> None:
        connection = await BaseHook.aget_connection(LAKE_CONNECTION)
        lake = BulkLake(RucioLake(RucioSettings.of(connection)))
        every = poll_interval(connection)
        poller = BulkPoller.shared(RECALLS, lake.recall_states, every, RECALLS, LAKE_CONNECTION)
        async for answer in poller.answers(self.tag):
            if isinstance(answer, Exception):
                self._miss(RECALLS, answer)
                continue
            self._state = answer
            self._tell(RECALLS)

    def _tell(self, source: str) -> None:
        self._heard[source] = time.monotonic()
        self._died.pop(source, None)
        self._news.set()

    def _miss(self, what: str, error: Exception) -> None:
        self.log.warning("no news of the %s: %s", what, error)
        if isinstance(error, RefusedForGood):
            self._refusal = str(error)
            self._news.set()

    async def on_kill(self) -> None:
        """Cancel the jobs: a user has cleared, failed or ended the waiting task by hand."""
        await cancel_batches(self, self.ref, self.groups)
