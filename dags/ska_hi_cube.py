"""HI sources in a data cube (HCG 16, HI-FRIENDS): sub-cubes and merge, or a Snakemake workflow."""

from __future__ import annotations

from airflow.sdk import DAG, XComArg

from esap_batch.use_cases import ska_hi_cube
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
    "ska_hi_cube",
    dag_display_name="SKA: HI sources in a data cube",
    description="Bring a cube near, search it in sub-cubes, merge, check and publish maps and catalogue",
    schedule=None,
    params=request_form("ska_hi_cube"),
    default_args=task_defaults(),
    max_active_runs=100,
    tags=["SKA", "HCG16", "analysis"],
    doc_md=__doc__,
):
    request = ValidateRequest(task_id="validate_request", workflow="ska_hi_cube", check=ska_hi_cube.check)
    select = SelectData(task_id="select_data", steering=request.output, choose=ska_hi_cube.choose)
    steering, selection = select.output, XComArg(select, key="document")
    product = ClaimProduct(task_id="check_duplicate", steering=steering)
    facility = SelectFacility(
        task_id="select_facility", steering=steering, requirements=ska_hi_cube.requirements
    )
    stage = StageInputs(
        task_id="stage_inputs", steering=steering, facility=facility.output, selection=selection
    )
    staged = AwaitInputs(task_id="await_inputs", staged=stage.output)
    search = SubmitJobs(
        task_id="submit_subcubes",
        steering=steering,
        facility=facility.output,
        inputs=staged.output,
        selection=selection,
        build=ska_hi_cube.first_jobs,
        job_type="User",
    )
    searched = AwaitJobs(task_id="await_subcubes", submission=search.output, require_valid=True)
    merge = SubmitJobs(
        task_id="submit_merge",
        steering=steering,
        facility=facility.output,
        product=product.output,
        inputs=[staged.output, searched.output],
        selection=selection,
        build=ska_hi_cube.last_jobs,
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
        steps=[searched.output, merged.output],
        verdict=verified.output,
        papers={"selection.json": selection},
    )
    clean_up = CleanUp(
        task_id="clean_up",
        facility=facility.task_id,
        steps=[search.task_id, merge.task_id],
        claim=product.task_id,
        verify=verified.task_id,
    ).as_teardown()
    release = ReleaseInputs(
        task_id="release_inputs", selected=select.task_id, stage=stage.task_id, claim=product.task_id
    ).as_teardown()
    end = ReportEnd(task_id="report_end", claim=product.task_id, ingest=ingest.task_id)
    end.as_teardown(on_failure_fail_dagrun=True)

    request >> select >> product >> facility >> stage >> staged >> search >> searched
    searched >> merge >> merged >> verified >> ingest >> [clean_up, release, end]
