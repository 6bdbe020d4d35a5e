"""For each of Airflow's tables that tells of runs: the condition that a row is of a run that is allowed.

The conditions are made once. Whose runs are allowed they ask for when they are executed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, or_, select, tuple_

from access.callers import Reach, caller
from access.rights import owned

Condition = ColumnElement[bool]
RUN, TASK = "run_seen", "task_seen"  # aliases in the conditions themselves


@dataclass(frozen=True)
class Rule:
    """How the rows of a model are limited.

    `mark` is how the condition on the table, or an alias of it, begins in SQL.
    """

    condition: Condition
    mark: str


def _name() -> str:
    who = caller()
    return who.user.name if who and who.user else ""


def _reach() -> Reach:
    who = caller()
    return (who.reach if who else None) or Reach()


def _allowed(columns: Any) -> Condition:
    return owned(
        columns,
        bindparam("esap_owners", callable_=lambda: _reach().owners, expanding=True),
        bindparam("esap_campaigns", callable_=lambda: _reach().every_campaign, expanding=True),
        bindparam("esap_own_campaigns", callable_=lambda: _reach().own_campaigns, expanding=True),
    )


def _in(column: Any, rows: Any) -> Condition:
    found: Condition = column.in_(rows)
    return found


def _itself(model: Any) -> Rule:
    """Rows that are runs, or name who started them as runs do."""
    return Rule(_allowed(model), "{}.triggering_user_name IN (")


def _by_key(model: Any, dag_id: str = "dag_id", run_id: str = "run_id") -> Rule:
    """Rows that name their run by DAG and id."""
    run = _alias_of_runs()
    keys = select(run.c.dag_id, run.c.run_id).where(_allowed(run.c))
    condition = _in(tuple_(getattr(model, dag_id), getattr(model, run_id)), keys)
    return Rule(condition, f"({{0}}.{dag_id}, {{0}}.{run_id}) IN (SELECT {RUN}.")


def _by_run(model: Any, column: str = "dag_run_id") -> Rule:
    """Rows that name their run by its number."""
    run = _alias_of_runs()
    condition = _in(getattr(model, column), select(run.c.id).where(_allowed(run.c)))
    return Rule(condition, f"{{}}.{column} IN (SELECT {RUN}.")


def _by_task(model: Any, column: str, tasks: Any, key: str) -> Rule:
    """Rows that name a task instance, or an earlier try of one."""
    run, task = _alias_of_runs(), tasks.__table__.alias(TASK)
    both = task.join(run, and_(run.c.dag_id == task.c.dag_id, run.c.run_id == task.c.run_id))
    keys = select(task.c[key]).select_from(both).where(_allowed(run.c))
    return Rule(_in(getattr(model, column), keys), f"{{}}.{column} IN (SELECT {TASK}.")


def _audit(model: Any) -> Rule:
    """Entries of the audit log: of allowed runs, and what the user has done to no run."""
    of_run = _by_key(model)
    own = and_(model.owner == bindparam("esap_name", callable_=_name), model.run_id.is_(None))
    return Rule(or_(of_run.condition, own), of_run.mark)


def _alias_of_runs() -> Any:
    from airflow.models.dagrun import DagRun

    return DagRun.__table__.alias(RUN)


@cache
def rules() -> dict[Any, Rule]:
    """Give the rule of each model that tells of runs."""
    from airflow.models.asset import AssetEvent, AssetPartitionDagRun
    from airflow.models.backfill import Backfill, BackfillDagRun
    from airflow.models.dagrun import DagRun, DagRunNote
    from airflow.models.deadline import Deadline
    from airflow.models.hitl import HITLDetail
    from airflow.models.hitl_history import HITLDetailHistory
    from airflow.models.log import Log
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.models.task_state_store import TaskStateStoreModel
    from airflow.models.taskinstance import TaskInstance, TaskInstanceNote
    from airflow.models.taskinstancehistory import TaskInstanceHistory
    from airflow.models.taskmap import TaskMap
    from airflow.models.taskreschedule import TaskReschedule
    from airflow.models.xcom import XComModel

    return {
        DagRun: _itself(DagRun),
        DagRunNote: _by_run(DagRunNote),
        TaskInstance: _by_key(TaskInstance),
        TaskInstanceHistory: _by_key(TaskInstanceHistory),
        TaskInstanceNote: _by_task(TaskInstanceNote, "ti_id", TaskInstance, "id"),
        TaskReschedule: _by_task(TaskReschedule, "ti_id", TaskInstance, "id"),
        TaskMap: _by_key(TaskMap),
        TaskStateStoreModel: _by_run(TaskStateStoreModel),
        RenderedTaskInstanceFields: _by_key(RenderedTaskInstanceFields),
        XComModel: _by_run(XComModel),
        HITLDetail: _by_task(HITLDetail, "ti_id", TaskInstance, "id"),
        HITLDetailHistory: _by_task(
            HITLDetailHistory, "ti_history_id", TaskInstanceHistory, "task_instance_id"
        ),
        Log: _audit(Log),
        Deadline: _by_run(Deadline, "dagrun_id"),
        AssetEvent: _by_key(AssetEvent, "source_dag_id", "source_run_id"),
        AssetPartitionDagRun: _by_run(AssetPartitionDagRun, "created_dag_run_id"),
        Backfill: _itself(Backfill),
        BackfillDagRun: _by_run(BackfillDagRun),
    }


@cache
def models() -> dict[str, Any]:
    """Give the models that are limited, by their tables."""
    return {model.__tablename__: model for model in rules()}
