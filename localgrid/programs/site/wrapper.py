"""What DIRAC's job wrapper does on a worker node: sandboxes, the payload's process, its limits, its end."""
# ruff: noqa: TID253  this runs in DiracX's environment

from __future__ import annotations

import asyncio
import json
import logging
import os
import shlex
import shutil
import signal
import sys
import time
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import IO

from DIRACCommon.Core.Utilities.ClassAd.ClassAdLight import ClassAd
from diracx.api.jobs import create_sandbox
from diracx.client.aio import AsyncDiracClient

from localgrid.programs.site import records
from localgrid.programs.site.access import Access, RefusedError, Who
from localgrid.programs.site.records import Record, Records
from localgrid.programs.site.reporter import Reporter, Step
from localgrid.programs.site.sandboxes import download

LOG = logging.getLogger("localgrid.site")
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
FINAL = {"Done", "Failed", "Killed", "Deleted"}
DEFAULT_LIMIT_S = 86_400
CACHED_SANDBOXES = 50
STAGE, STAGE_LENGTH, STAGE_S = "job-stage.txt", 200, 2.0  # where a payload says which files it moves


@dataclass(frozen=True)
class Description:
    """The parts of a JDL that a worker node needs."""

    executable: str
    arguments: tuple[str, ...]
    stdout: str
    stderr: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    limit_s: int

    @classmethod
    def parse(cls, jdl: str) -> Description:
        """Read a JDL.

        Raises:
            ValueError: quotes in Arguments do not match.

        """
        ad = ClassAd(jdl)
        return cls(
            executable=ad.getAttributeString("Executable"),
            arguments=tuple(shlex.split(ad.getAttributeString("Arguments") or "")),
            stdout=ad.getAttributeString("StdOutput") or "std.out",
            stderr=ad.getAttributeString("StdError") or "std.err",
            inputs=tuple(ad.getListFromExpression("InputSandbox")),
            outputs=tuple(ad.getListFromExpression("OutputSandbox")),
            limit_s=ad.getAttributeInt("CPUTime") or DEFAULT_LIMIT_S,
        )


def job_environment(record: Record, home: Path, software_area: Path) -> dict[str, str]:
    """The clean environment of a payload."""
    path = SYSTEM_PATH
    if not shutil.which("python3", path=path):  # the worker node has Python, as every worker node has
        path += f":{Path(sys.base_prefix) / 'bin'}"
    return {
        "PATH": path,
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "JOBID": str(record.job_id),
        "DIRACSITE": record.site,
        "DIRAC_SITE": record.site,
        f"VO_{record.vo.upper()}_SW_DIR": str(software_area),
        "ESAP_IMAGE_CACHE": str(software_area.parent / "images"),
    }


@dataclass
class Wrapper:
    """Runs jobs of the sites."""

    access: Access
    reporter: Reporter
    records: Records
    software_area: Path
    cache: Path
    kills: dict[int, asyncio.Event] = field(default_factory=dict)
    running_since: dict[int, float] = field(default_factory=dict)

    async def run(self, record: Record) -> None:
        """Bring a matched job to its end."""
        kill = self.kills[record.job_id] = asyncio.Event()
        try:
            try:
                description = Description.parse(record.jdl)
                await self._fetch(record, description)
            except (RefusedError, ValueError, OSError) as error:
                LOG.warning("job %s: cannot be prepared: %s", record.job_id, error)
                await self._end(record, Step("Failed", "Failed Downloading Input Sandbox", str(error)[:200]))
                return
            if await self.reporter.report(record.job_id, Step("Running", "Application")) != "Running":
                self.records.drop(record)  # killed before it began
                return
            if await self._payload(record, description, kill):
                await self.finish(record)
        except RefusedError as error:
            LOG.error("job %s: DiracX does not want it: %s", record.job_id, error)
            self.records.drop(record)
        finally:
            self.kills.pop(record.job_id, None)
            self.running_since.pop(record.job_id, None)

    async def finish(self, record: Record) -> None:
        """Deliver a finished job: output sandbox and last status. May be run again after a crash."""
        application = f"exit {record.exit_code}"
        step = Step("Completing", "Uploading Output Sandbox", application)
        if await self.reporter.report(record.job_id, step) in FINAL:
            self.records.drop(record)
            return
        outputs = Description.parse(record.jdl).outputs
        workdir = self.records.workdir(record.job_id)
        files = [workdir / name for name in outputs if (workdir / name).is_file()]
        try:
            await self._upload(record, files)
        except RefusedError as error:
            LOG.error("job %s: output sandbox refused: %s", record.job_id, error)
            await self._end(record, Step("Failed", "Failed Uploading Output Sandbox", application))
            return
        if record.exit_code == 0 and not record.minor_status:
            await self._end(record, Step("Done", "Execution Complete", application))
        else:
            minor = record.minor_status or "Application Finished With Errors"
            await self._end(record, Step("Failed", minor, application))

    async def _end(self, record: Record, step: Step) -> None:
        await self.reporter.report(record.job_id, step)
        self.records.drop(record)

    async def _fetch(self, record: Record, description: Description) -> None:
        workdir = self.records.workdir(record.job_id)
        shutil.rmtree(workdir, ignore_errors=True)
        workdir.mkdir()
        for sandbox in description.inputs:
            if sandbox.startswith(("SB:", "/S3/")):
                content = await self._cached(record, sandbox)
                shutil.copytree(content, workdir, dirs_exist_ok=True)
        program = workdir / description.executable
        if program.is_file():
            program.chmod(0o755)

    async def _cached(self, record: Record, sandbox: str) -> Path:
        """The content of a sandbox; all jobs of a batch share one, so it is fetched once."""
        name = sha256(sandbox.encode()).hexdigest()[:32]
        content = self.cache / name
        if content.is_dir():
            os.utime(content)
            return content
        temporary = self.cache / f".{name}.{record.job_id}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        who = Who(record.vo, record.owner, record.group)
        await self.access.call(who, lambda client: download(sandbox, temporary, client))
        try:
            temporary.rename(content)
        except OSError:  # another job of the batch was first
            shutil.rmtree(temporary)
        self._trim()
        return content

    def _trim(self) -> None:
        kept = sorted(self.cache.glob("[!.]*"), key=lambda p: p.stat().st_mtime, reverse=True)
        for old in kept[CACHED_SANDBOXES:]:
            shutil.rmtree(old, ignore_errors=True)

    async def _payload(self, record: Record, description: Description, kill: asyncio.Event) -> bool:
        """Run the payload's process; False when the job was killed, so that nothing is left to report."""
        workdir = self.records.workdir(record.job_id)
        program = workdir / description.executable
        command = [str(program) if program.is_file() else description.executable, *description.arguments]
        environment = job_environment(record, workdir, self.software_area)
        with (
            (workdir / description.stdout).open("wb") as out,
            (workdir / description.stderr).open("wb") as err,
        ):
            try:
                process = await self._spawn(command, workdir, environment, out, err)
            except OSError as error:
                err.write(f"cannot start {command[0]}: {error}\n".encode())
                record.state, record.exit_code = records.FINISHED, 127
                record.minor_status = "Application Failed To Start"
                self.records.save(record)
                return True
        record.state, record.pid = records.RUNNING, process.pid
        record.started_ticks = records.start_ticks(process.pid)
        self.records.save(record)
        self.running_since[record.job_id] = time.monotonic()
        killed = await self._wait(process, record, kill, description.limit_s)
        if killed:
            self.records.drop(record)
            return False
        record.state, record.exit_code = records.FINISHED, process.returncode or 0
        self.records.save(record)
        return True

    async def _spawn(
        self, command: list[str], workdir: Path, environment: dict[str, str], out: IO[bytes], err: IO[bytes]
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=workdir,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )

    async def _wait(
        self, process: asyncio.subprocess.Process, record: Record, kill: asyncio.Event, limit_s: float
    ) -> bool:
        """Wait for the end, the kill or the limit; the whole process group is gone afterwards."""
        end, killed = asyncio.create_task(process.wait()), asyncio.create_task(kill.wait())
        telling = asyncio.create_task(self._tell_stage(record.job_id))
        done, _ = await asyncio.wait({end, killed}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        killed.cancel()
        telling.cancel()
        if not done:
            record.minor_status = "Watchdog identified this job as stalled: CPUTime exceeded"
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            LOG.debug("job %s: nothing left of its process group", record.job_id)
        await end
        return kill.is_set() and killed in done

    async def _tell_stage(self, job_id: int) -> None:
        """Report which files the payload's process moves, as it says so in its directory, until cancelled."""
        path, told = self.records.workdir(job_id) / STAGE, ""
        while True:
            await asyncio.sleep(STAGE_S)
            try:
                stage = path.read_text(errors="replace")[:STAGE_LENGTH]
            except FileNotFoundError:
                stage = ""
            if stage == told:
                continue
            try:
                await self.reporter.report(job_id, Step(application=stage or "moves no files"))
            except RefusedError as error:
                LOG.warning("job %s: its stage is refused: %s", job_id, error)
                return
            told = stage

    async def _upload(self, record: Record, files: list[Path]) -> None:
        if not files:
            return
        who = Who(record.vo, record.owner, record.group)
        pfn = await self.access.call(who, lambda client: create_sandbox(files, client=client))

        async def assign(client: AsyncDiracClient) -> None:
            # The body must be a JSON string in its own right.
            await client.jobs.assign_sandbox_to_job(record.job_id, json.dumps(pfn))

        await self.access.call(who, assign)
