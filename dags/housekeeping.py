"""Deletes, every night, what runs without a complete product have left and nobody has come back for.

It also ends jobs, recalls and reservations of runs that are not known any more, for example of a deleted DAG.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

from operators.defaults import task_defaults
from operators.history import DeleteHistory
from operators.housekeeping import DeleteLeftovers
from operators.orphans import EndOrphans

with DAG(
    "housekeeping",
    dag_display_name="Housekeeping",
    description="End what deleted runs have left; delete old work files, runs and logs",
    schedule="0 3 * * *",
    catchup=False,
    max_active_runs=1,
    params={
        "dry_run": Param(
            False, type="boolean", title="Dry run", description_md="Only tell what would be done."
        )
    },
    default_args=task_defaults(),
    tags=["service"],
    doc_md=__doc__,
):
    orphans = EndOrphans(task_id="end_orphans")
    leftovers = DeleteLeftovers(task_id="delete_leftovers")
    history = DeleteHistory(task_id="delete_history")
