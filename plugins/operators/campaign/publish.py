"""From finished jobs to published products: check, describe, register many at once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from esap_batch import __version__
from esap_batch.carousel import Block, Item, Outcome
from esap_batch.manifest import Manifest, build_manifest
from esap_batch.metadata import product_metadata
from esap_batch.obscore import obscore
from esap_batch.products import QUARANTINE_AREA, ProductFile, Verdict, judge
from esap_batch.provenance import BatchActivity, Production, prov_json
from esap_batch.workflows import Workflow
from hooks.lake_bulk import Publication, origin_of
from hooks.rucio_lake import dump
from operators.campaign.jobs import Finished
from operators.campaign.work import Work
from operators.ingest import write_paper
from operators.verify import damaged, severities_of

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checked:
    """A finished observation with what it has made and how that was judged."""

    item: Item
    manifest: Manifest
    transient: tuple[ProductFile, ...]
    verdict: Verdict


def publish(work: Work, workflow: Workflow, block: Block, finished: Sequence[Finished]) -> Block:
    """Check, register and publish what has been made; bad products go to the quarantine area."""
    checked = [_check(work, block, one) for one in finished]
    good = [c for c in checked if c.verdict.passed]
    publications = [_publication(work, workflow, block, c) for c in good]
    rse = work.site.facility.storage_rse
    places = [rse, *[e for e in workflow.product["copies"] if e != rse][:1]]
    if publications:
        work.lake.publish(rse, places, publications, origin_of(work.run))
        work.lake.describe({c.item.observation.dataset: _noted(work, c) for c in good})
    for one in good:
        LOG.info("observation %d: published %s", one.item.observation.obs_id, one.item.product)
    work.site.storage.delete(f.pfn for c in good for f in c.transient)
    bad = [_quarantined(work, c) for c in checked if not c.verdict.passed]
    return block.replaced([*(c.item.ended(Outcome.DONE) for c in good), *bad])


def _check(work: Work, block: Block, finished: Finished) -> Checked:
    item, report = finished.item, finished.report
    activity = BatchActivity(
        group=work.group(block.number),
        step="process_observations",
        facility=work.site.facility.name,
        jobs=1,
        started="",
        finished="",
        runtime="plain",
        software=tuple(work.steering["software"]),
    )
    whole = build_manifest(activity, work.site.facility.storage_rse, [report], ())
    transient = tuple(f for f in whole.files if work.use_case.is_transient(f.lfn))
    kept = tuple(f for f in whole.files if f not in transient)
    manifest = Manifest(whole.activity, whole.rse, kept, whole.validation)
    job = work.use_case.job(work.steering, activity.group, item)
    must_be_checked = [o.name for o in job.outputs if o.validator]
    verdict = judge(manifest.validation, must_be_checked, severities_of(work.steering))
    findings = (*verdict.findings, *damaged(work.site, manifest))
    return Checked(item, manifest, transient, Verdict(verdict.checks + len(kept), findings))


def _publication(work: Work, workflow: Workflow, block: Block, checked: Checked) -> Publication:
    item, manifest, name = checked.item, checked.manifest, checked.item.product.rsplit("/", 1)[-1]
    described = product_metadata(
        work.steering,
        workflow.product["metadata"],
        name,
        [manifest.activity],
        checked.verdict.document(),
        __version__,
    )
    papers = _papers(work, checked, name)
    reports = [v.get("report") or {} for v in manifest.validation]
    metadata = {
        **described,
        **work.use_case.product_metadata(work.steering, item),
        **work.use_case.measured(reports),
        "esap_run": work.run,
    }
    metadata |= obscore(metadata, workflow.product.get("obscore", {}), item.product)
    return Publication(item.product, (*manifest.files, *papers), metadata)


def _papers(work: Work, checked: Checked, name: str) -> list[ProductFile]:
    """Write what goes with a product: steering file, verdict, provenance."""
    item, manifest = checked.item, checked.manifest
    missing = set(item.missing)
    lfns = [f"{item.product}/{n}.json" for n in ("steering", "verdict", "provenance")]
    pfns = work.site.pfns(lfns)

    asked = {**work.steering, "observation": item.observation.obs_id, "missing": item.missing}
    steering = write_paper(work.site, pfns, lfns[0], asked)
    verdict = {**checked.verdict.document(), "validation": list(manifest.validation)}
    production = Production(
        production_id=name,
        dataset=item.product,
        run=work.run,
        owner=work.steering["owner"],
        service_version=__version__,
        steering=steering,
        products=manifest.files,
        steps=(manifest.activity,),
        read={manifest.activity.group: tuple(f for f in item.observation.files if f.lfn not in missing)},
    )
    papers = {lfns[1]: verdict, lfns[2]: prov_json(production)}
    return [steering, *(write_paper(work.site, pfns, lfn, paper) for lfn, paper in papers.items())]


def _noted(work: Work, checked: Checked) -> dict[str, Any]:
    """Note at the raw data what has been made of them last."""
    software = " ".join(f"{s['name']}-{s['version']}" for s in work.steering["software"])
    return {
        "esap_dl3": checked.item.product,
        "esap_dl3_software": software,
        "esap_dl3_campaign": work.steering["campaign"]["name"],
    }


def _quarantined(work: Work, checked: Checked) -> Item:
    item, name = checked.item, checked.item.product.rsplit("/", 1)[-1]
    places = {f.pfn: f"{QUARANTINE_AREA}/{name}/{f.name}" for f in checked.manifest.files}
    reason = f"{QUARANTINE_AREA}/{name}/verdict.json"
    pfns = work.site.pfns([*places.values(), reason])
    there = work.site.storage.exists([*places, pfns[reason]])
    if pfns[reason] not in there or there.issuperset(places):  # else an earlier try has moved files already
        work.site.storage.put(pfns[reason], dump(checked.verdict.document()))
    for pfn in there & set(places):
        work.site.storage.move(pfn, pfns[places[pfn]])
    message = "; ".join(str(f) for f in checked.verdict.errors[:3])
    LOG.warning(
        "observation %d: put to %s: %s", item.observation.obs_id, f"{QUARANTINE_AREA}/{name}", message
    )
    return item.ended(Outcome.FAILED, "OUTPUT_INVALID", message)
