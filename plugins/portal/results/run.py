"""What the run of a job has left in Airflow: the states of its tasks and what they told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import or_, select, tuple_

from esap_batch.progress import PROGRESS
from store.sessions import transaction

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from portal.core.jobs import JobView

GIVEN = "return_value"
VALIDATE, CLAIM, FACILITY, END = "validate_request", "check_duplicate", "select_facility", "report_end"
ACTIVE = ("running", "deferred", "awaiting_input", "up_for_retry", "up_for_reschedule")


@dataclass(frozen=True)
class Task:
    """A task of a run. `state` is Airflow's, None while it has not been reached; times in UTC."""

    id: str
    state: str | None
    tries: int
    began: datetime | None
    ended: datetime | None


@dataclass(frozen=True)
class Submission:
    """Jobs that a task has submitted: `count` of them, as batch `group`.

    Their files are at `storage_rse`; empty, as in runs before there was a choice: the facility's first.
    """

    task: str
    group: str
    facility: str
    count: int
    storage_rse: str = ""


@dataclass(frozen=True)
class Run:
    """A run as its job's owner sees it. `told` is by task and key, what tasks return under `return_value`."""

    tasks: tuple[Task, ...] = ()
    told: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def given(self, task: str) -> Any:
        return self.told.get(task, {}).get(GIVEN)

    @property
    def steering(self) -> dict[str, Any] | None:
        """The steering file; the one that names what data were found, where the workflow looks for some."""
        known = [
            keys[GIVEN]
            for keys in self.told.values()
            if isinstance(keys.get(GIVEN), dict) and "steering_version" in keys[GIVEN]
        ]
        return max(known, key=lambda s: "selection" in s, default=None)

    @property
    def facility(self) -> str:
        chosen = self.given(FACILITY)
        return str(chosen["facility"]) if chosen else ""

    @property
    def outcome(self) -> dict[str, Any]:
        """What the last task says has come of the run; empty without it."""
        return dict(self.given(END) or {})

    @property
    def submissions(self) -> list[Submission]:
        """The batches of the run, in the order in which they were submitted."""
        order = {t.id: n for n, t in enumerate(self.tasks)}
        found = [
            Submission(
                task,
                str(one["group"]),
                str(one["facility"]),
                int(one["count"]),
                str(one.get("storage_rse", "")),
            )
            for task, keys in self.told.items()
            if isinstance(one := keys.get(GIVEN), dict) and {"group", "count", "journal"} <= set(one)
        ]
        return sorted(found, key=lambda s: order.get(s.task, 0))

    def progress(self) -> tuple[str, Mapping[str, Any]] | None:
        """Give the task that has told last how far it is, with its figures; None when none has."""
        told = [(t.id, self.told[t.id][PROGRESS]) for t in self.tasks if PROGRESS in self.told.get(t.id, {})]
        active = [one for one in told if self.state(one[0]) in ACTIVE]
        found = active or told
        return found[-1] if found else None

    def state(self, task: str) -> str | None:
        return next((t.state for t in self.tasks if t.id == task), None)


@dataclass(frozen=True)
class News:
    """What a list of jobs says of a run: where it runs and what it waits for; empty when it has not told."""

    facility: str = ""
    text: str = ""


def read_run(job: JobView) -> Run:
    """Read the run of a job: two queries, as the caller; an empty one for a job without a run."""
    if not job.dag_run_id:
        return Run()
    with transaction() as session:
        return Run(_tasks(session, job), _told(session, job))


def _tasks(session: Session, job: JobView) -> tuple[Task, ...]:
    columns = (
        TaskInstance.task_id,
        TaskInstance.state,
        TaskInstance.try_number,
        TaskInstance.start_date,
        TaskInstance.end_date,
    )
    rows = session.execute(
        select(*columns)
        .where(TaskInstance.dag_id == job.dag_id, TaskInstance.run_id == job.dag_run_id)
        .order_by(TaskInstance.start_date.asc().nulls_last(), TaskInstance.task_id)
    )
    return tuple(Task(i, state and str(state), n or 0, began, ended) for i, state, n, began, ended in rows)


def _told(session: Session, job: JobView) -> dict[str, dict[str, Any]]:
    rows = session.execute(
        select(XComModel.task_id, XComModel.key, XComModel.value).where(
            XComModel.dag_id == job.dag_id, XComModel.run_id == job.dag_run_id
        )
    )
    told: dict[str, dict[str, Any]] = defaultdict(dict)
    for task, key, value in rows:
        told[task][key] = value
    return dict(told)


def news_of(jobs: Iterable[JobView]) -> dict[int, News]:
    """Say of many jobs where they run and what they wait for, in one query."""
    runs = {(job.dag_id, job.dag_run_id): job.id for job in jobs if job.dag_run_id}
    if not runs:
        return {}
    wanted = or_(XComModel.key == PROGRESS, (XComModel.task_id == FACILITY) & (XComModel.key == GIVEN))
    query = (
        select(XComModel.dag_id, XComModel.run_id, XComModel.key, XComModel.value)
        .join(DagRun, DagRun.id == XComModel.dag_run_id)
        .where(tuple_(XComModel.dag_id, XComModel.run_id).in_(list(runs)), wanted)
        .order_by(XComModel.timestamp)
    )
    with transaction() as session:
        rows: Sequence[Any] = session.execute(query).all()
    found: dict[int, dict[str, str]] = defaultdict(dict)
    for dag_id, run_id, key, value in rows:
        job = runs[dag_id, run_id]
        if isinstance(value, Mapping):
            name = "text" if key == PROGRESS else "facility"
            found[job][name] = str(value.get(name, ""))
    return {job: News(**told) for job, told in found.items()}
