"""What has become of other runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.utils.state import DagRunState

from esap_batch.products import RunState
from operators.site import parts_of

if TYPE_CHECKING:
    from airflow.sdk import Context

ENDED = (DagRunState.SUCCESS, DagRunState.FAILED)


def is_known(context: Context, run: str) -> bool:
    """Say whether Airflow knows a run; it does not when somebody has deleted it."""
    dag_id, run_id = parts_of(run)
    return bool(context["ti"].get_dr_count(dag_id=dag_id, run_ids=[run_id]))


def run_state(context: Context, run: str) -> RunState:
    """Say of a run, as `run_key` names it, whether it goes on; one that was deleted has ended."""
    if not is_known(context, run):
        return RunState.ENDED
    state = context["ti"].get_dagrun_state(*parts_of(run))
    return RunState.ENDED if state in ENDED else RunState.ALIVE
