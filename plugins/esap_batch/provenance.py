"""Provenance of a product as PROV-JSON.

Source: W3C member submission "The PROV-JSON Serialization" (2013); the roles follow IVOA Provenance DM 1.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from esap_batch.jobs import InputFile
from esap_batch.products import ProductFile

PREFIX = {"esap": "https://projectescape.eu/esap-batch/prov#", "ctao": "https://www.ctao.org/prov#"}


@dataclass(frozen=True)
class BatchActivity:
    """One batch of jobs as an activity. Times are ISO 8601 in UTC.

    `images` are the SHA-256 of what its payloads ran in, none for those that ran plainly.
    """

    group: str
    step: str
    facility: str
    jobs: int
    started: str
    finished: str
    runtime: str
    software: tuple[Mapping[str, str], ...]
    images: tuple[str, ...] = ()


@dataclass(frozen=True)
class Production:
    """All that provenance says of a product.

    By the group of a batch `read` gives the files of the lake that it has read; `made_by` gives the batch of
    a file by its LFN, else it is the last one's.
    """

    production_id: str
    dataset: str
    run: str
    owner: str
    service_version: str
    steering: ProductFile
    products: tuple[ProductFile, ...]
    steps: tuple[BatchActivity, ...]
    read: Mapping[str, tuple[InputFile, ...]] = field(default_factory=dict)
    made_by: Mapping[str, str] = field(default_factory=dict)


def prov_json(production: Production) -> dict[str, Any]:
    """Describe a production: the steps in their order, what they used, what came out, and for whom."""
    steering, run = "esap:steering", f"esap:run/{production.production_id}"
    owner = f"esap:user/{production.owner}"
    document: dict[str, Any] = {
        "prefix": dict(PREFIX),
        "entity": {steering: _entity(production.steering), **_entities(production.products)},
        "activity": {run: {"esap:dag_run": production.run, **_span(production.steps)}},
        "agent": {
            owner: {"prov:type": "prov:Person"},
            "esap:esap-batch": {
                "prov:type": "prov:SoftwareAgent",
                "esap:version": production.service_version,
            },
        },
        "used": {"_:used0": {"prov:activity": run, "prov:entity": steering}},
        "wasGeneratedBy": {},
        "wasAssociatedWith": {"_:run": {"prov:activity": run, "prov:agent": "esap:esap-batch"}},
        "actedOnBehalfOf": {
            "_:owner": {
                "prov:delegate": "esap:esap-batch",
                "prov:responsible": f"esap:user/{production.owner}",
            }
        },
        "wasInformedBy": {},
    }
    last = _add_steps(document, production.steps, run, steering)
    for n, product in enumerate(production.products):
        group = production.made_by.get(product.lfn)
        activity = f"esap:batch/{group}" if group else last
        document["wasGeneratedBy"][f"_:made{n}"] = {"prov:activity": activity, "prov:entity": _id(product)}
    pairs = [(group, parent) for group, parents in production.read.items() for parent in parents]
    for n, (group, parent) in enumerate(pairs):
        document["entity"].setdefault(_id(parent), _entity(parent))
        used = {"prov:activity": f"esap:batch/{group}", "prov:entity": _id(parent)}
        document["used"][f"_:parent{n}"] = used
    return document


def _add_steps(document: dict[str, Any], steps: Iterable[BatchActivity], run: str, steering: str) -> str:
    before = run
    for n, step in enumerate(steps):
        activity = f"esap:batch/{step.group}"
        document["activity"][activity] = {
            "prov:startTime": step.started,
            "prov:endTime": step.finished,
            "esap:step": step.step,
            "esap:facility": step.facility,
            "esap:jobs": step.jobs,
            "esap:runtime": step.runtime,
            **({"esap:image_sha256": list(step.images)} if step.images else {}),
        }
        document["used"][f"_:used{n + 1}"] = {"prov:activity": activity, "prov:entity": steering}
        document["wasInformedBy"][f"_:after{n}"] = {"prov:informed": activity, "prov:informant": before}
        for software in step.software:
            agent = f"esap:software/{software['name']}-{software['version']}"
            document["agent"][agent] = {
                "prov:type": "prov:SoftwareAgent",
                **{f"esap:{k}": v for k, v in software.items() if v},
            }
            document["wasAssociatedWith"][f"_:with{n}-{software['name']}"] = {
                "prov:activity": activity,
                "prov:agent": agent,
            }
        before = activity
    return before


def _id(product: ProductFile | InputFile) -> str:
    return f"ctao:{product.lfn.lstrip('/')}"


def _entity(product: ProductFile | InputFile) -> dict[str, Any]:
    name = product.lfn.rsplit("/", 1)[-1]  # in a job's directory it may have another
    entity = {"prov:label": name, "esap:lfn": product.lfn, "esap:size": product.size}
    checksums = {"esap:adler32": product.adler32, "esap:sha256": getattr(product, "sha256", "")}
    return entity | {k: v for k, v in checksums.items() if v}


def _entities(products: Iterable[ProductFile]) -> dict[str, Any]:
    return {_id(p): _entity(p) for p in products}


def _span(steps: tuple[BatchActivity, ...]) -> dict[str, str]:
    if not steps:
        return {}
    return {
        "prov:startTime": min(s.started for s in steps),
        "prov:endTime": max(s.finished for s in steps),
    }
