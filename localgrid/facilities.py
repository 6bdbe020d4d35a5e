"""Testing every facility from the command line, by a run of the DAG facilities_check."""

from __future__ import annotations

import time

from localgrid.airflow_api import ENDED, AirflowApi

DAG = "facilities_check"
LOOK_EVERY = 1.0  # s


def check(api: AirflowApi, within_s: float) -> tuple[str, bool]:
    """Run the check; gives its table in Markdown, and whether all facilities are in order.

    RuntimeError when there is no table at the end, or no end `within_s` (s).
    """
    answer = api.trigger(DAG, {})
    answer.raise_for_status()
    run, deadline = str(answer.json()["dag_run_id"]), time.monotonic() + within_s
    while (state := api.run(DAG, run)["state"]) not in ENDED:
        if time.monotonic() > deadline:
            raise RuntimeError(f"localgrid: run {run} of {DAG} is {state} after {within_s:g} s")
        time.sleep(LOOK_EVERY)
    table = api.xcom(DAG, run, "tell_health", "table")
    if table is None:
        raise RuntimeError(f"localgrid: run {run} of {DAG} has failed before it could show anything")
    return str(table), state == "success"
