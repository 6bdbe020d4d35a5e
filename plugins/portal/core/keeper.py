"""Ends jobs whose time is over: at their destruction, and after their execution duration.

Every API server worker has a keeper. A job is locked while one deals with it, and the others pass it by. What
is to do is read from the tables each time, so that a keeper that dies leaves nothing undone.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.models.dagrun import DagRun
from anyio import from_thread
from sqlalchemy import TIMESTAMP, ColumnElement, and_, cast, func, literal, or_, select
from starlette.concurrency import run_in_threadpool

from access.quotas import UNFINISHED
from broker.measures import measure_credentials
from esap_batch.acts import JOB_END
from hooks.audit import write_act
from hooks.broker import SERVICE
from portal.core.airflow_api import AirflowApi
from portal.core.jobs import ERROR_OF
from portal.core.phases import RUN_OF_JOB, Phase, phase_column
from portal.core.refusals import Conflict, NotFound
from store.sessions import now, transaction
from store.tables import Job

if TYPE_CHECKING:
    from sqlalchemy.orm import Session
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)
TURN_S = float(os.environ.get("ESAP_KEEPER_TURN_S", "30"))
TIMED = (Phase.EXECUTING, Phase.HELD, Phase.SUSPENDED, Phase.UNKNOWN)


class Keeper:
    """Looks for jobs whose time is over, every `turn` seconds."""

    def __init__(self, turn: float = TURN_S) -> None:
        self._turn = turn
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        # A context of its own: it acts for nobody in particular and sees all jobs.
        self._task = asyncio.create_task(self._keep(), context=contextvars.Context())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._turn)
            await look_once()
            await _measure()


async def look_once() -> None:
    """Deal with all jobs whose time is over; one that fails is left for the next time."""
    failed: set[int] = set()
    while (job_id := await _next(failed)) is not None:
        try:
            await run_in_threadpool(_end, job_id)
        except Exception:  # a back end is away, or another process was faster: the others need not wait
            log.exception("job %d could not be ended", job_id)
            failed.add(job_id)


async def _next(but: set[int]) -> int | None:
    def find() -> int | None:
        with transaction() as session:
            query = select(Job.id).outerjoin(DagRun, RUN_OF_JOB).where(_is_over(now()), Job.id.not_in(but))
            return session.scalars(query.order_by(Job.id).limit(1)).one_or_none()

    try:
        return await run_in_threadpool(find)
    except Exception:  # the database is away
        log.exception("no news of jobs whose time is over")
        return None


async def _measure() -> None:
    try:
        await run_in_threadpool(measure_credentials)
    except Exception:  # the database is away
        log.exception("no news of credentials")


def _end(job_id: int) -> None:
    """End a job in one transaction, which holds its row until Airflow has ended the run."""
    with transaction() as session:
        moment = now()
        locked = select(Job, DagRun._state).outerjoin(DagRun, RUN_OF_JOB)
        locked = locked.where(Job.id == job_id, _is_over(moment)).with_for_update(of=Job, skip_locked=True)
        found = session.execute(locked).one_or_none()
        if found is None:
            return  # another keeper has it, or has had it
        job, state = found
        is_destroyed = job.destruction <= moment
        why = "its time of destruction has come" if is_destroyed else "its execution duration is over"
        if is_stray := job.started_at is None and state in UNFINISHED:
            why = "its job was ended while it was being started"
        if state in UNFINISHED:
            from_thread.run(_fail_run, job.dag_id, str(job.dag_run_id), f"ended by the service: {why}")
        if is_destroyed or not is_stray:
            _write(session, job, moment, why, is_destroyed=is_destroyed)
        log.info("job %d of %s: %s", job.id, job.owner, why)
        write_act(JOB_END, SERVICE, "done", job=job.id, run=f"{job.dag_id}/{job.dag_run_id}", why=why)


async def _fail_run(dag_id: str, run_id: str, why: str) -> None:
    try:
        await AirflowApi.as_service().fail_run(dag_id, run_id, why)
    except (NotFound, Conflict) as gone:
        log.info("%s/%s needs no end: %s", dag_id, run_id, gone)


def _write(session: Session, job: Any, moment: datetime, why: str, *, is_destroyed: bool) -> None:
    if is_destroyed:
        job.archived_at = moment
    else:
        job.aborted_at = moment  # also where an earlier one was followed by another try
        job.notes = {k: v for k, v in (job.notes or {}).items() if k not in (ERROR_OF, "fatal")}
        job.error = f"The job was ended: {why} ({job.execution_duration} s)."
    session.flush()


def _is_over(moment: datetime) -> ColumnElement[bool]:
    """Tell jobs past their destruction, those that execute for longer than they may, and runs gone astray."""
    destroyed = and_(Job.archived_at.is_(None), Job.destruction <= moment)
    told = cast(Job.notes["start"].as_string(), TIMESTAMP(timezone=True))
    end = func.coalesce(DagRun.start_date, told) + func.make_interval(
        0, 0, 0, 0, 0, 0, Job.execution_duration
    )
    too_long = and_(Job.execution_duration > 0, phase_column(moment).in_(TIMED), end <= literal(moment))
    return or_(and_(Job.deleted_at.is_(None), or_(destroyed, too_long)), _is_stray())


def _is_stray() -> ColumnElement[bool]:
    """Tell runs that began although their job had been ended, and that who started them could not end."""
    has_ended = or_(Job.aborted_at.is_not(None), Job.deleted_at.is_not(None))
    return and_(Job.started_at.is_(None), has_ended, DagRun._state.in_(UNFINISHED))


class KeeperLifespan:
    """Lets a keeper live as long as the API server that it stands before."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on."""
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        keeper = Keeper()

        async def tell(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                keeper.start()
            await send(message)

        try:
            await self.app(scope, receive, tell)
        finally:
            await keeper.stop()
