"""UC2 of CTA: raw data on tape to DL3 in the lake, on request and as campaigns by schedule."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, Param

from esap_batch.campaigns import Campaign, load_campaigns
from esap_batch.use_cases import cta_reprocessing
from hooks.settings import config_dir
from operators.campaign.finish import CleanUpCampaign, ReportCampaign
from operators.campaign.process import ProcessObservations
from operators.campaign.reserve import ReserveRecall
from operators.campaign.search import SearchLake
from operators.campaign.validate import ValidateCampaign
from operators.defaults import task_defaults
from operators.form import request_form
from operators.select_facility import SelectFacility
from operators.validate import ValidateRequest


def reprocess(request: ValidateRequest) -> None:
    """Reprocess what a request or a campaign selects."""
    steering = request.output
    facility = SelectFacility(
        task_id="select_facility", steering=steering, requirements=cta_reprocessing.requirements
    )
    plan = SearchLake(
        task_id="search_lake", steering=steering, facility=facility.output, use_case=cta_reprocessing
    )
    reserved = ReserveRecall(task_id="reserve_recall", steering=steering, plan=plan.output)
    process = ProcessObservations(
        task_id="process_observations",
        steering=steering,
        facility=facility.output,
        plan=plan.output,
        use_case=cta_reprocessing,
    )
    clean_up = CleanUpCampaign(
        task_id="clean_up",
        steering=request.task_id,
        facility=facility.task_id,
        search=plan.task_id,
        reserve=reserved.task_id,
        process=process.task_id,
        use_case=cta_reprocessing,
    ).as_teardown()
    end = ReportCampaign(task_id="report_end", search=plan.task_id, process=process.task_id)
    end.as_teardown(on_failure_fail_dagrun=True)

    request >> facility >> plan >> reserved >> process >> [clean_up, end]


def settings_of(campaign: Campaign) -> dict[str, Any]:
    """Give the DAG's settings of a campaign: one run at a time, by its schedule."""
    return {
        "dag_display_name": campaign.title,
        "description": f"Campaign {campaign.name} of {campaign.owner}: config/campaigns/{campaign.name}.yaml",
        "schedule": campaign.schedule,
        "start_date": datetime.fromisoformat(str(campaign.start)).replace(tzinfo=UTC),
        "catchup": False,
        "max_active_runs": 1,
        "params": {
            "dry_run": Param(
                False, type="boolean", title="Dry run", description="Only list what would be done"
            ),
            "retry_failed": Param(
                False, type="boolean", title="Try failed observations again", description="If it is mended"
            ),
        },
        "default_args": {**task_defaults(), "owner": campaign.owner, "priority_weight": campaign.priority},
        "tags": ["CTA", "UC2", "campaign"],
    }


with DAG(
    "cta_reprocessing",
    dag_display_name="CTA: reprocess raw data from tape",
    description="Recall observations from tape, reprocess them, publish their DL3",
    schedule=None,
    params=request_form("cta_reprocessing"),
    default_args=task_defaults(),
    max_active_runs=100,
    tags=["CTA", "UC2", "tape"],
    doc_md=__doc__,
) as on_request:
    reprocess(
        ValidateRequest(task_id="validate_request", workflow="cta_reprocessing", check=cta_reprocessing.check)
    )

# A campaign whose file is wrong has no DAG; campaign_files.py says so.
for campaign in load_campaigns(config_dir(), "cta_reprocessing"):
    with DAG(campaign.dag_id, doc_md=__doc__, **settings_of(campaign)) as dag:
        reprocess(
            ValidateCampaign(task_id="validate_request", campaign=campaign, check=cta_reprocessing.check)
        )
    globals()[campaign.dag_id] = dag
