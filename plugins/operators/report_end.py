"""Last task of every run: what has come of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, TaskInstanceState
from airflow.sdk.exceptions import AirflowFailException

from operators.site import run_key

if TYPE_CHECKING:
    from airflow.sdk import Context


class ReportEnd(BaseOperator):
    """Gives the product of a run, made or found; fails the run that a user has ended.

    Airflow skips what had not begun in a run that is ended by hand, and a run whose last task is skipped
    counts as a success. This task, a teardown as well, sets that right.

    :param claim: id of the task that claimed the product. :param ingest: id of the task that published it.
    :returns: `{"outcome": "published" | "found" | "failed", "product": {"dataset", ...} | None}`.
    """

    def __init__(self, *, claim: str, ingest: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.claim = claim
        self.ingest = ingest

    def execute(self, context: Context) -> dict[str, Any]:
        run, ti = context["dag_run"], context["ti"]
        claimed, made = ti.xcom_pull(task_ids=self.claim), ti.xcom_pull(task_ids=self.ingest)
        if made:
            return {"outcome": "published", "product": made}
        if claimed and claimed["made_by"] != run_key(context):
            return {"outcome": "found", "product": claimed}
        states = ti.get_task_states(run.dag_id, task_ids=[self.ingest], run_ids=[run.run_id])
        if states.get(run.run_id, {}).get(self.ingest) == TaskInstanceState.SKIPPED:
            raise AirflowFailException("The run was cancelled: it has made no product.")
        return {"outcome": "failed", "product": None}
