"""UWS execution phases (UWS 1.1, section 2.1.3), read from a job's row and the state of its run in SQL."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import ColumnElement, String, and_, case, cast, exists, literal, or_

from esap_batch.progress import MARK
from store.tables import Job


class Phase(StrEnum):
    """Where a job is in its life."""

    PENDING = "PENDING"
    QUEUED = "QUEUED"
    EXECUTING = "EXECUTING"
    COMPLETED = "COMPLETED"
    ERROR = "ERROR"
    ABORTED = "ABORTED"
    UNKNOWN = "UNKNOWN"
    HELD = "HELD"
    SUSPENDED = "SUSPENDED"
    ARCHIVED = "ARCHIVED"

    @property
    def is_active(self) -> bool:
        """Whether the phase changes by itself: only then does WAIT wait (UWS 1.1, section 2.2.1.1)."""
        return self in ACTIVE

    @property
    def is_final(self) -> bool:
        return self in (Phase.COMPLETED, Phase.ERROR, Phase.ABORTED, Phase.ARCHIVED)


ACTIVE = frozenset({Phase.PENDING, Phase.QUEUED, Phase.EXECUTING})
RUN_OF_JOB = and_(DagRun.dag_id == Job.dag_id, DagRun.run_id == Job.dag_run_id)
UNFINISHED = ("deferred", "running", "queued", "scheduled", "up_for_retry", "up_for_reschedule")


def phase_column(now: datetime) -> ColumnElement[str]:
    """Give the phase of a job as a column of a query over `Job` outer-joined with `DagRun`."""
    return case(
        (or_(Job.archived_at.is_not(None), Job.destruction <= now), literal(Phase.ARCHIVED)),
        (and_(Job.started_at.is_(None), Job.aborted_at.is_not(None)), literal(Phase.ABORTED)),
        (and_(Job.started_at.is_(None), Job.error.is_not(None)), literal(Phase.ERROR)),
        (and_(_is_external(), Job.aborted_at.is_not(None)), literal(Phase.ABORTED)),
        (and_(_is_external(), _told().is_not(None)), _told()),
        (Job.started_at.is_(None), literal(Phase.PENDING)),
        (_is_external(), literal(Phase.QUEUED)),
        (DagRun.id.is_(None), literal(Phase.ARCHIVED)),  # an administrator has deleted the run
        (DagRun._state == "success", literal(Phase.COMPLETED)),
        (_is_aborted(), literal(Phase.ABORTED)),
        (DagRun._state == "failed", literal(Phase.ERROR)),
        (DagRun._state == "queued", literal(Phase.QUEUED)),
        (_held(), literal(Phase.HELD)),
        (_marked(Phase.SUSPENDED), literal(Phase.SUSPENDED)),
        (_marked(Phase.UNKNOWN), literal(Phase.UNKNOWN)),
        else_=literal(Phase.EXECUTING),
    )


def _is_aborted() -> ColumnElement[bool]:
    """Tell runs that have been ended, also while they still clean up; not those cleared afterwards."""
    queued_before = or_(DagRun.queued_at.is_(None), DagRun.queued_at <= Job.aborted_at)
    return and_(Job.aborted_at.is_not(None), queued_before)


def _is_external() -> ColumnElement[bool]:
    """Tell jobs that a worker outside of Airflow does; it tells their phase."""
    return Job.dag_id == ""


def _told() -> ColumnElement[str]:
    phase: ColumnElement[str] = Job.notes["phase"].as_string()
    return phase


def _held() -> ColumnElement[bool]:
    return exists().where(_task_of_job(), TaskInstance.state == "awaiting_input")


def _marked(phase: Phase) -> ColumnElement[bool]:
    """Tell whether a task that is not finished has said so of its run (`esap_batch.progress.MARK`)."""
    of_task = and_(
        XComModel.dag_id == TaskInstance.dag_id,
        XComModel.run_id == TaskInstance.run_id,
        XComModel.task_id == TaskInstance.task_id,
        XComModel.map_index == TaskInstance.map_index,
    )
    says = and_(XComModel.key == MARK, cast(XComModel.value, String).contains(phase.value))
    return exists().where(_task_of_job(), TaskInstance.state.in_(UNFINISHED), of_task, says)


def _task_of_job() -> ColumnElement[bool]:
    return and_(TaskInstance.dag_id == Job.dag_id, TaskInstance.run_id == Job.dag_run_id)
