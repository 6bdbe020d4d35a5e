"""Waiting for jobs to change: one query a turn for all clients that wait, and no thread for any."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import defaultdict

from starlette.concurrency import run_in_threadpool

from portal.core import jobs
from portal.core.phases import Phase
from store.sessions import transaction

log = logging.getLogger(__name__)
TURN_S = 0.5
MOST_OF_ONE = 200  # requests of one user that wait in a process: each holds a connection


class Watch:
    """Wakes those who wait for a job's phase to change. One for each process."""

    def __init__(self, turn: float = TURN_S) -> None:
        self._turn = turn
        self._waiting: dict[int, set[asyncio.Future[Phase | None]]] = defaultdict(set)
        self._known: dict[asyncio.Future[Phase | None], tuple[Phase, str]] = {}
        self._task: asyncio.Task[None] | None = None

    async def changed(self, job_id: int, known: Phase, within: float | None, user: str) -> None:
        """Return when the job's phase is another than `known`, or after so many seconds.

        At once when so many requests of the user wait already: a service may wait for less than it was asked.
        """
        if sum(whose == user for _known, whose in self._known.values()) >= MOST_OF_ONE:
            return
        future: asyncio.Future[Phase | None] = asyncio.get_running_loop().create_future()
        self._waiting[job_id].add(future)
        self._known[future] = known, user
        if self._task is None or self._task.done():
            # A context of its own: the turns serve all callers and see all jobs.
            self._task = asyncio.create_task(self._watch(), context=contextvars.Context())
        try:
            await asyncio.wait({future}, timeout=within)
        finally:
            self._forget(job_id, future)

    def _forget(self, job_id: int, future: asyncio.Future[Phase | None]) -> None:
        future.cancel()
        self._known.pop(future, None)
        self._waiting[job_id].discard(future)
        if not self._waiting[job_id]:
            del self._waiting[job_id]

    async def _watch(self) -> None:
        while self._waiting:
            await asyncio.sleep(self._turn)
            try:
                found = await run_in_threadpool(_phases, list(self._waiting))
            except Exception:  # the database is away: those who wait are told when it is back
                log.exception("no news of %d jobs that are waited for", len(self._waiting))
                continue
            for job_id, futures in list(self._waiting.items()):
                for future in list(futures):
                    if not future.done() and found.get(job_id) != self._known[future][0]:
                        future.set_result(found.get(job_id))


def _phases(job_ids: list[int]) -> dict[int, Phase]:
    with transaction() as session:
        return jobs.phases(session, job_ids)


watch = Watch()
