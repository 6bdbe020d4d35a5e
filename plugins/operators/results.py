"""What the tasks of a run have left in this pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import TaskInstanceState

if TYPE_CHECKING:
    from airflow.sdk import Context


def task_states(context: Context) -> dict[str, Any]:
    """Give the states of the run's tasks."""
    run = context["dag_run"]
    found: dict[str, dict[str, Any]] = context["ti"].get_task_states(run.dag_id, run_ids=[run.run_id])
    return found.get(run.run_id, {})


def result_of(context: Context, task_id: str) -> Any:
    """Give what a task returned, None unless it has succeeded in this pass.

    After a task was cleared Airflow keeps its old result until it starts again, which it may never do.
    """
    succeeded = task_states(context).get(task_id) == TaskInstanceState.SUCCESS
    return context["ti"].xcom_pull(task_ids=task_id) if succeeded else None
