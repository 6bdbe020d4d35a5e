"""UWS 1.1's documents, as models of PyPI `vo-models` write them, valid against the schema of the standard."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from pydantic_xml import BaseXmlModel, attr, element
from vo_models.uws.models import (
    NSMAP,
    ErrorSummary,
    Jobs,
    JobSummary,
    Parameter,
    ResultReference,
    ShortJobDescription,
)
from vo_models.uws.types import ErrorType, ExecutionPhase

from esap_batch.parameters import texts

if TYPE_CHECKING:
    from portal.core.jobs import JobView
    from portal.results.failures import Failure
    from portal.results.listing import Result
    from portal.results.run import News

MEDIA_TYPE = "application/xml"
CUSTOM = "urn:uwscustom"  # whose attributes the schema allows in results
_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Given(BaseXmlModel, tag="parameters", ns="uws", nsmap=NSMAP):
    """The parameters of a job, whatever its workflow calls them."""

    parameter: list[Parameter] = element(default_factory=list)


class CheckedResult(ResultReference, tag="result", ns="uws", nsmap=NSMAP | {"c": CUSTOM}):
    """A result with its checksum."""

    adler32: str | None = attr(ns="c", default=None)


class CheckedResults(BaseXmlModel, tag="results", ns="uws", nsmap=NSMAP | {"c": CUSTOM}):
    """Results with checksums."""

    result: list[CheckedResult] = element(default_factory=list)


class Info(BaseXmlModel, tag="jobInfo", ns="uws", nsmap=NSMAP | {"e": "urn:esap-batch"}, skip_empty=True):
    """What the standard has no place for: who runs the job, how far it is, where people look at it."""

    workflow: str = element(ns="e")
    facility: str | None = element(ns="e", default=None)
    progress: str | None = element(ns="e", default=None)
    page: str | None = element(ns="e", default=None)
    run: str | None = element(ns="e", default=None)


class Summary(JobSummary[Given], tag="job", ns="uws", nsmap=NSMAP):
    """A job; the standard's schema has one element `jobInfo` with others inside, not text."""

    results: CheckedResults = element(  # type: ignore[assignment] # with checksums
        tag="results", ns="uws", default_factory=CheckedResults
    )
    job_info: Info | None = element(  # type: ignore[assignment] # as the schema has it
        tag="jobInfo", ns="uws", default=None
    )


def job_list(jobs: Iterable[JobView], address: str) -> bytes:
    """Write a list of jobs; `address` is that of the list."""
    found = [
        ShortJobDescription(
            job_id=str(job.id),
            href=f"{address}/{job.id}",
            phase=ExecutionPhase(job.phase),
            run_id=_clean(job.run_label),
            owner_id=_clean(job.owner),
            creation_time=job.created_at,
        )
        for job in jobs
    ]
    return _written(Jobs(jobref=found))


def job(
    view: JobView,
    results: Sequence[Result],
    failure: Failure | None,
    news: News,
    base: str,
) -> bytes:
    """Write a job; `base` is the address of the API server."""
    summary = Summary(
        job_id=str(view.id),
        run_id=_clean(view.run_label),
        owner_id=_clean(view.owner),
        phase=ExecutionPhase(view.phase),
        quote=view.quote,
        creation_time=view.created_at,
        start_time=view.start_time,
        end_time=view.end_time,
        execution_duration=view.execution_duration,
        destruction=view.destruction,
        parameters=_given(view),
        results=_results(results, base),
        error_summary=_error(failure),
        job_info=_info(view, news, base),
    )
    return _written(summary)


def parameters(view: JobView) -> bytes:
    """Write the parameters of a job."""
    return _written(_given(view))


def results(found: Sequence[Result], base: str) -> bytes:
    """Write the results of a job."""
    return _written(_results(found, base))


def address(result: Result, base: str) -> str:
    """Give where a result is; only those that workers elsewhere have told are not of this service."""
    return result.href if "://" in result.href else base + result.href


def _given(view: JobView) -> Given:
    return Given(
        parameter=[Parameter(id=_clean(k) or "", value=_clean(v) or "") for k, v in texts(view.request)]
    )


def _results(found: Sequence[Result], base: str) -> CheckedResults:
    return CheckedResults(
        result=[
            CheckedResult(
                id=r.id, href=address(r, base), size=r.size, mime_type=r.mime_type, adler32=r.adler32 or None
            )
            for r in found
        ]
    )


def _error(failure: Failure | None) -> ErrorSummary | None:
    if failure is None:
        return None
    kind = ErrorType.FATAL if failure.is_fatal else ErrorType.TRANSIENT
    return ErrorSummary(message=_clean(failure.summary) or "", type=kind, has_detail=True)


def _info(view: JobView, news: News, base: str) -> Info:
    run = f"{base}/dags/{view.dag_id}/runs/{quote(view.dag_run_id, safe='')}" if view.dag_run_id else None
    return Info(
        workflow=view.workflow,
        facility=_clean(news.facility) or None,
        progress=_clean(news.text) or None,
        page=f"{base}/batch/jobs/{view.id}",
        run=run,
    )


def _clean(text: str | None) -> str | None:
    """Replace what XML cannot hold: runs that were started in Airflow may have it in their conf."""
    return None if text is None else _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _written(model: BaseXmlModel) -> bytes:
    written = model.to_xml(encoding="UTF-8", xml_declaration=True, exclude_none=False)
    return written if isinstance(written, bytes) else written.encode()
