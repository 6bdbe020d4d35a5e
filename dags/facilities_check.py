"""Tests every facility that is switched on.

What is out of order gets no jobs until a later check finds it in order, or the result is older than
`trust_s` of config/facilities_check.yaml. That file also holds the schedule; without one the check is
started by hand.
"""

from __future__ import annotations

from airflow.sdk import DAG

from esap_batch.facilities import load_facilities
from hooks.facility_health import check_settings
from hooks.settings import config_dir
from operators.check_facility import CheckFacility, TellHealth
from operators.defaults import task_defaults

with DAG(
    "facilities_check",
    dag_display_name="Check of the facilities",
    description="Test connection, storage, clock, software and runtimes of each facility",
    schedule=check_settings()["schedule"],
    catchup=False,
    max_active_runs=1,
    default_args=task_defaults() | {"retries": 1},
    tags=["service"],
    doc_md=__doc__,
):
    names = [f.name for f in load_facilities(config_dir() / "facilities.yaml") if f.enabled]
    checked = CheckFacility.partial(
        task_id="check_facility", map_index_template="{{ task.facility }}"
    ).expand(facility=names)
    told = TellHealth(task_id="tell_health", found=checked.output)
