"""Ends what is left of runs that nobody knows any more."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from esap_batch.budget import LEDGERS
from esap_batch.carousel import tally
from esap_batch.facilities import load_facilities
from esap_batch.jobs import group_name
from esap_batch.products import scope_of
from hooks.errors import BackendRefused
from hooks.rucio_lake import RucioLake
from hooks.settings import LAKE_CONNECTION, config_dir, service_name
from hooks.storage_element import StorageElement
from operators.campaign.reserve import settle
from operators.campaign.work import Work
from operators.runs import is_known
from operators.site import Site, parts_of
from operators.submission import end_submission
from operators.work_areas import signature, storage_elements, work_areas

if TYPE_CHECKING:
    from airflow.sdk import Context

NEEDED = ("run", "task", "owner")  # in a signature, beside service and facility


class EndOrphans(BaseOperator):
    """Ends jobs, recalls and reservations of runs that Airflow does not know any more.

    Airflow deletes no run that goes on. But somebody may delete a DAG with all of its runs, or a run whose
    clean-up has failed. Only what this service has signed is touched, see `Site.sign`, and only the batch
    that is named by the signed run and task: who can write to the storage can forge a signature, but ends
    nothing with it of a run that is known. With the run's param `dry_run` it only tells what it would do.

    :returns: `{"ended": {batch: jobs killed}, "dry_run"}`.
    """

    @cached_property
    def lake(self) -> RucioLake:
        return RucioLake.from_connection(LAKE_CONNECTION)

    @cached_property
    def storage(self) -> StorageElement:
        return StorageElement()

    def execute(self, context: Context) -> dict[str, Any]:
        ended: dict[str, int] = {}
        silent: list[str] = []
        dry_run = bool(context["params"]["dry_run"])
        for group, signed in self._orphans(context):
            self.log.info("batch %s at %s: run %s is gone", group, signed["facility"], signed["run"])
            try:
                site = Site.of(signed, signed["owner"], closing=True)
                ended[group] = 0 if dry_run else end_batch(site, group, signed["run"])
            except BackendRefused as error:
                self.log.error("batch %s is left: its jobs go on until their own limits: %s", group, error)
            except AirflowException as error:
                silent.append(f"batch {group}: {error}")
        if silent:
            raise AirflowException("\n".join(silent))
        return {"ended": ended, "dry_run": dry_run}

    def _orphans(self, context: Context) -> Iterator[tuple[str, Mapping[str, Any]]]:
        service = service_name()
        if not service:
            raise AirflowFailException(
                "[api] base_url is not set: what this service has signed cannot be told"
            )
        facilities = {f.name for f in load_facilities(config_dir() / "facilities.yaml")}
        for rse in storage_elements():
            for area, _ in work_areas(self.lake, self.storage, rse):
                group, signed = posixpath.basename(area), signature(self.storage, area)
                ours = signed.get("service") == service and signed.get("facility") in facilities
                if not ours:
                    continue
                if lacking := [name for name in NEEDED if not signed.get(name)]:
                    self.log.error("%s is left: its signature lacks %s", area, ", ".join(lacking))
                    continue
                if is_known(context, signed["run"]):
                    continue
                if group != group_name(*parts_of(signed["run"]), signed["task"]):
                    self.log.error("%s is left: it is not of run %s, as is signed there", area, signed["run"])
                    continue
                yield group, signed


def end_batch(site: Site, group: str, run: str) -> int:
    """End a batch, or a campaign's run with all of its batches; give how many jobs were killed."""
    work = Work(site, {}, *parts_of(run), use_case=None)  # type: ignore[arg-type]  # it makes no more jobs
    is_campaign = group == work.tag
    end_submission(site.storage, site.area(group))
    groups = [work.group(n) for n in range(work.state().next_block)] if is_campaign else [group]
    killed = sum(site.backend.cancel(one) for one in groups)
    for one in groups:
        site.backend.clean_up(one)
    if places := site.places(group):
        places.give_back()
    if is_campaign:
        _let_go(work)
    return killed


def _let_go(work: Work) -> None:
    """Release a campaign's recalls, and give back what it has reserved and not recalled."""
    for recall in work.lake.recalls(work.tag):
        work.lake.release(recall.rule_id)
    recalled = tally(work.blocks(range(work.state().next_block))).recalled
    entries = work.lake.find(scope_of(LEDGERS), [{"kind": "budget", "esap_run": work.run}])
    for account in {str(meta["esap_ledger"]) for meta in work.lake.metadata(entries).values()}:
        settle(work.lake, account, work.run, recalled)
