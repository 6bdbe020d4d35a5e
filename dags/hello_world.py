"""The whole pipeline around a payload that does next to nothing: to try things out, and to copy."""

from __future__ import annotations

from airflow.sdk import DAG

from esap_batch.use_cases import hello_world
from operators.clean_up import CleanUp
from operators.deduplicate import ClaimProduct
from operators.defaults import task_defaults
from operators.form import request_form
from operators.ingest import IngestProduct
from operators.report_end import ReportEnd
from operators.select_facility import SelectFacility
from operators.submit import SubmitJobs
from operators.validate import ValidateRequest
from operators.verify import VerifyOutputs
from sensors.jobs import AwaitJobs

with DAG(
    "hello_world",
    dag_display_name="Hello world: the pipeline without science",
    description="Submit no-op jobs that succeed, fail, are slow or misbehave as you ask",
    schedule=None,
    params=request_form("hello_world"),
    default_args=task_defaults(),
    max_active_runs=100,
    tags=["example"],
    doc_md=__doc__,
):
    request = ValidateRequest(task_id="validate_request", workflow="hello_world", check=hello_world.check)
    steering = request.output
    product = ClaimProduct(task_id="check_duplicate", steering=steering)
    facility = SelectFacility(
        task_id="select_facility", steering=steering, requirements=hello_world.requirements
    )
    submit = SubmitJobs(
        task_id="submit_jobs",
        steering=steering,
        facility=facility.output,
        product=product.output,
        build=hello_world.jobs,
        job_type="Test",
    )
    ended = AwaitJobs(task_id="await_jobs", submission=submit.output)
    verified = VerifyOutputs(
        task_id="verify_outputs",
        steering=steering,
        submission=submit.output,
        ended=ended.output,
        product=product.output,
    )
    ingest = IngestProduct(
        task_id="ingest_products",
        steering=steering,
        product=product.output,
        steps=[ended.output],
        verdict=verified.output,
    )
    clean_up = CleanUp(
        task_id="clean_up",
        facility=facility.task_id,
        steps=[submit.task_id],
        claim=product.task_id,
        verify=verified.task_id,
    ).as_teardown()
    end = ReportEnd(task_id="report_end", claim=product.task_id, ingest=ingest.task_id)
    end.as_teardown(on_failure_fail_dagrun=True)

    request >> product >> facility >> submit >> ended >> verified >> ingest >> [clean_up, end]
