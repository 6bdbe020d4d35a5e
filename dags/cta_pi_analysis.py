"""UC12 of CTA: a principal investigator analyses observations of a shopping basket or a project."""

from __future__ import annotations

from airflow.sdk import DAG, XComArg

from esap_batch.use_cases import cta_pi_analysis
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
    "cta_pi_analysis",
    dag_display_name="CTA: analysis of a project's data",
    description="Find observations and their IRFs, bring them near, analyse them, publish the result",
    schedule=None,
    params=request_form("cta_pi_analysis"),
    default_args=task_defaults(),
    max_active_runs=100,
    tags=["CTA", "UC12", "analysis"],
    doc_md=__doc__,
):
    request = ValidateRequest(
        task_id="validate_request", workflow="cta_pi_analysis", check=cta_pi_analysis.check
    )
    select = SelectData(task_id="select_data", steering=request.output, choose=cta_pi_analysis.choose)
    steering, selection = select.output, XComArg(select, key="document")
    product = ClaimProduct(task_id="check_duplicate", steering=steering)
    facility = SelectFacility(
        task_id="select_facility", steering=steering, requirements=cta_pi_analysis.requirements
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
        build=cta_pi_analysis.analysis_jobs,
        job_type="User",
    )
    analysed = AwaitJobs(task_id="await_analysis", submission=analyse.output, require_valid=True)
    combine = SubmitJobs(
        task_id="submit_combine",
        steering=steering,
        facility=facility.output,
        product=product.output,
        inputs=analysed.output,
        selection=selection,
        build=cta_pi_analysis.combine_jobs,
        job_type="Merging",
    )
    combined = AwaitJobs(task_id="await_combine", submission=combine.output)
    verified = VerifyOutputs(
        task_id="verify_outputs",
        steering=steering,
        submission=combine.output,
        ended=combined.output,
        product=product.output,
    )
    ingest = IngestProduct(
        task_id="ingest_products",
        steering=steering,
        product=product.output,
        steps=[analysed.output, combined.output],
        verdict=verified.output,
        papers={"selection.json": selection},
    )
    clean_up = CleanUp(
        task_id="clean_up",
        facility=facility.task_id,
        steps=[analyse.task_id, combine.task_id],
        claim=product.task_id,
        verify=verified.task_id,
    ).as_teardown()
    release = ReleaseInputs(
        task_id="release_inputs", selected=select.task_id, stage=stage.task_id, claim=product.task_id
    ).as_teardown()
    end = ReportEnd(task_id="report_end", claim=product.task_id, ingest=ingest.task_id)
    end.as_teardown(on_failure_fail_dagrun=True)

    request >> select >> product >> facility >> stage >> staged >> analyse >> analysed
    analysed >> combine >> combined >> verified >> ingest >> [clean_up, release, end]
