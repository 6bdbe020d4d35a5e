"""Publishes a verified product in the lake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from esap_batch import __version__
from esap_batch.facilities import AUTO
from esap_batch.jobs import InputFile
from esap_batch.manifest import Manifest
from esap_batch.metadata import product_metadata
from esap_batch.obscore import obscore
from esap_batch.products import (
    Claim,
    ProductFile,
    base_of,
    claim_metadata,
    next_generation,
    own_claims,
)
from esap_batch.provenance import Production, prov_json
from hooks.lake_bulk import BulkLake, origin_of
from hooks.rucio_lake import dump
from operators.site import Site, owner_of, run_key

if TYPE_CHECKING:
    from airflow.sdk import Context

    from esap_batch.workflows import Workflow


DAY_S = 86_400


class IngestProduct(BaseOperator):
    """Registers the files, with steering file, verdict and provenance beside them, as one dataset.

    All steps but the last are unknown to a reader, who looks for closed datasets; each finds what an
    earlier try did: files, replicas, metadata, rules, close. A product that lacks jobs is published with the
    list of them. When there is more of it later, the next generation of the dataset holds old and new files.

    :param steering: what `ValidateRequest` gives. :param product: what `ClaimProduct` gives.
    :param steps: what each `AwaitJobs` gives, the last one being the product's.
    :param parts: how many of the last steps make the product together.
    :param verdict: what `VerifyOutputs` gives.
    :param container: what `SelectContainer` gives: metadata name the image.
    :param papers: references to documents that are kept with the product, by their file names.
    :returns: `{"dataset", "production_id", "made_by", "state", "files", "rse", "rules": {RSE: rule id},
        "missing", "jobs"}`: of how many of its jobs the outputs are not in it.
    """

    template_fields = ("steering", "product", "steps", "verdict", "container", "papers")

    def __init__(
        self,
        *,
        steering: Any,
        product: Any,
        steps: Sequence[Any],
        verdict: Any,
        parts: int = 1,
        container: Any = None,
        papers: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.parts = parts
        self.container = container
        self.papers = papers or {}
        self.steering = steering
        self.product = product
        self.steps = steps
        self.verdict = verdict

    def execute(self, context: Context) -> dict[str, Any]:
        from esap_batch.workflows import load_workflow
        from hooks.settings import config_dir

        workflow = load_workflow(config_dir(), self.steering["workflow"])
        site = Site.of(self.steps[-1], owner_of(context))
        manifests = [site.manifest(step) for step in self.steps]
        manifests[-1] = Manifest.joined(manifests[-self.parts :])
        *before, target = self._generations(site, run_key(context), manifests[-1])
        if target.is_published:
            self.log.info("%s is published, and there is nothing to add", target.dataset)
        else:
            target = self._publish(site, workflow, manifests, target, before)
        for old in before:
            state = {"esap_state": "superseded", "esap_superseded_by": target.dataset}
            site.lake.set_metadata(old.dataset, state)
        return self._result(site, target)

    def _generations(self, site: Site, run: str, manifest: Manifest) -> list[Claim]:
        """Give the run's own claims, the last one being the one to publish.

        Where a partial product is published and there is more now, that is a new one.
        """
        base = base_of(self.product["dataset"])
        while True:
            claims = site.lake.claims(base)
            own = own_claims(claims, run)
            newest = own[-1]
            if not newest.is_published or not newest.missing or not _added(site, newest, manifest):
                return own
            site.lake.claim(next_generation(claims), claim_metadata(self.steering, run))

    def _publish(
        self,
        site: Site,
        workflow: Workflow,
        manifests: Sequence[Manifest],
        target: Claim,
        before: Sequence[Claim],
    ) -> Claim:
        dataset, rse = target.dataset, site.facility.storage_rse
        missing = [{"step": m.activity.step, **one} for m in manifests for one in m.missing]
        target = replace(
            target, is_published=True, missing=len(missing), jobs=sum(m.activity.jobs for m in manifests)
        )
        files = [*manifests[-1].files, *self._papers(site, manifests, target, missing)]
        site.lake.add_files(dataset, rse, files)
        described = {f["name"] for old in before for f in site.lake.files(old.dataset)}
        new = [f for f in files if f.lfn not in described]
        BulkLake(site.lake).describe(self._metadata(workflow, manifests, target, new))
        rules = self._protect(site, workflow, dataset)
        site.lake.close(dataset)
        self.log.info("published %s: %d files at %s, copies at %s", dataset, len(files), rse, sorted(rules))
        return target

    def _result(self, site: Site, target: Claim) -> dict[str, Any]:
        return {
            **self.product,
            "dataset": target.dataset,
            "production_id": _production_id(target),
            "state": "published",
            "files": len(site.lake.files(target.dataset)),
            "rse": site.facility.storage_rse,
            "rules": site.lake.rules(target.dataset),
            "missing": target.missing,
            "jobs": target.jobs,
        }

    def _papers(
        self, site: Site, manifests: Sequence[Manifest], target: Claim, missing: Sequence[Mapping[str, Any]]
    ) -> list[ProductFile]:
        """Write what goes with the product: steering file, verdict, provenance, the list of missing jobs."""
        names = ("steering.json", "verdict.json", "provenance.json", "missing.json", *self.papers)
        pfns = site.pfns(f"{target.dataset}/{name}" for name in names)
        written = [write_paper(site, pfns, f"{target.dataset}/steering.json", self.steering)]
        production = Production(
            production_id=_production_id(target),
            dataset=target.dataset,
            run=target.run,
            owner=self.steering["owner"],
            service_version=__version__,
            steering=written[0],
            products=manifests[-1].files,
            steps=tuple(m.activity for m in manifests),
            read=_read(site, manifests),
            made_by={f.lfn: m.activity.group for m in reversed(manifests) for f in m.files},
        )
        verdict = {**self.verdict, "validation": list(manifests[-1].validation)}
        papers = {"verdict.json": verdict, "provenance.json": prov_json(production)}
        papers |= {name: site.recall(reference) for name, reference in self.papers.items()}
        if missing:
            papers["missing.json"] = {"missing": target.missing, "jobs": target.jobs, "list": missing}
        return written + [write_paper(site, pfns, f"{target.dataset}/{n}", d) for n, d in papers.items()]

    def _metadata(
        self,
        workflow: Workflow,
        manifests: Sequence[Manifest],
        target: Claim,
        files: Sequence[ProductFile],
    ) -> dict[str, dict[str, Any]]:
        """Describe dataset and files, by LFN."""
        common = product_metadata(
            self.steering,
            workflow.product["metadata"],
            _production_id(target),
            [m.activity for m in manifests],
            self.verdict,
            __version__,
        )
        if self.container:
            common |= {f"image_{k}": self.container[k] for k in ("dataset", "recipe", "sha256")}
        completeness = {
            "esap_complete": not target.missing,
            "esap_missing_jobs": target.missing,
            "esap_jobs": target.jobs,
        }
        columns = obscore(common, workflow.product.get("obscore", {}), target.dataset)
        described = {f.lfn: {**common, "esap_file": f.name} for f in files}
        for file in files:
            if file.sha256:
                described[file.lfn]["esap_sha256"] = file.sha256
        return {**described, target.dataset: {**common, **completeness, **columns}}

    def _protect(self, site: Site, workflow: Workflow, dataset: str) -> dict[str, str]:
        """Ask for a copy where the product was made, and for one elsewhere unless it is for download only."""
        rse, request = site.facility.storage_rse, self.steering["request"]
        asked = [r for r in (request.get("output_rse"),) if r not in (None, AUTO)]
        download = request.get("result_use") == "download"
        elsewhere = asked if download else [*asked, *workflow.product["copies"]]
        places = [rse, *[e for e in elsewhere if e != rse][:1]]
        origin = origin_of(self.steering["run_id"])
        options: dict[str, Any] = {"activity": "Production Output", "meta": origin}
        if download:
            lifetime = self.steering["production"]["download_days"] * DAY_S
            options |= {"lifetime": lifetime, "purge_replicas": True}  # its names must be free again
            site.lake.expire(dataset, lifetime)
        return {p: site.lake.add_rule(dataset, p, **options) for p in places}


def _production_id(claim: Claim) -> str:
    return claim.dataset.rsplit("/", 1)[-1]


def _added(site: Site, published: Claim, manifest: Manifest) -> bool:
    there = {f["name"] for f in site.lake.files(published.dataset)}
    return any(f.lfn not in there for f in manifest.files)


def _read(site: Site, manifests: Sequence[Manifest]) -> dict[str, tuple[InputFile, ...]]:
    """Give what the jobs of each batch have read, but for files of earlier steps that are not published."""
    transient = {f.lfn for m in manifests for f in m.files} - {f.lfn for f in manifests[-1].files}
    found = {}
    for manifest in manifests:
        group, missing = manifest.activity.group, {one["job"] for one in manifest.missing}
        done = (job for job in site.jobs(group) if job.index not in missing)
        files = {f.lfn: f for job in done for f in job.inputs if f.lfn not in transient}
        found[group] = tuple(files[lfn] for lfn in sorted(files))
    return found


def write_paper(site: Site, pfns: Mapping[str, str], lfn: str, document: Mapping[str, Any]) -> ProductFile:
    """Write a JSON document that goes with a product, under its LFN."""
    stored = site.storage.put(pfns[lfn], dump(document))
    return ProductFile(lfn.rsplit("/", 1)[-1], lfn, pfns[lfn], stored.size, stored.adler32)
