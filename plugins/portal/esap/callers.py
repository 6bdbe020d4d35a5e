"""Who calls: a user who is logged in, or a worker with the one-time token of a job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ParamSpec, TypeVar

from fastapi import Depends, HTTPException, Path, Request, Security, status
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.concurrency import run_in_threadpool

from access.callers import serving
from access.observer import note
from access.users import EsapUser, current_user
from portal.core import external
from portal.core.airflow_api import AirflowApi
from portal.core.jobs import JobView
from portal.core.refusals import Refusal
from portal.core.service import Jobs

SCHEME = "Token"  # of Django's REST framework
P = ParamSpec("P")
T = TypeVar("T")
LARGEST_ID = 2**63 - 1
JobId = Annotated[int, Path(ge=1, le=LARGEST_ID, description="the job's number")]
bearer = HTTPBearer(auto_error=False, description="access token of the identity provider")
token = APIKeyHeader(
    name="Authorization",
    scheme_name="JobToken",
    auto_error=False,
    description="`Token <the job's one-time token>`",
)


@dataclass(frozen=True)
class Worker:
    """A worker, whose token is good for one job."""

    job: JobView


async def _jobs(
    request: Request, user: Annotated[EsapUser, Depends(current_user)], _: Annotated[Any, Security(bearer)]
) -> Jobs:
    return Jobs(user, AirflowApi.of(request))


async def _jobs_or_worker(
    request: Request, job_id: JobId, _: Annotated[Any, Security(bearer)], __: Annotated[Any, Security(token)]
) -> Jobs | Worker:
    scheme, _space, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == SCHEME.lower():
        note(by="a worker with the job's token", job=job_id)
        return Worker(await unlimited(external.job_of, job_id, given.strip()))
    return Jobs(await current_user(request), AirflowApi.of(request))


UsersJobs = Annotated[Jobs, Depends(_jobs)]
Caller = Annotated[Jobs | Worker, Depends(_jobs_or_worker)]


async def unlimited(function: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Ask the database for a worker, who is no user whose rows could be told."""

    def ask() -> T:
        with serving(None):
            return function(*args, **options)

    try:
        return await run_in_threadpool(ask)
    except external.TokenRefused as refusal:
        headers = {"WWW-Authenticate": SCHEME}
        raise HTTPException(status.HTTP_401_UNAUTHORIZED, str(refusal), headers) from None


class OnlyTheWorker(Refusal):
    """What only a worker with the job's token does."""

    status = 403


class NotAWorker(Refusal):
    """What only the job's user does."""

    status = 403
