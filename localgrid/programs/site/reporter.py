"""Reports of job statuses: what many jobs have to say at the same time goes out in one call, in order."""
# ruff: noqa: TID253  this runs in DiracX's environment

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from diracx.client.aio import AsyncDiracClient

from localgrid.programs.site.access import Access, RefusedError, Who, as_dict

LOG = logging.getLogger("localgrid.site")
AT_MOST = 200  # jobs in one call


@dataclass(frozen=True)
class Step:
    """One status that a job takes; what is empty stays as it was."""

    status: str = ""
    minor: str = ""
    application: str = ""

    def body(self) -> dict[str, str]:
        told = {"Status": self.status, "MinorStatus": self.minor, "ApplicationStatus": self.application}
        return {"Source": "JobWrapper", **{name: word for name, word in told.items() if word}}


@dataclass(frozen=True)
class _Report:
    job_id: int
    times: tuple[datetime, ...]
    steps: tuple[Step, ...]
    answer: asyncio.Future[str]


class Reporter:
    """Sends the reports of all jobs, by the pilot's identity."""

    def __init__(self, access: Access, pilot: Who) -> None:
        self.access, self.pilot = access, pilot
        self.queue: asyncio.Queue[_Report] = asyncio.Queue()
        self._latest = datetime.now(UTC)

    async def report(self, job_id: int, *steps: Step) -> str:
        """Report statuses; return the status that the job then has, the old one when DiracX refused.

        Raises:
            RefusedError: DiracX knows no such job.

        """
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.queue.put_nowait(_Report(job_id, tuple(self._now() for _ in steps), steps, answer))
        return await answer

    def _now(self) -> datetime:
        """The time, later than every time given out before: DiracX orders statuses by it."""
        self._latest = max(datetime.now(UTC), self._latest + timedelta(microseconds=1))
        return self._latest

    async def run(self) -> None:
        """Send reports for ever."""
        while True:
            reports = [await self.queue.get()]
            while not self.queue.empty() and len(reports) < AT_MOST:
                reports.append(self.queue.get_nowait())
            await self._send(reports)

    async def _send(self, reports: list[_Report]) -> None:
        try:
            success = await self._call(reports)
        except RefusedError as error:
            if len(reports) == 1:
                LOG.error("job %s: report refused: %s", reports[0].job_id, error)
                if not reports[0].answer.cancelled():
                    reports[0].answer.set_exception(error)
                return
            for report in reports:  # one missing job makes DiracX refuse all
                await self._send([report])
            return
        for report in reports:
            if not report.answer.cancelled():
                report.answer.set_result(str(success.get(str(report.job_id), {}).get("status", "")))

    async def _call(self, reports: list[_Report]) -> dict[str, dict[str, Any]]:
        body: dict[str, Any] = {}  # plain JSON does in place of the client's model classes
        for report in reports:
            steps = zip(report.times, report.steps, strict=True)
            body.setdefault(str(report.job_id), {}).update({t.isoformat(): s.body() for t, s in steps})

        async def patch(client: AsyncDiracClient) -> Any:
            return await client.jobs.set_job_statuses(body)

        answer = as_dict(await self.access.call(self.pilot, patch))
        success: dict[str, dict[str, Any]] = answer.get("success", {})
        return success
