"""Entry point of the site stand-in; see the package for what it is."""
# ruff: noqa: TID253  this runs in DiracX's environment

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diracx.client.aio import AsyncDiracClient

from localgrid.programs.beat import write_beat
from localgrid.programs.site import records
from localgrid.programs.site.access import Access, RefusedError, Who
from localgrid.programs.site.catalog import Catalog, FoundJob
from localgrid.programs.site.records import Record, Records
from localgrid.programs.site.reporter import Reporter, Step
from localgrid.programs.site.wrapper import Wrapper

LOG = logging.getLogger("localgrid.site")
HEARTBEAT_S = 2.0  # DiracX takes no two heartbeats of a job in one second
BEAT_S = 1.0
CHECKED_AT_ONCE = 100
STALLED = Step("Failed", "Stalled", "the site was restarted")


@dataclass
class Site:
    """The sites, their slots, and the jobs in them."""

    slots: dict[str, int]
    poll_s: float
    access: Access
    reporter: Reporter
    catalog: Catalog
    wrapper: Wrapper
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: dict[asyncio.Task[None], tuple[str, int]] = field(default_factory=dict)

    async def recover(self) -> None:
        """After a restart: deliver what was finished, end what was underway, kill what still runs of it."""
        known = set()
        for record in self.wrapper.records.load():
            known.add(record.job_id)
            if record.state == records.FINISHED:
                self.start(record, self.wrapper.finish(record))
                continue
            if records.kill_group(record):
                LOG.warning("job %s: its processes were still there and were killed", record.job_id)
            self.start(record, self.stall(record))
        for job in await self.catalog.underway(tuple(self.slots)):
            if job.job_id not in known:
                record = Record(job.job_id, job.site, job.vo, job.owner, job.group, "")
                self.start(record, self.stall(record))

    async def stall(self, record: Record) -> None:
        if await self.catalog.status(record.job_id) in ("Matched", "Running", "Completing"):
            LOG.warning("job %s: stalled", record.job_id)
            await self.reporter.report(record.job_id, STALLED)
        self.wrapper.records.drop(record)

    async def run(self) -> None:
        """Check and match jobs for ever."""
        while True:
            moved = await self.check()
            for site in self.slots:
                moved += await self.match(site)
            if not moved:
                self.wake.clear()
                try:
                    await asyncio.wait_for(self.wake.wait(), self.poll_s)
                except TimeoutError:
                    continue

    async def check(self) -> int:
        """What DIRAC's optimizers do: let new jobs wait."""
        jobs = await self.catalog.received(CHECKED_AT_ONCE)
        steps = (Step("Checking", "JobSanity"), Step("Waiting", "Pilot Agent Submission"))
        results = await asyncio.gather(
            *(self.reporter.report(job.job_id, *steps[job.status == "Checking" :]) for job in jobs),
            return_exceptions=True,
        )
        return sum(result == "Waiting" for result in results)

    async def match(self, site: str) -> int:
        """Fill the free slots of a site."""
        free = self.slots[site] - sum(place == site for place, _ in self.tasks.values())
        if free <= 0:
            return 0
        busy = {job_id for _, job_id in self.tasks.values()}
        jobs = [job for job in await self.catalog.waiting(site, free) if job.job_id not in busy]
        jdls = await self.catalog.jdls([job.job_id for job in jobs])
        results = await asyncio.gather(*(self.take(job, site, jdls[job.job_id]) for job in jobs))
        return sum(results)

    async def take(self, job: FoundJob, site: str, jdl: str) -> bool:
        """Match one job; False when somebody was faster (a kill, say)."""
        record = Record(job.job_id, site, job.vo, job.owner, job.group, jdl)
        self.wrapper.records.save(record)

        async def place(client: AsyncDiracClient) -> None:
            await client.jobs.patch_metadata(
                {str(job.job_id): {"Site": site, "HostName": os.uname().nodename}}
            )

        try:
            status = await self.reporter.report(job.job_id, Step("Matched", "Job Received by Agent"))
            if status != "Matched":
                self.wrapper.records.drop(record)
                return False
            await self.access.call(self.reporter.pilot, place)
        except RefusedError as error:
            LOG.error("job %s: cannot be matched: %s", job.job_id, error)
            self.wrapper.records.drop(record)
            return False
        self.start(record, self.wrapper.run(record))
        return True

    def start(self, record: Record, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks[task] = (record.site, record.job_id)
        task.add_done_callback(self.ended)

    def ended(self, task: asyncio.Task[None]) -> None:
        _, job_id = self.tasks.pop(task)
        self.wake.set()
        if not task.cancelled() and (error := task.exception()):
            # Its record stays: the next start of the site ends the job.
            LOG.error("job %s: the site failed on it", job_id, exc_info=error)

    async def heartbeats(self) -> None:
        """Tell DiracX of the running jobs, all in one call, and obey its commands."""
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            since = dict(self.wrapper.running_since)
            if not since:
                continue
            body = {
                str(job): {"WallClockTime": round(time.monotonic() - start, 1)}
                for job, start in since.items()
            }

            async def beat(client: AsyncDiracClient, body: Any = body) -> list[object]:
                return list(await client.jobs.add_heartbeat(body))

            try:
                commands = await self.access.call(self.reporter.pilot, beat)
            except RefusedError as error:
                LOG.warning("heartbeats refused: %s", error)
                continue
            for command in commands:
                if getattr(command, "command", "") == "Kill":
                    self.kill(int(getattr(command, "job_id", 0)))

    def kill(self, job_id: int) -> None:
        LOG.info("job %s: kill", job_id)
        if event := self.wrapper.kills.get(job_id):
            event.set()

    async def beats(self, path: Path) -> None:
        while True:
            write_beat(path, jobs=len(self.tasks), diracx=self.access.last_error)
            await asyncio.sleep(BEAT_S)

    def kill_all(self) -> None:
        """On the way out: nothing of ours goes on. The next start reports these jobs as stalled."""
        for record in self.wrapper.records.load():
            if record.state == records.RUNNING:
                records.kill_group(record)


async def serve(options: argparse.Namespace) -> None:
    """Run the sites until a signal, or until a part of them falls over."""
    state: Path = options.state
    for name in ("credentials", "sandboxes"):
        (state / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    access = Access(os.environ["DIRACX_URL"], options.key_file.read_text().strip(), state / "credentials")
    reporter = Reporter(access, Who(options.vo, "pilot", f"{options.vo}_pilot"))
    wrapper = Wrapper(access, reporter, Records(state / "jobs"), options.software_area, state / "sandboxes")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Catalog() as catalog:
        site = Site(dict(options.slots), options.poll, access, reporter, catalog, wrapper)
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(reporter.run()),
            asyncio.create_task(site.heartbeats()),
            asyncio.create_task(site.beats(options.beat)),
        ]
        await site.recover()
        tasks += [asyncio.create_task(site.run()), asyncio.create_task(stop.wait())]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        site.kill_all()
        for task in (*tasks, *site.tasks):
            task.cancel()
        await access.close()
        for task in done:
            task.result()  # a task that fell over brings the service down, and its trace into the log


def slots(text: str) -> tuple[str, int]:
    """Read SITE=NUMBER."""
    site, _, number = text.partition("=")
    return site, int(number)


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description="Stand-in of DIRAC's matcher, pilots and sites")
    parser.add_argument("--state", type=Path, required=True, help="directory of the site")
    parser.add_argument("--beat", type=Path, required=True, help="heartbeat file to write")
    parser.add_argument("--key-file", type=Path, required=True, help="DiracX's legacy exchange key")
    parser.add_argument("--software-area", type=Path, required=True, help="software area of the VO")
    parser.add_argument("--vo", required=True)
    parser.add_argument("--slots", type=slots, action="append", required=True, metavar="SITE=NUMBER")
    parser.add_argument("--poll", type=float, default=0.5, help="seconds between looks for new jobs")
    options = parser.parse_args()
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s", force=True
    )
    LOG.setLevel(logging.INFO)
    asyncio.run(serve(options))


if __name__ == "__main__":
    main()
