"""Looks at what came out before anybody else may."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from esap_batch.manifest import Manifest
from esap_batch.products import QUARANTINE_AREA, Finding, Severity, Verdict, judge
from hooks.rucio_lake import dump
from operators.site import Site, owner_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from esap_batch.jobs import JobSpec

SHOWN = 10


class VerifyOutputs(BaseOperator):
    """Checks that every file is what its job reported, and that the validators' reports pass.

    A product that fails is moved to the quarantine area with the verdict beside it, never deleted and
    never ingested.

    :param submission: what `SubmitJobs` gives. :param ended: what `AwaitJobs` gives.
    :param steering: what `ValidateRequest` gives. :param product: what `ClaimProduct` gives.
    :param before: `{"submission", "ended"}` of each earlier step whose outputs are part of the product too.
    :returns: the verdict `{"passed", "checks", "findings"}`.
    """

    template_fields = ("steering", "submission", "ended", "product", "before")

    def __init__(
        self,
        *,
        steering: Any,
        submission: Any,
        ended: Any,
        product: Any,
        before: Sequence[Any] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.before = before
        self.steering = steering
        self.submission = submission
        self.ended = ended
        self.product = product

    def execute(self, context: Context) -> dict[str, Any]:
        site = Site.of(self.ended, owner_of(context))
        steps = [*self.before, {"submission": self.submission, "ended": self.ended}]
        manifest = Manifest.joined([site.manifest(step["ended"]) for step in steps])
        jobs = [job for step in steps for job in site.batch(step["submission"]).jobs]
        verdict = self._judge(site, manifest, jobs)
        for finding in verdict.findings:
            self.log.warning("%s", finding)
        if not verdict.passed:
            self._quarantine(site, manifest, verdict)
        self.log.info("%d checks passed on %d files", verdict.checks, len(manifest.files))
        return verdict.document()

    def _judge(self, site: Site, manifest: Manifest, jobs: Iterable[JobSpec]) -> Verdict:
        done = {f.lfn for f in manifest.files}
        outputs = [o for job in jobs for o in job.outputs if o.lfn in done]
        must_be_checked = [o.name for o in outputs if o.validator]
        verdict = judge(manifest.validation, must_be_checked, severities_of(self.steering))
        return Verdict(verdict.checks + len(manifest.files), (*verdict.findings, *damaged(site, manifest)))

    def _quarantine(self, site: Site, manifest: Manifest, verdict: Verdict) -> None:
        if site.lake.is_published(self.product["dataset"]):
            raise AirflowFailException(f"{self.product['dataset']} is published: it is left as it is")
        name = self.product["production_id"]
        places = {f.lfn: f"{QUARANTINE_AREA}/{name}/{f.name}" for f in manifest.files}
        reason = f"{QUARANTINE_AREA}/{name}/verdict.json"
        pfns = site.pfns([*places.values(), reason])
        if not site.storage.exists([pfns[reason]]):  # an earlier try may have moved files already
            site.storage.put(pfns[reason], dump(verdict.document()))
        there = site.storage.exists(f.pfn for f in manifest.files)
        for file in manifest.files:
            if file.pfn in there:
                site.storage.move(file.pfn, pfns[places[file.lfn]])
        shown = "; ".join(str(f) for f in verdict.errors[:SHOWN])
        raise AirflowFailException(
            f"The product does not pass its checks and is not ingested. {shown}. "
            f"It lies at {site.facility.storage_rse} in {QUARANTINE_AREA}/{name} for inspection; "
            "an equal request makes it anew."
        )


def severities_of(steering: Mapping[str, Any]) -> Mapping[str, str]:
    """Give how much each check of the workflow weighs."""
    return {name: str(check["severity"]) for name, check in steering["checks"].items()}


def damaged(site: Site, manifest: Manifest) -> Iterable[Finding]:
    """Find the files that are not on storage as their jobs have reported them."""
    for file in manifest.files:
        stored = site.storage.stat(file.pfn)
        if stored is None:
            yield Finding(
                file.name, "file.present", file.lfn, Severity.ERROR, "is not on the storage element"
            )
        elif (stored.size, stored.adler32) != (file.size, file.adler32):
            message = f"has {stored.size} bytes and adler32 {stored.adler32}, its job reported {file.size} "
            message += f"and {file.adler32}"
            yield Finding(file.name, "file.checksum", file.lfn, Severity.ERROR, message)
