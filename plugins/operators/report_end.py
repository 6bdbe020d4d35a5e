"""Last task of every run: what has come of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, TaskInstanceState
from airflow.sdk.exceptions import AirflowFailException

if TYPE_CHECKING:
    from airflow.sdk import Context


class ReportEnd(BaseOperator):
    """Gives the product of a run, made or found; fails a run that has none.

    It alone decides the state of the run. Airflow skips what had not begun in a run that a user ends by hand,
    and would call a run whose last task is skipped a success.

    :param claim: id of the task that claimed the product. :param ingest: id of the task that published it.
    :returns: `{"outcome": "published" | "found", "product": {"dataset", "production_id", "made_by", ...}}`.
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
        if claimed and claimed["state"] == "published":
            return {"outcome": "found", "product": claimed}
        states = ti.get_task_states(run.dag_id, run_ids=[run.run_id]).get(run.run_id, {})
        if states.get(self.ingest) == TaskInstanceState.SKIPPED:
            raise AirflowFailException("The run was cancelled: it has made no product.")
        failed = sorted(task for task, state in states.items() if state == TaskInstanceState.FAILED)
        where = f": see the log of {', '.join(failed)}" if failed else ""
        raise AirflowFailException(f"The run has made no product{where}.")
