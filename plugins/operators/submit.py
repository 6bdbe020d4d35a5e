"""Submits the jobs of one step, exactly once."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from esap_batch.containers import IMAGE_FILE
from esap_batch.jobs import Batch, InputFile, JobSpec, digests, group_name
from esap_batch.products import base_of, next_generation, own_claims, work_lfn
from esap_batch.runtimes import CONTAINED, runtime_for
from operators.login import NeedsLogin, goes_on_after_login
from operators.site import Site, owner_of, run_key
from operators.submission import submitting

if TYPE_CHECKING:
    from airflow.sdk import Context

HELD = ("dataset", "rule", "lifetime_s")  # of what `StageInputs` gives: what `hold_inputs` needs
BuildJobs = Callable[[dict[str, Any], str, Sequence[InputFile]], Sequence[JobSpec]]


class SubmitJobs(NeedsLogin):
    """Builds the jobs of a step and submits those that the facility does not have yet.

    Where it takes a limited number of jobs `AwaitJobs` submits them, as there are places.
    The batch is named by run and task, and described in a journal on the facility's storage before the
    first job is sent: a try that finds both goes on from there.

    :param steering: what `ValidateRequest` gives.
    :param facility: what `SelectFacility` gives.
    :param build: the use case's function from steering, directory and inputs to the jobs.
    :param product: what `ClaimProduct` gives, when the step's outputs are the product; without it they go
        to the batch's work area.
    :param inputs: what `AwaitInputs`, or `AwaitJobs` of an earlier step, gives; or a list of these.
    :param selection: reference to the document that `SelectData` keeps; `build` finds its content in the
        steering file, as `selected`.
    :param container: what `SelectContainer` gives; the payloads then run in that image.
    :param runtimes: types of runtime that this step takes; without it those of the workflow.
    :param network: the payloads may use the network, also in a container.
    :param job_type: accounting class at the back end (DIRAC's JobType).
    :returns: `{"group", "count", "facility", "storage_rse", "task_id", "allowed_failures",
        "journal": {lfn, pfn, adler32}, "staged": [{"dataset", "rule", "lifetime_s"}, ...]}`.
    """

    template_fields = ("steering", "facility", "product", "inputs", "selection", "container")

    def __init__(
        self,
        *,
        steering: Any,
        facility: Any,
        build: BuildJobs,
        product: Any = None,
        inputs: Any = None,
        selection: Any = None,
        container: Any = None,
        runtimes: Sequence[str] = (),
        network: bool = False,
        job_type: str = "User",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.steering = steering
        self.facility = facility
        self.build = build
        self.product = product
        self.inputs = inputs
        self.selection = selection
        self.container = container
        self.runtimes = tuple(runtimes)
        self.network = network
        self.job_type = job_type

    @goes_on_after_login
    def begin(self, context: Context) -> dict[str, Any]:
        site = Site.of(self.facility, owner_of(context))
        run = context["dag_run"]
        group = group_name(run.dag_id, run.run_id, self.task_id)
        batch = self._batch(site, group, run_key(context))
        site.require_login(batch.jobs)
        site.sign(group, run_key(context), self.task_id)
        journal = site.keep(group, "batch.json", batch.journal())
        if site.places(group):
            self.log.info(
                "%d jobs wait for places at %s, batch %s", len(batch.jobs), site.facility.title, group
            )
        else:
            with submitting(site.storage, posixpath.dirname(journal["pfn"]), context):
                site.backend.submit(batch, {job.index: 1 for job in batch.jobs})
            self.log.info("%d jobs at %s, batch %s", len(batch.jobs), site.facility.title, group)
        share = Fraction(str(self.steering["request"].get("allowed_failure_fraction", 0)))
        return {
            "group": group,
            "count": len(batch.jobs),
            **site.where,
            "task_id": self.task_id,
            "allowed_failures": int(share * len(batch.jobs)),
            "journal": journal,
            "staged": [{k: s[k] for k in HELD} for s in self._given() if all(s.get(k) for k in HELD)],
        }

    def _batch(self, site: Site, group: str, run: str) -> Batch:
        return Batch(
            group=group,
            jobs=site.located(self._jobs(site, group, run)),
            runtime=self._runtime(site),
            software=tuple(self.steering["software"]),
            site=site.facility.site,
            job_type=self.job_type,
            transfer=site.facility.transfer,
        )

    def _jobs(self, site: Site, group: str, run: str) -> Sequence[JobSpec]:
        """Build the jobs; they write to no folder whose product is published, unless all stays the same."""
        inputs, steering = self._inputs(site), self.steering
        if self.selection:
            steering = {**steering, "selected": site.recall(self.selection)}
        if not self.product:
            return self.build(steering, work_lfn(group), inputs)
        standing = site.journal(group)
        made = [o.lfn for job in standing.jobs for o in job.outputs] if standing else []
        if standing and made:
            jobs = self.build(steering, posixpath.dirname(made[0]), inputs)
            if digests(jobs, steering["software"]) == digests(standing.jobs, standing.software):
                return jobs
        return self.build(steering, self._directory(site, run), inputs)

    def _directory(self, site: Site, run: str) -> str:
        """Name the folder of a product that is not published; AirflowFailException when none is lacking."""
        dataset: str = self.product["dataset"]
        claims = site.lake.claims(base_of(dataset))
        published = [c for c in own_claims(claims, run)[-1:] if c.is_published]
        if not published:
            return dataset
        if not published[0].missing:
            raise AirflowFailException(f"{published[0].dataset} is published and complete: nothing to submit")
        return next_generation(claims)

    def _runtime(self, site: Site) -> Mapping[str, Any]:
        accepted = self.runtimes or self.facility.get("runtimes", ())
        names = [one["name"] for one in self.steering["software"]]
        try:
            chosen = runtime_for(site.facility, accepted, names, own_image=bool(self.container))
        except LookupError as error:
            raise AirflowFailException(str(error)) from None
        if chosen["type"] in CONTAINED and self.network:
            chosen = {**chosen, "network": True}
        if not self.container:
            return chosen
        return {**chosen, "image": IMAGE_FILE, "sha256": self.container["sha256"]}

    def _image(self, site: Site) -> InputFile:
        """Take the image from the facility's own storage where its copy has arrived."""
        image, near = self.container, site.pfns([self.container["lfn"]])[self.container["lfn"]]
        pfn = near if site.storage.exists([near]) else image["pfn"]
        return InputFile(IMAGE_FILE, image["lfn"], image["size"], image["adler32"], pfn)

    def _inputs(self, site: Site) -> list[InputFile]:
        if self.container:
            return [self._image(site)]
        return [file for given in self._given() for file in _files_of(site, given)]

    def _given(self) -> list[Mapping[str, Any]]:
        several = self.inputs if isinstance(self.inputs, list) else [self.inputs]
        return [given for given in several if given]


def _files_of(site: Site, given: Mapping[str, Any]) -> list[InputFile]:
    if "manifest" in given:
        return site.manifest(given).as_inputs()
    return [InputFile(**f) for f in site.recall(given["inputs"])["inputs"]]
