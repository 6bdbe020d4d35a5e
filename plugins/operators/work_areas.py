"""The work areas of all runs on every storage element, and the products that runs have claimed."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

from esap_batch.configuration import read_mapping
from esap_batch.facilities import load_facilities
from esap_batch.housekeeping import RUN_FILE
from esap_batch.products import WORK_AREA, scope_of
from hooks.rucio_lake import RucioLake
from hooks.settings import config_dir
from hooks.storage_element import StorageElement

log = logging.getLogger(__name__)


def storage_elements() -> list[str]:
    """Name the storage elements of all facilities that are switched on."""
    facilities = [f for f in load_facilities(config_dir() / "facilities.yaml") if f.enabled]
    return sorted({rse for f in facilities for rse in f.rses})


def work_areas(lake: RucioLake, storage: StorageElement, rse: str) -> Iterator[tuple[str, float]]:
    """Give each work area's PFN, and when it was last changed (Unix time)."""
    area = lake.pfns(rse, [WORK_AREA])[WORK_AREA]
    yield from storage.folders(area).items()


def signature(storage: StorageElement, area: str) -> dict[str, str]:
    """Read whose a work area is, as `Site.sign` wrote it; empty when nobody has, or nobody can read it.

    Who can write to the storage can write anything there, and it must not keep the other areas from a look.
    """
    pfn = f"{area}/{RUN_FILE}"
    if not storage.exists([pfn]):
        return {}
    try:
        signed = json.loads(storage.read(pfn))
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, or far too deep
        log.warning("%s is no signature: %s", pfn, error)
        return {}
    if not isinstance(signed, dict) or not all(isinstance(value, str) for value in signed.values()):
        log.warning("%s is no signature: allowed is an object of texts", pfn)
        return {}
    return signed


def open_claims(lake: RucioLake, state: str = "claimed") -> Iterator[tuple[str, str]]:
    """Give each product that was claimed and never published, with the run that claimed it.

    :param state: of the claim; `failed` for those that campaigns have given up.
    """
    products = [read_mapping(p) for p in sorted((config_dir() / "workflows").glob("*/product.yaml"))]
    for scope in sorted({scope_of(str(p["lfn"])) for p in products}):
        for dataset in lake.find(scope, {"esap_state": state}):
            if not lake.is_published(dataset):
                yield dataset, str(lake.metadata(dataset).get("esap_run", ""))
