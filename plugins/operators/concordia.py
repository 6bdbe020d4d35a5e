"""The chain of tasks of both CONCORDIA workflows: the same code with CTA's and with KM3NeT's settings."""

from __future__ import annotations

from airflow.sdk import DAG

from esap_batch.flat_steering import convert
from esap_batch.runtimes import PLAIN
from esap_batch.use_cases import cta_concordia as concordia
from operators.clean_up import CleanUp
from operators.deduplicate import ClaimProduct
from operators.defaults import task_defaults
from operators.form import request_form
from operators.ingest import IngestProduct
from operators.report_end import ReportEnd
from operators.select_container import SelectContainer
from operators.select_facility import SelectFacility
from operators.submit import SubmitJobs
from operators.validate import ValidateRequest
from operators.verify import VerifyOutputs
from sensors.jobs import AwaitJobs


def concordia_dag(name: str, *, experiment: str) -> DAG:
    """Give the DAG of config/workflows/NAME."""
    with DAG(
        name,
        dag_display_name=f"{experiment}: air showers (CONCORDIA)",
        description="Simulate air showers by a CORSIKA run card, in a container made to measure",
        schedule=None,
        params=request_form(name),
        default_args=task_defaults(),
        max_active_runs=100,
        tags=[experiment, "UC13", "simulation"],
        doc_md=concordia.__doc__,
    ) as dag:
        _chain(name)
    return dag


def _chain(name: str) -> None:
    request = ValidateRequest(
        task_id="validate_request", workflow=name, check=concordia.check, convert=convert
    )
    steering = request.output
    product = ClaimProduct(task_id="check_duplicate", steering=steering)
    container = SelectContainer(task_id="select_container", steering=steering, image=concordia.image)
    facility = SelectFacility(
        task_id="select_facility", steering=steering, requirements=concordia.requirements
    )
    simulate = SubmitJobs(
        task_id="submit_showers",
        steering=steering,
        facility=facility.output,
        product=product.output,
        container=container.output,
        build=concordia.shower_jobs,
        job_type="MCSimulation",
    )
    simulated = AwaitJobs(task_id="await_showers", submission=simulate.output)
    summarise = SubmitJobs(
        task_id="submit_summary",
        steering=steering,
        facility=facility.output,
        product=product.output,
        inputs=simulated.output,
        build=concordia.summary_jobs,
        runtimes=(PLAIN,),
        job_type="Merging",
    )
    summarised = AwaitJobs(task_id="await_summary", submission=summarise.output)
    verified = VerifyOutputs(
        task_id="verify_outputs",
        steering=steering,
        submission=summarise.output,
        ended=summarised.output,
        before=[{"submission": simulate.output, "ended": simulated.output}],
        product=product.output,
    )
    ingest = IngestProduct(
        task_id="ingest_products",
        steering=steering,
        product=product.output,
        steps=[simulated.output, summarised.output],
        parts=2,
        verdict=verified.output,
        container=container.output,
    )
    clean_up = CleanUp(
        task_id="clean_up",
        facility=facility.task_id,
        steps=[simulate.task_id, summarise.task_id],
        claim=product.task_id,
        verify=verified.task_id,
    ).as_teardown()
    end = ReportEnd(task_id="report_end", claim=product.task_id, ingest=ingest.task_id)
    end.as_teardown(on_failure_fail_dagrun=True)

    request >> product >> container >> facility >> simulate >> simulated
    simulated >> summarise >> summarised >> verified >> ingest >> [clean_up, end]
