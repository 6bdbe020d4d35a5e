"""Answers that wait for a job to change (UWS 1.1, section 2.2.1.1)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from portal.core.phases import Phase
from portal.core.watch import watch

if TYPE_CHECKING:
    from starlette.requests import Request

    from portal.core.jobs import JobView
    from portal.core.service import Jobs

LONGEST_S = 300  # for which a client is kept waiting; WAIT=-1 asks for as long as the server will
FOREVER = -1


async def waited(job: JobView, jobs: Jobs, request: Request, seconds: int, phase: Phase | None) -> JobView:
    """Give the job when its phase has changed, or when the time is over.

    Only phases that change by themselves are waited for, and with `phase` only that one.
    """
    if not job.phase.is_active or (phase is not None and phase is not job.phase):
        return job
    within = LONGEST_S if seconds == FOREVER else min(seconds, LONGEST_S)
    news = asyncio.create_task(watch.changed(job.id, job.phase, within, jobs.user.get_name()))
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({news, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        news.cancel()
        gone.cancel()
    return await jobs.get(job.id)


async def _gone(request: Request) -> None:
    """Return when the client has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
