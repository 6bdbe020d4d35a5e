"""Deletes what nobody has come back for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from esap_batch.configuration import read_mapping
from esap_batch.housekeeping import Leftover, reason_to_keep
from esap_batch.products import RunState
from hooks.rucio_lake import RucioLake
from hooks.settings import LAKE_CONNECTION, config_dir, service_name
from hooks.storage_element import StorageElement
from operators.runs import run_state
from operators.work_areas import open_claims, signature, storage_elements, work_areas

if TYPE_CHECKING:
    from airflow.sdk import Context


class DeleteLeftovers(BaseOperator):
    """Deletes work areas and files of unpublished products that are older than `retention_days`.

    Never touched: what a living run works on, what the lake knows, what nobody knows the owner of. The days
    stand in config/housekeeping.yaml. With the run's param `dry_run` it only tells what it would do.

    :returns: `{"deleted": [...], "kept": {PFN: reason}, "dry_run"}`.
    """

    @cached_property
    def lake(self) -> RucioLake:
        return RucioLake.from_connection(LAKE_CONNECTION)

    @cached_property
    def storage(self) -> StorageElement:
        return StorageElement()

    def execute(self, context: Context) -> dict[str, Any]:
        settings = config_dir() / "housekeeping.yaml"
        days = read_mapping(settings, settings.with_suffix(".schema.json"))["retention_days"]
        dry_run = bool(context["params"]["dry_run"])
        deleted, kept = [], {}
        for one in self._leftovers():
            holder = run_state(context, one.run) if one.run else RunState.ENDED
            if reason := reason_to_keep(one, holder, time.time(), days):
                kept[one.pfn] = reason
                self.log.info("%s stays: %s", one.pfn, reason)
                continue
            files = 0 if dry_run else self.storage.delete_tree(one.pfn)
            deleted.append(one.pfn)
            done = "would be deleted" if dry_run else f"deleted, {files} files"
            self.log.info("%s of run %s: %s", one.pfn, one.run, done)
        return {"deleted": deleted, "kept": kept, "dry_run": dry_run}

    def _leftovers(self) -> Iterator[Leftover]:
        service = service_name()
        claims = {d: run for state in ("claimed", "failed") for d, run in open_claims(self.lake, state)}
        for rse in storage_elements():
            for pfn, changed in work_areas(self.lake, self.storage, rse):
                signed = signature(self.storage, pfn)
                if signed.get("service", service) == service:  # else another service will see to it
                    yield Leftover(pfn, str(signed.get("run", "")), changed)
            for dataset, pfn in self.lake.pfns(rse, sorted(claims)).items():
                newest = self.storage.newest(pfn)
                if newest is not None:
                    yield Leftover(pfn, claims[dataset], newest, len(self.lake.files(dataset)))
