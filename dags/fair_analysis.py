"""FAIR: a Python script of the user over ROOT files of the lake, and one product of all its outputs."""

from __future__ import annotations

from airflow.sdk import DAG, XComArg

from esap_batch.use_cases import fair_analysis
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
    "fair_analysis",
    dag_display_name="FAIR: a user's analysis of ROOT files",
    description="Bring a project's files near, run the user's script on them, merge and publish what it made",
    schedule=None,
    params=request_form("fair_analysis"),
    default_args=task_defaults(),
    max_active_runs=100,
    tags=["FAIR", "analysis"],
    doc_md=__doc__,
):
    request = ValidateRequest(task_id="validate_request", workflow="fair_analysis", check=fair_analysis.check)
    select = SelectData(task_id="select_data", steering=request.output, choose=fair_analysis.choose)
    steering, selection = select.output, XComArg(select, key="document")
    product = ClaimProduct(task_id="check_duplicate", steering=steering)
    facility = SelectFacility(
        task_id="select_facility", steering=steering, requirements=fair_analysis.requirements
    )
    stage = StageInputs(
        task_id="stage_inputs", steering=steering, facility=facility.output, selection=selection
    )
    staged = AwaitInputs(task_id="await_inputs", staged=stage.output)
    analyse = SubmitJobs(
        task_id="submit_analysis",
        steering=steering,
        facility=facility.output,
        inputs=staged.output,
        selection=selection,
        build=fair_analysis.script_jobs,
        job_type="User",
    )
    analysed = AwaitJobs(task_id="await_analysis", submission=analyse.output, require_valid=True)
    merge = SubmitJobs(
        task_id="submit_merge",
        steering=steering,
        facility=facility.output,
        product=product.output,
        inputs=analysed.output,
        selection=selection,
        build=fair_analysis.merge_jobs,
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
        steps=[analysed.output, merged.output],
        verdict=verified.output,
        papers={"selection.json": selection},
    )
    clean_up = CleanUp(
        task_id="clean_up",
        facility=facility.task_id,
        steps=[analyse.task_id, merge.task_id],
        claim=product.task_id,
        verify=verified.task_id,
    ).as_teardown()
    release = ReleaseInputs(
        task_id="release_inputs", selected=select.task_id, stage=stage.task_id, claim=product.task_id
    ).as_teardown()
    end = ReportEnd(task_id="report_end", claim=product.task_id, ingest=ingest.task_id)
    end.as_teardown(on_failure_fail_dagrun=True)

    request >> select >> product >> facility >> stage >> staged >> analyse >> analysed
    analysed >> merge >> merged >> verified >> ingest >> [clean_up, release, end]
