"""Deletes, every night, what runs without a complete product have left and nobody has come back for."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from operators.defaults import task_defaults
from operators.housekeeping import DeleteLeftovers

with DAG(
    "housekeeping",
    dag_display_name="Housekeeping",
    description="Delete old work files of runs that have failed or were cancelled",
    schedule="0 3 * * *",
    catchup=False,
    max_active_runs=1,
    params={
        "dry_run": Param(
            False, type="boolean", title="Dry run", description_md="Only tell what would be deleted."
        )
    },
    default_args=task_defaults(),
    tags=["service"],
    doc_md=__doc__,
):
    leftovers = DeleteLeftovers(task_id="delete_leftovers")
