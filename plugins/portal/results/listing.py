"""What a job has to give, as links: files of its products, papers, reports of its jobs, logs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from cachetools import TTLCache
from starlette.concurrency import run_in_threadpool

from esap_batch.housekeeping import REPORTS_FILE
from esap_batch.products import scope_of
from hooks.lake_outputs import LakeFile
from portal.core.refusals import NotFound
from portal.results.files import lake, mime_type
from portal.results.reports import kept_reports
from portal.results.run import CLAIM, Run, read_run

if TYPE_CHECKING:
    from datetime import datetime

    from portal.core.jobs import JobView

PREFIX = "/batch/jobs"
JSON_TYPE, TEXT_TYPE = "application/json", "text/plain"
ARCHIVE, CRATE, STEERING, PROVENANCE = (
    "results.zip",
    "ro-crate-metadata.json",
    "steering.json",
    "provenance.json",
)
PAPERS = (STEERING, PROVENANCE, "verdict.json", "missing.json", "selection.json")
REMEMBERED_S = 300  # a product that has been published stays as it is; its lifetime may end
_known: TTLCache[tuple[int, datetime | None], Stored] = TTLCache(maxsize=500, ttl=REMEMBERED_S)


@dataclass(frozen=True)
class Stored:
    """What a job has on storage: files of its products, and sizes of kept reports by task (bytes)."""

    files: tuple[LakeFile, ...] = ()
    reports: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """One thing to fetch. `name` is the file's own; `size` in bytes, None where it is made on request.

    `kind` is product, paper, archive, crate, provenance, steering, reports or log. `href` is a path from
    the root of Airflow's API server.
    """

    id: str
    name: str
    href: str
    size: int | None
    mime_type: str
    adler32: str = ""
    sha256: str = ""
    kind: str = "product"


async def list_results(job: JobView) -> list[Result]:
    """List what there is of a job now; BackendUnavailable when the lake does not answer.

    Whoever may see the job may fetch its results: the request itself limits the rows that are read.
    """
    if not job.dag_run_id:
        return []
    run = await run_in_threadpool(read_run, job)
    return results_of(job, run, await stored(job, run))


def results_of(job: JobView, run: Run, there: Stored) -> list[Result]:
    """List the results of a job whose run has been read."""
    files = there.files
    return [*_files(job, files), *_papers(job, run, files), *_reports(job, there), *_logs(job, run)]


async def stored(job: JobView, run: Run) -> Stored:
    """Find what a job has on storage: a few questions to the lake, which are remembered once it has ended."""
    return await run_in_threadpool(_stored, job, run)


def _stored(job: JobView, run: Run) -> Stored:
    key = (job.id, job.end_time)
    if job.phase.is_final and key in _known:
        return _known[key]
    found = Stored(tuple(lake().product_files(datasets_of(job, run))), kept_reports(run))
    if job.phase.is_final:
        _known[key] = found
    return found


def datasets_of(job: JobView, run: Run) -> list[str]:
    """Name the products of a run: the one it reports, or all that a campaign has published up to now."""
    if product := run.outcome.get("product"):
        return [str(product["dataset"])]
    steering = run.steering
    if run.given(CLAIM) is not None or steering is None:
        return []
    return lake().published_by(scope_of(steering["product_lfn"]), job.run_key)


def names_of(files: Sequence[LakeFile]) -> dict[str, LakeFile]:
    """Name files for links: by their own names, with their product's where there are several products."""
    several = len({f.dataset for f in files}) > 1
    return {_name(f, several=several): f for f in files}


def _name(file: LakeFile, *, several: bool) -> str:
    return f"{file.dataset.rsplit('/', 1)[-1]}.{file.name}" if several else file.name


def file_named(files: Sequence[LakeFile], name: str, job: JobView) -> LakeFile:
    """Look a file up by the name that it is listed under; NotFound for any other name."""
    found = names_of(files).get(name)
    if found is None:
        raise NotFound(f"job {job.id} has no result {name!r}")
    return found


def href(job: JobView, *parts: str) -> str:
    """Give the path of something that belongs to a job."""
    return "/".join((PREFIX, str(job.id), *(quote(part, safe="") for part in parts)))


def _files(job: JobView, files: Sequence[LakeFile]) -> Iterable[Result]:
    counts = Counter(f.name for f in files)
    for name, file in names_of(files).items():
        yield Result(
            id=name,
            name=file.name if counts[file.name] == 1 else name,
            href=href(job, "results", name),
            size=file.size,
            mime_type=mime_type(file.name),
            adler32=file.adler32,
            sha256=file.sha256,
            kind="paper" if file.name in PAPERS else "product",
        )


def _papers(job: JobView, run: Run, files: Sequence[LakeFile]) -> Iterable[Result]:
    if run.steering:
        yield Result("steering", STEERING, href(job, STEERING), None, JSON_TYPE, kind="steering")
    if any(f.name == PROVENANCE for f in files):
        yield Result("provenance", PROVENANCE, href(job, PROVENANCE), None, JSON_TYPE, kind="provenance")
    if files:
        yield Result("archive", ARCHIVE, href(job, ARCHIVE), None, "application/zip", kind="archive")
    if run.steering:
        yield Result("crate", CRATE, href(job, CRATE), None, "application/ld+json", kind="crate")


def _reports(job: JobView, there: Stored) -> Iterable[Result]:
    for task, size in there.reports.items():
        path = href(job, "reports", task)
        yield Result(f"reports.{task}", f"{task}.{REPORTS_FILE}", path, size, JSON_TYPE, kind="reports")


def _logs(job: JobView, run: Run) -> Iterable[Result]:
    for task in run.tasks:
        if task.tries and task.began:
            path = href(job, "logs", task.id)
            yield Result(f"log.{task.id}", f"{task.id}.log", path, None, TEXT_TYPE, kind="log")
