"""What has become of other runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.utils.state import DagRunState

from esap_batch.products import RunState

if TYPE_CHECKING:
    from airflow.sdk import Context

ENDED = (DagRunState.SUCCESS, DagRunState.FAILED)


def run_state(context: Context, run: str) -> RunState:
    """Say of a run, as `run_key` names it, whether it goes on; one that was deleted has ended."""
    dag_id, _, run_id = run.partition("/")
    counted = context["ti"].get_dr_count(dag_id=dag_id, run_ids=[run_id])
    if not counted:
        return RunState.ENDED
    state = context["ti"].get_dagrun_state(dag_id, run_id)
    return RunState.ENDED if state in ENDED else RunState.ALIVE
