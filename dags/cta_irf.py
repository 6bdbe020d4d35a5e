"""UC3 of CTA: an instrument response function for an observation period, by simulation."""

from __future__ import annotations

from airflow.sdk import DAG

from esap_batch.use_cases import cta_irf
from operators.clean_up import CleanUp
from operators.deduplicate import ClaimProduct
from operators.defaults import task_defaults
from operators.estimate import ConfirmWork, EstimateWork
from operators.form import request_form
from operators.ingest import IngestProduct
from operators.report_end import ReportEnd
from operators.select_facility import SelectFacility
from operators.submit import SubmitJobs
from operators.validate import ValidateRequest
from operators.verify import VerifyOutputs
from sensors.jobs import AwaitJobs

with DAG(
    "cta_irf",
    dag_display_name="CTA: instrument response function",
    description="Simulate, merge, check and publish an IRF in GADF format",
    schedule=None,
    params=request_form("cta_irf"),
    default_args=task_defaults(),
    max_active_runs=100,
    tags=["CTA", "UC3", "simulation"],
    doc_md=__doc__,
):
    request = ValidateRequest(task_id="validate_request", workflow="cta_irf", check=cta_irf.check)
    steering = request.output
    product = ClaimProduct(task_id="check_duplicate", steering=steering)
    plan = EstimateWork(task_id="estimate_events", steering=steering, estimate=cta_irf.estimate)
    confirm = ConfirmWork(
        task_id="confirm_events",
        plan=plan.output,
        subject="Run a large IRF production?",
        body="{{ ti.xcom_pull(task_ids='estimate_events')['summary'] }}",
    )
    facility = SelectFacility(task_id="select_facility", steering=steering, requirements=cta_irf.requirements)
    simulate = SubmitJobs(
        task_id="submit_simulation",
        steering=steering,
        facility=facility.output,
        build=cta_irf.simulation_jobs,
        job_type="MCSimulation",
    )
    simulated = AwaitJobs(task_id="await_simulation", submission=simulate.output, require_valid=True)
    merge = SubmitJobs(
        task_id="submit_merge",
        steering=steering,
        facility=facility.output,
        product=product.output,
        inputs=simulated.output,
        build=cta_irf.merge_jobs,
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
        steps=[simulated.output, merged.output],
        verdict=verified.output,
    )
    clean_up = CleanUp(
        task_id="clean_up",
        facility=facility.task_id,
        steps=[simulate.task_id, merge.task_id],
        claim=product.task_id,
        verify=verified.task_id,
    ).as_teardown()
    end = ReportEnd(task_id="report_end", claim=product.task_id, ingest=ingest.task_id)
    end.as_teardown(on_failure_fail_dagrun=True)

    request >> product >> plan >> confirm >> facility
    facility >> simulate >> simulated >> merge >> merged >> verified >> ingest >> [clean_up, end]
