"""Last task of every run: what has come of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, TaskInstanceState
from airflow.sdk.exceptions import AirflowFailException

from esap_batch.metrics import RUNS
from esap_batch.products import incomplete
from hooks.metrics import count
from operators.results import result_of, task_states

if TYPE_CHECKING:
    from airflow.sdk import Context


class ReportEnd(BaseOperator):
    """Gives the product of a run, made or found; fails a run that has none.

    It alone decides the state of the run. Airflow skips what had not begun in a run that a user ends by hand,
    and would call a run whose last task is skipped a success.

    :param claim: id of the task that claimed the product. :param ingest: id of the task that published it.
    :returns: `{"outcome": "published" | "found", "product": {"dataset", "production_id", "made_by", ...},
        "missing": number of jobs that it lacks}`, and of a partial product `note`: how to complete it.
    """

    def __init__(self, *, claim: str, ingest: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.claim = claim
        self.ingest = ingest

    def execute(self, context: Context) -> dict[str, Any]:
        claimed, made = context["ti"].xcom_pull(task_ids=self.claim), result_of(context, self.ingest)
        workflow = self.dag_id
        if made:
            count(RUNS, workflow=workflow, outcome="published")
            return self._told("published", made)
        if claimed and claimed["state"] == "published":
            count(RUNS, workflow=workflow, outcome="found")
            return self._told("found", claimed)
        count(RUNS, workflow=workflow, outcome="failed")
        states = task_states(context)
        if states.get(self.ingest) == TaskInstanceState.SKIPPED:
            raise AirflowFailException("The run was cancelled: it has made no product.")
        failed = sorted(task for task, state in states.items() if state == TaskInstanceState.FAILED)
        where = f": see the log of {', '.join(failed)}" if failed else ""
        raise AirflowFailException(f"The run has made no product{where}.")

    def _told(self, outcome: str, product: dict[str, Any]) -> dict[str, Any]:
        missing = product.get("missing", 0)
        told = {"outcome": outcome, "product": product, "missing": missing}
        if missing:
            told["note"] = incomplete(product["dataset"], product["made_by"], missing, product["jobs"])
            self.log.warning("%s", told["note"])
        return told
