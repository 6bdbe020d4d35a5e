"""Why a job has failed: the last error in the log of its first failed task."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from portal.core.jobs import ERROR_OF
from portal.core.phases import Phase
from portal.core.refusals import NotFound
from portal.results.logs import entries

if TYPE_CHECKING:
    from portal.core.airflow_api import AirflowApi
    from portal.core.jobs import JobView
    from portal.core.service import Jobs

ENDED = (Phase.ABORTED, Phase.ARCHIVED)
FATAL = ("validate_request",)  # the same request fails there again
LAST_TASK = "report_end"  # fails whatever has failed before it
ERRORS = ("error", "critical")
LONGEST, LINE = 20_000, 300  # characters


@dataclass(frozen=True)
class Failure:
    """`text` in full; `is_fatal` when the same job cannot do better at another try."""

    text: str
    is_fatal: bool = False

    @property
    def summary(self) -> str:
        """All of it on one line, cut to what is read at a glance."""
        line = " ".join(self.text.split())
        return line if len(line) <= LINE else f"{line[: LINE - 3]}..."


async def failure_of(job: JobView, jobs: Jobs) -> Failure | None:
    """Say why a job has failed or was ended; None when there is nothing to say.

    It is looked up once in Airflow's logs, for each end of the run, and kept in the job's row.
    """
    if known := kept(job):
        return known
    if job.phase is not Phase.ERROR or job.dag_run_id is None:
        return None
    found = await _look_up(job, job.dag_run_id, jobs.airflow)
    await jobs.keep_error(job, found.text, fatal=found.is_fatal)
    return found


def kept(job: JobView) -> Failure | None:
    """Give what has been kept of why a job has failed or was ended; None without a look into the logs."""
    if job.error is None or (job.dag_run_id and not _is_of_this_end(job)):
        return None
    return Failure(job.error, bool(job.notes.get("fatal")))


def _is_of_this_end(job: JobView) -> bool:
    """Tell errors from those of an earlier end of the run: who clears its failed tasks has it go on."""
    told = job.notes.get(ERROR_OF)
    if told is None:  # what the service itself says of a run that it has ended
        return job.phase in ENDED
    return job.phase in (Phase.ERROR, *ENDED) and told == str(job.end_time)


async def _look_up(job: JobView, run_id: str, airflow: AirflowApi) -> Failure:
    tasks = await airflow.tasks(job.dag_id, run_id)
    failed = [t for t in tasks if t["state"] == "failed"]
    if not failed:
        return Failure("The run was ended before it had a result.")
    first = min(failed, key=lambda t: (t["task_id"] == LAST_TASK, t["end_date"] or ""))
    last = "its log is gone"
    try:
        async with aclosing(entries(airflow, job, first["task_id"], first["try_number"])) as found:
            async for entry in found:
                for error in errors_in(entry):
                    last = error
    except NotFound:
        pass
    return Failure(f"{first['task_id']}: {last}"[:LONGEST], first["task_id"] in FATAL)


def errors_in(raw: bytes) -> Iterator[str]:
    """Give the errors in an entry of a structured log: of an exception what it says, without its class."""
    try:
        entry: Any = json.loads(raw)
    except ValueError:
        return
    if not isinstance(entry, Mapping):
        return
    causes = [e for e in entry.get("error_detail") or () if e.get("exc_value")]
    if causes:
        yield str(causes[0]["exc_value"])
    elif entry.get("level") in ERRORS and entry.get("event"):
        yield str(entry["event"])
