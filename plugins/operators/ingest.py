"""Publishes a verified product in the lake."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from esap_batch import __version__
from esap_batch.manifest import Manifest
from esap_batch.metadata import product_metadata
from esap_batch.products import ProductFile
from esap_batch.provenance import Production, prov_json
from hooks.rucio_lake import dump
from operators.site import Site, owner_of, run_key

if TYPE_CHECKING:
    from airflow.sdk import Context

    from esap_batch.workflows import Workflow


class IngestProduct(BaseOperator):
    """Registers the files, with steering file, verdict and provenance beside them, as one dataset.

    All steps but the last are unknown to a reader, who looks for closed datasets; each finds what an
    earlier try did: files, replicas, metadata, rules, close.

    :param steering: what `ValidateRequest` gives. :param product: what `ClaimProduct` gives.
    :param steps: what each `AwaitJobs` gives, the last one being the product's.
    :param verdict: what `VerifyOutputs` gives.
    :returns: `{"dataset", "production_id", "made_by", "state", "files", "rse", "rules": {RSE: rule id}}`.
    """

    template_fields = ("steering", "product", "steps", "verdict")

    def __init__(
        self, *, steering: Any, product: Any, steps: Sequence[Any], verdict: Any, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.steering = steering
        self.product = product
        self.steps = steps
        self.verdict = verdict

    def execute(self, context: Context) -> dict[str, Any]:
        from esap_batch.workflows import load_workflow
        from hooks.settings import config_dir

        workflow = load_workflow(config_dir(), self.steering["workflow"])
        site = Site.of(self.steps[-1]["facility"], owner_of(context))
        dataset, rse = self.product["dataset"], site.facility.storage_rse
        if site.lake.is_published(dataset):
            self.log.info("an earlier try has published %s", dataset)
            return self._result(site, len(site.lake.files(dataset)), site.lake.rules(dataset))
        manifests = [site.manifest(step) for step in self.steps]
        files = [*manifests[-1].files, *self._papers(site, manifests, run_key(context))]
        site.lake.add_files(dataset, rse, files)
        self._describe(site, workflow, manifests, files)
        rules = self._protect(site, workflow)
        site.lake.close(dataset)
        self.log.info("published %s: %d files at %s, copies at %s", dataset, len(files), rse, sorted(rules))
        return self._result(site, len(files), rules)

    def _result(self, site: Site, files: int, rules: Mapping[str, str]) -> dict[str, Any]:
        return {
            **self.product,
            "state": "published",
            "files": files,
            "rse": site.facility.storage_rse,
            "rules": dict(rules),
        }

    def _papers(self, site: Site, manifests: Sequence[Manifest], run: str) -> list[ProductFile]:
        """Write what goes with the product: steering file, verdict, provenance."""
        names = ("steering.json", "verdict.json", "provenance.json")
        pfns = site.pfns(self._lfn(name) for name in names)
        written = self._write(site, pfns, "steering.json", self.steering)
        production = Production(
            production_id=self.product["production_id"],
            dataset=self.product["dataset"],
            run=run,
            owner=self.steering["owner"],
            service_version=__version__,
            steering=written,
            products=manifests[-1].files,
            steps=tuple(m.activity for m in manifests),
        )
        verdict = {**self.verdict, "validation": list(manifests[-1].validation)}
        return [
            written,
            self._write(site, pfns, "verdict.json", verdict),
            self._write(site, pfns, "provenance.json", prov_json(production)),
        ]

    def _lfn(self, name: str) -> str:
        return f"{self.product['dataset']}/{name}"

    def _write(
        self, site: Site, pfns: Mapping[str, str], name: str, document: Mapping[str, Any]
    ) -> ProductFile:
        lfn = self._lfn(name)
        stored = site.storage.put(pfns[lfn], dump(document))
        return ProductFile(name, lfn, pfns[lfn], stored.size, stored.adler32)

    def _describe(
        self, site: Site, workflow: Workflow, manifests: Sequence[Manifest], files: Sequence[ProductFile]
    ) -> None:
        metadata = product_metadata(
            self.steering,
            workflow.product["metadata"],
            self.product["production_id"],
            [m.activity for m in manifests],
            self.verdict,
            __version__,
        )
        for file in files:
            kind = {"esap_file": file.name, "esap_sha256": file.sha256 or None}
            site.lake.set_metadata(file.lfn, {**metadata, **{k: v for k, v in kind.items() if v}})
        site.lake.set_metadata(self.product["dataset"], metadata)

    def _protect(self, site: Site, workflow: Workflow) -> dict[str, str]:
        """Ask for a copy that stays where the product was made, and for one elsewhere."""
        rse, elsewhere = site.facility.storage_rse, workflow.product["copies"]
        places = [rse, *[e for e in elsewhere if e != rse][:1]]
        options = {"activity": "Production Output", "meta": json.dumps({"esap": self.steering["run_id"]})}
        return {p: site.lake.add_rule(self.product["dataset"], p, **options) for p in places}
