"""DIRAC's workload management through DiracX, as a `JobBackend`."""

from __future__ import annotations

import asyncio
import fcntl
import io
import json
import logging
import os
import re
import tarfile
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esap_batch.jobs import (
    RECENT_S,
    Attempt,
    Batch,
    JobCounts,
    JobState,
    Limits,
    Load,
    job_name,
    parse_job_name,
)
from esap_batch.retries import duplicates
from esap_batch.stages import Moves, parse_stage
from hooks.broker import BROKER_CONNECTION, Broker, LoginNeeded, Token, dirac_system
from hooks.errors import BackendRefused, BackendUnavailable, RefusedForGood
from hooks.site_programs import RUNNER, file_name, packed

if TYPE_CHECKING:
    from airflow.sdk import Connection
    from diracx.client.aio import AsyncDiracClient
    from diracx.client.sync import SyncDiracClient

LOG = logging.getLogger(__name__)
SYSTEM = "DiracX"
JOBS_PER_POST = 20  # DiracX's own limit on submit_jdl_jobs
POSTS_IN_FLIGHT = 4
SANDBOXES_IN_FLIGHT = 16
SANDBOX_TIMEOUT_S = 60
ROWS_PER_PAGE = 10_000  # DiracX's own limit on a search
SERVER_FAULT = 500
# How far ahead a worker node's clock is taken to be, at most, one after the other.
CLOCKS_AHEAD = (timedelta(0), timedelta(seconds=10), timedelta(minutes=10), timedelta(days=1))
NO_RIGHTS, TOO_EARLY = (401, 403), (408, 429)  # HTTP answers that never heal, and that do
OVERHEAD_S = 600  # for sandboxes, inputs, validation and upload: the runner itself limits the payload

# DIRAC's job state machine. A status that is not here counts as running: it may still change, and it must
# never pass for success.
STATES: Mapping[str, JobState] = {
    "Submitting": JobState.QUEUED,
    "Received": JobState.QUEUED,
    "Checking": JobState.QUEUED,
    "Staging": JobState.QUEUED,
    "Scouting": JobState.QUEUED,
    "Waiting": JobState.QUEUED,
    "Matched": JobState.QUEUED,
    "Rescheduled": JobState.QUEUED,
    "Running": JobState.RUNNING,
    "Stalled": JobState.RUNNING,
    "Completing": JobState.RUNNING,
    "Completed": JobState.RUNNING,
    "Done": JobState.DONE,
    "Failed": JobState.FAILED,
    "Killed": JobState.CANCELLED,
    "Deleted": JobState.LOST,
}
REPORT = "job-report.json"
OUTPUT_SANDBOX = ("std.out", "std.err", "payload.log", REPORT)
# `[` freezes the server's ClassAd parser, `;`, `"` and newlines change the meaning (facts of DiracX 0.7).
_SAFE = re.compile(r"^[A-Za-z0-9 _./:@+=,|-]*$")


def state_of(status: str) -> JobState:
    """Map DIRAC's job status; anything unknown is not final."""
    return STATES.get(status, JobState.RUNNING)


def _kind_of(status: int) -> type[BackendUnavailable | BackendRefused]:
    if status >= SERVER_FAULT or status in TOO_EARLY:
        return BackendUnavailable
    return RefusedForGood if status in NO_RIGHTS else BackendRefused


def jdl(batch: Batch, index: int, attempt: int, limits: Limits, sandbox: str) -> str:
    """Write the JDL of one job; ValueError for a value that JDL cannot carry."""
    strings = {
        "JobName": job_name(batch.group, index, attempt),
        "JobGroup": batch.group,
        "JobType": batch.job_type,
        "Executable": file_name(RUNNER),
        "Arguments": f"--batch batch.json --index {index} --attempt {attempt}",
        "StdOutput": "std.out",
        "StdError": "std.err",
        **({"Site": batch.site} if batch.site else {}),
    }
    lists = {"InputSandbox": (sandbox,), "OutputSandbox": OUTPUT_SANDBOX}
    for value in (*strings.values(), sandbox):
        if not _SAFE.match(value):
            raise ValueError(f"JDL value {value!r}: allowed are letters, digits and _./:@+=,|- and blanks")
    lines = [f'{k} = "{v}";' for k, v in strings.items()]
    lines += [f"{k} = {{{', '.join(json.dumps(v) for v in values)}}};" for k, values in lists.items()]
    lines += [f"NumberOfProcessors = {limits.cores};"] if limits.cores > 1 else []
    return "\n".join([*lines, f"CPUTime = {limits.wall_time_s + OVERHEAD_S};"])


@dataclass(frozen=True)
class DiracSettings:
    """Where DiracX is, and what the hook acts with for its one user.

    `credentials` is the user's file of service credentials, by the site's agreement; `tokens` gives the
    user's own, which come first: None when the user has connected nothing, LoginNeeded when that has ended.
    `closing` lets the service's serve then too: what was begun must not run on for that.
    """

    url: str
    credentials: Path | None = None
    tokens: Callable[[], Token | None] | None = None
    closing: bool = False

    @classmethod
    def of(
        cls, connection: Connection, user: str, owner: str = "", broker: Broker | None = None
    ) -> DiracSettings:
        """Read an Airflow connection.

        Extra `credentials`: `site` (the default) if `credentials_dir` holds one file (0600) a user, which
        serve those who have connected nothing; `broker` if each user must have connected DIRAC.

        :param user: the user's name at DIRAC. :param owner: the user's name here.
        """
        extra, url = connection.extra_dejson, str(connection.host)
        system, whose = dirac_system(connection.conn_id), owner or user
        kind = extra.get("credentials", "site")
        if kind == "broker":
            if broker is None:
                raise RefusedForGood(
                    SYSTEM, url, f"credentials = 'broker' needs a connection {BROKER_CONNECTION}"
                )
            return cls(url, None, lambda: _required(broker, system, whose))
        if kind != "site":
            raise RefusedForGood(
                SYSTEM, url, f"credentials = {kind!r} of its connection: allowed site, broker"
            )
        credentials = Path(extra["credentials_dir"]) / f"{user}.json"
        if credentials.is_file():
            return cls(url, credentials, (lambda: broker.token(system, whose)) if broker else None)
        if broker is None:
            raise RefusedForGood(SYSTEM, url, f"no credentials of DIRAC user {user!r} here")
        return cls(url, None, lambda: _required(broker, system, whose))


def _required(broker: Broker, system: str, owner: str) -> Token:
    token = broker.token(system, owner)
    if token is None:
        raise LoginNeeded(system, owner, "nothing is connected", broker.page, required=True)
    return token


class Purse:
    """A credentials file of one access token for DiracX's client, in memory: it lies on no disk.

    Without a refresh token the client uses it until 300 s before its end, and never renews it itself.
    """

    def __init__(self) -> None:
        self._file = os.memfd_create("esap-diracx")
        self._held = ""
        self.path = Path(f"/proc/self/fd/{self._file}")
        weakref.finalize(self, os.close, self._file)

    def hold(self, token: Token) -> Path:
        """Put a token in the place of the one before; gives the path of the file."""
        if token.secret != self._held:
            content = {
                "access_token": token.secret,
                "refresh_token": "",
                "expires_on": int(token.expires_at),
            }
            with self.path.open("r+") as stream:  # opened anew: locks are between openings, as the client's
                fcntl.flock(stream, fcntl.LOCK_EX)
                stream.write(json.dumps(content))
                stream.truncate()
            self._held = token.secret
        return self.path


class DiracWms:
    """Jobs of one user at one DiracX. Every method may be called again at any time.

    :param programs: folder of the programs for the sites.
    """

    def __init__(self, settings: DiracSettings, programs: Path, **client_options: Any) -> None:
        self.settings = settings
        self.programs = programs
        self._client_options = client_options
        self._clients: dict[Path, SyncDiracClient] = {}

    @property
    def _credentials(self) -> Path:
        """Give the file to act with now: the user's own if they have connected DIRAC, else the service's.

        LoginNeeded when what the user had connected has ended.
        """
        at, token = self.settings, None
        try:
            token = at.tokens() if at.tokens else None
        except LoginNeeded:
            if not (at.closing and at.credentials):
                raise
        if token:
            return self._purse.hold(token)
        assert at.credentials is not None
        return at.credentials

    @cached_property
    def _purse(self) -> Purse:
        return Purse()

    @property
    def _preferences(self) -> Any:
        from diracx.core.preferences import DiracxPreferences

        return DiracxPreferences.model_validate(
            {"url": self.settings.url, "credentials_path": self._credentials}
        )

    @property
    def _client(self) -> SyncDiracClient:
        from diracx.client.sync import SyncDiracClient

        preferences = self._preferences
        client = self._clients.get(preferences.credentials_path)
        if client is None:
            for chatty in ("azure", "httpx2"):  # a line and more for each request, in every task's log
                logging.getLogger(chatty).setLevel(logging.WARNING)
            client = SyncDiracClient(diracx_preferences=preferences, **self._client_options)
            self._clients[preferences.credentials_path] = client
        return client

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Turn the client library's many errors into the two kinds that callers tell apart."""
        import httpx2
        from azure.core.exceptions import AzureError, HttpResponseError

        try:
            yield
        except HttpResponseError as error:
            kind = _kind_of(error.status_code or 0)
            raise kind(SYSTEM, self.settings.url, f"{error.status_code} {error.message}") from error
        except (AzureError, httpx2.HTTPError, OSError) as error:
            raise BackendUnavailable(SYSTEM, self.settings.url, error) from error

    def submit(self, batch: Batch, attempts: Mapping[int, int]) -> list[Attempt]:
        """Submit what is not there yet, look again, and kill what a broken request left double.

        DIRAC has no idempotency key: a job's unique name is it.
        """
        known = {a.key for a in self.attempts(batch.group)}
        missing = [(i, n) for i, n in sorted(attempts.items()) if (i, n) not in known]
        if missing:
            self._post(batch, missing)
        there = self.submissions(batch.group)
        double = duplicates(there)
        alive = [a for a in double if not a.state.is_terminal]
        self._kill(batch.group, alive, "second submission of one job")
        there = [a for a in there if a not in double]
        lacking = set(attempts.items()) - {a.key for a in there}
        if lacking:
            raise BackendUnavailable(SYSTEM, self.settings.url, f"{len(lacking)} jobs were not accepted")
        return there

    def _post(self, batch: Batch, missing: Sequence[tuple[int, int]]) -> None:
        sandbox = self._upload_sandbox(batch)
        limits = {job.index: job.limits for job in batch.jobs}
        jdls = [jdl(batch, index, attempt, limits[index], sandbox) for index, attempt in missing]
        chunks = [jdls[n : n + JOBS_PER_POST] for n in range(0, len(jdls), JOBS_PER_POST)]
        client = self._client
        with self._asking(), ThreadPoolExecutor(POSTS_IN_FLIGHT) as pool:
            list(pool.map(client.jobs.submit_jdl_jobs, chunks))

    def _upload_sandbox(self, batch: Batch) -> str:
        """Upload runner and description as one sandbox; equal content gives the same one again."""
        with tempfile.TemporaryDirectory() as scratch:
            description, runner = Path(scratch, "batch.json"), Path(scratch, file_name(RUNNER))
            description.write_text(json.dumps(batch.document(), sort_keys=True))
            runner.write_bytes(packed(self.programs, RUNNER))
            runner.chmod(0o755)
            for path in (description, runner):
                os.utime(path, (0, 0))  # the sandbox is named by the checksum of its tar
            return str(self._run(lambda client: _create_sandbox(client, [description, runner])))

    def _run(self, work: Any) -> Any:
        from diracx.client.aio import AsyncDiracClient

        async def with_client() -> Any:
            async with AsyncDiracClient(diracx_preferences=self._preferences) as client:
                return await work(client)

        with self._asking():
            return asyncio.run(with_client())

    def _search(self, group: str, parameters: list[str]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        where: Any = [{"parameter": "JobGroup", "operator": "eq", "value": group}]
        with self._asking():
            while len(rows) % ROWS_PER_PAGE == 0:
                page = self._client.jobs.search(
                    parameters=parameters, search=where, page=len(rows) // ROWS_PER_PAGE + 1,
                    per_page=ROWS_PER_PAGE,
                )  # fmt: skip
                rows += page
                if not page:
                    break
        return rows

    def attempts(self, group: str) -> list[Attempt]:
        """List the submissions of a batch in one call (one more per 10,000 jobs).

        Of several under one name it gives the one that `submit` lets stand.
        """
        there = self.submissions(group)
        double = duplicates(there)
        return [a for a in there if a not in double]

    def submissions(self, group: str) -> list[Attempt]:
        """List every submission of a batch, also what was killed as a second one of the same job."""
        columns = ["JobID", "JobName", "Status", "MinorStatus", "ApplicationStatus"]
        found = []
        for row in self._search(group, columns):
            _, index, attempt = parse_job_name(row["JobName"])
            words = (str(row[c]) for c in columns[2:] if row.get(c) not in (None, "", "Unknown"))
            detail = "; ".join(words)
            found.append(Attempt(str(row["JobID"]), index, attempt, state_of(row["Status"]), detail))
        return found

    def counts(self, groups: Sequence[str]) -> dict[str, JobCounts]:
        """Count submissions by state: one call however many batches and jobs."""
        where: Any = [{"parameter": "JobGroup", "operator": "in", "values": list(groups)}]
        columns = ["JobGroup", "Status", "ApplicationStatus"]
        with self._asking():
            rows = self._client.jobs.summary(grouping=columns, search=where)
        counts = {group: JobCounts() for group in groups}
        for row in rows:
            count, number = counts[row["JobGroup"]], int(row["count"])
            count[state_of(row["Status"])] += number
            told = parse_stage(row["ApplicationStatus"] or "") if row["Status"] == "Running" else None
            if told:
                stage, moves = told
                count.stages[stage] = count.stages.get(stage, Moves()) + moves.times(number)
        return counts

    def load(self, site: str) -> Load:
        """Count the user's jobs at a site by state, in two calls: DIRAC shows nobody the jobs of others."""
        here = {"parameter": "Site", "operator": "eq", "value": site}
        final = sorted(status for status, state in STATES.items() if state.is_terminal)
        since = (datetime.now(UTC) - timedelta(seconds=RECENT_S)).strftime("%Y-%m-%d %H:%M:%S")
        asked: list[Any] = [
            {"parameter": "Status", "operator": "not in", "values": final},
            {"parameter": "LastUpdateTime", "operator": "gt", "value": since},
        ]
        found = []
        with self._asking():
            for condition in asked:
                rows = self._client.jobs.summary(grouping=["Status"], search=[here, condition])  # type: ignore[list-item]
                counts: Counter[JobState] = Counter()
                for row in rows:
                    counts[state_of(row["Status"])] += int(row["count"])
                found.append(counts)
        return Load.of(*found)

    def cancel(self, group: str) -> int:
        """Kill what is not terminal; give how many that were.

        BackendUnavailable when some cannot be killed now: they are about to end, or it does not work.
        """
        alive = [a for a in self.submissions(group) if not a.state.is_terminal]
        self._kill(group, alive, "cancelled by its run")
        return len(alive)

    def _kill(self, group: str, attempts: Sequence[Attempt], why: str) -> None:
        """Kill jobs of a batch, and see that they are.

        DiracX takes no status that is older than a job's last one, which a worker node's clock may have
        told, and says nothing of it.
        """
        left = {a.job_id for a in attempts}
        for ahead in CLOCKS_AHEAD:
            if not left:
                return
            when = (datetime.now(UTC) + ahead).isoformat()
            change = {"Status": "Killed", "MinorStatus": why, "Source": "esap-batch"}
            with self._asking():
                self._client.jobs.set_job_statuses({job_id: {when: change} for job_id in sorted(left)})  # type: ignore[dict-item]
            left &= {a.job_id for a in self.submissions(group) if not a.state.is_terminal}
        if left:
            raise BackendUnavailable(SYSTEM, self.settings.url, f"{len(left)} jobs are not killed yet")

    def reports(self, attempts: Sequence[Attempt]) -> dict[str, dict[str, Any]]:
        """Fetch `job-report.json` of terminal jobs from their output sandboxes, by job id."""
        ended = [a for a in attempts if a.state.is_terminal]
        if not ended:
            return {}
        return dict(self._run(lambda client: _fetch_reports(client, ended)))

    def clean_up(self, group: str) -> None:
        """Let go of the batch's sandboxes; DIRAC's own cleaner then deletes them."""
        ids = [int(row["JobID"]) for row in self._search(group, ["JobID"])]
        if ids:
            with self._asking():
                self._client.jobs.unassign_bulk_jobs_sandboxes({"job_ids": ids})  # type: ignore[call-overload]


async def _create_sandbox(client: AsyncDiracClient, paths: list[Path]) -> str:
    from diracx.api.jobs import create_sandbox

    return str(await create_sandbox(paths, client=client))


async def _fetch_reports(client: AsyncDiracClient, attempts: Sequence[Attempt]) -> dict[str, dict[str, Any]]:
    import httpx2
    import zstandard

    gate = asyncio.Semaphore(SANDBOXES_IN_FLIGHT)
    reports: dict[str, dict[str, Any]] = {}

    async def fetch(http: httpx2.AsyncClient, attempt: Attempt) -> None:
        async with gate:
            for pfn in await client.jobs.get_job_sandbox(int(attempt.job_id), "output"):
                place = await client.jobs.get_sandbox_file(pfn=pfn)
                answer = await http.get(place.url)
                if answer.status_code == httpx2.codes.NOT_FOUND:
                    LOG.warning("the sandbox %s of job %s is lost", pfn, attempt.job_id)
                    continue
                answer.raise_for_status()
                try:
                    content = read_member(answer.content, REPORT)
                    if content is not None:
                        reports[attempt.job_id] = json.loads(content)
                except (zstandard.ZstdError, tarfile.TarError, ValueError) as error:
                    LOG.warning("the sandbox %s of job %s is damaged: %s", pfn, attempt.job_id, error)

    transport = httpx2.AsyncHTTPTransport(retries=2)
    async with httpx2.AsyncClient(timeout=SANDBOX_TIMEOUT_S, transport=transport) as http:
        await asyncio.gather(*(fetch(http, a) for a in attempts))
    return reports


def read_member(sandbox: bytes, name: str) -> bytes | None:
    """Read one file of a sandbox (tar, compressed by zstandard); None when it is not there.

    DiracX's own `download_sandbox` unpacks all of it, which needs Python 3.11.4 or later.
    """
    import zstandard

    with (
        zstandard.ZstdDecompressor().stream_reader(io.BytesIO(sandbox)) as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
    ):
        for member in tar:
            if member.name == name and (content := tar.extractfile(member)):
                return content.read()
    return None
