"""Submits the jobs of one step, exactly once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from esap_batch.jobs import Batch, InputFile, JobSpec, group_name
from esap_batch.products import work_lfn
from operators.site import Site, owner_of

if TYPE_CHECKING:
    from airflow.sdk import Context

BuildJobs = Callable[[dict[str, Any], str, Sequence[InputFile]], Sequence[JobSpec]]


class SubmitJobs(BaseOperator):
    """Builds the jobs of a step and submits those that the facility does not have yet.

    The batch is named by run and task, and described in a journal on the facility's storage before the
    first job is sent: a try that finds both goes on from there.

    :param steering: what `ValidateRequest` gives.
    :param facility: what `SelectFacility` gives.
    :param build: the use case's function from steering, directory and inputs to the jobs.
    :param product: what `ClaimProduct` gives, when the step's outputs are the product; without it they go
        to the batch's work area.
    :param inputs: what `AwaitJobs` of an earlier step gives.
    :param job_type: accounting class at the back end (DIRAC's JobType).
    :returns: `{"group", "count", "facility", "task_id", "allowed_failures", "journal": {lfn, pfn, adler32}}`.
    """

    template_fields = ("steering", "facility", "product", "inputs")

    def __init__(
        self,
        *,
        steering: Any,
        facility: Any,
        build: BuildJobs,
        product: Any = None,
        inputs: Any = None,
        job_type: str = "User",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.steering = steering
        self.facility = facility
        self.build = build
        self.product = product
        self.inputs = inputs
        self.job_type = job_type

    def execute(self, context: Context) -> dict[str, Any]:
        site = Site.of(self.facility["facility"], owner_of(context))
        run = context["dag_run"]
        group = group_name(run.dag_id, run.run_id, self.task_id)
        batch = self._batch(site, group)
        journal = site.keep(group, "batch.json", batch.journal())
        site.backend.submit(batch, {job.index: 1 for job in batch.jobs})
        self.log.info("%d jobs at %s, batch %s", len(batch.jobs), site.facility.title, group)
        share = Fraction(str(self.steering["request"].get("allowed_failure_fraction", 0)))
        return {
            "group": group,
            "count": len(batch.jobs),
            "facility": site.facility.name,
            "task_id": self.task_id,
            "allowed_failures": int(share * len(batch.jobs)),
            "journal": journal,
        }

    def _batch(self, site: Site, group: str) -> Batch:
        directory = self.product["dataset"] if self.product else work_lfn(group)
        inputs = site.manifest(self.inputs).as_inputs() if self.inputs else []
        return Batch(
            group=group,
            jobs=site.located(self.build(self.steering, directory, inputs)),
            runtime=site.facility.runtimes[0],
            software=tuple(self.steering["software"]),
            site=site.facility.site,
            job_type=self.job_type,
        )
