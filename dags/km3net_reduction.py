"""KM3NeT: runs of the detector reduced by the parameters of a campaign, high volume in, small volume out."""

from __future__ import annotations

from airflow.sdk import DAG, XComArg

from esap_batch.use_cases import km3net_reduction
from operators.clean_up import CleanUp
from operators.deduplicate import ClaimProduct
from operators.defaults import task_defaults
from operators.form import request_form
from operators.ingest import IngestProduct
from operators.report_end import ReportEnd
from operators.select_data import SelectData
from operators.select_facility import SelectFacility
from operators.stage import ReleaseInputs, StageInputs
from operators.submit import SubmitJobs
from operators.validate import ValidateRequest
from operators.verify import VerifyOutputs
from sensors.jobs import AwaitJobs
from sensors.staging import AwaitInputs

with DAG(
    "km3net_reduction",
    dag_display_name="KM3NeT: reduction of detector data",
    description="Bring runs near, reduce them by the parameters of a campaign, merge and publish them",
    schedule=None,
    params=request_form("km3net_reduction"),
    default_args=task_defaults(),
    max_active_runs=100,
    tags=["KM3NeT", "reduction"],
    doc_md=__doc__,
):
    request = ValidateRequest(
        task_id="validate_request", workflow="km3net_reduction", check=km3net_reduction.check
    )
    select = SelectData(task_id="select_data", steering=request.output, choose=km3net_reduction.choose)
    steering, selection = select.output, XComArg(select, key="document")
    product = ClaimProduct(task_id="check_duplicate", steering=steering)
    facility = SelectFacility(
        task_id="select_facility", steering=steering, requirements=km3net_reduction.requirements
    )
    stage = StageInputs(
        task_id="stage_inputs", steering=steering, facility=facility.output, selection=selection
    )
    staged = AwaitInputs(task_id="await_inputs", staged=stage.output)
    reduce = SubmitJobs(
        task_id="submit_reduction",
        steering=steering,
        facility=facility.output,
        inputs=staged.output,
        selection=selection,
        build=km3net_reduction.reduction_jobs,
        job_type="User",
    )
    reduced = AwaitJobs(task_id="await_reduction", submission=reduce.output, require_valid=True)
    merge = SubmitJobs(
        task_id="submit_merge",
        steering=steering,
        facility=facility.output,
        product=product.output,
        inputs=reduced.output,
        selection=selection,
        build=km3net_reduction.merge_jobs,
        job_type="Merging",
    )
    merged = AwaitJobs(task_id="await_merge", submission=merge.output)
    verified = VerifyOutputs(
        task_id="verify_outputs",
        steering=steering,
        submission=merge.output,
        ended=merged.output,
        product=product.output,
    )
    ingest = IngestProduct(
        task_id="ingest_products",
        steering=steering,
        product=product.output,
        steps=[reduced.output, merged.output],
        verdict=verified.output,
        papers={"selection.json": selection},
    )
    clean_up = CleanUp(
        task_id="clean_up",
        facility=facility.task_id,
        steps=[reduce.task_id, merge.task_id],
        claim=product.task_id,
        verify=verified.task_id,
    ).as_teardown()
    release = ReleaseInputs(
        task_id="release_inputs", selected=select.task_id, stage=stage.task_id, claim=product.task_id
    ).as_teardown()
    end = ReportEnd(task_id="report_end", claim=product.task_id, ingest=ingest.task_id)
    end.as_teardown(on_failure_fail_dagrun=True)

    request >> select >> product >> facility >> stage >> staged >> reduce >> reduced
    reduced >> merge >> merged >> verified >> ingest >> [clean_up, release, end]
