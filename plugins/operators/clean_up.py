"""Leaves nothing behind, however a run has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from esap_batch.jobs import group_name
from esap_batch.products import work_lfn
from operators.site import Site, owner_of

if TYPE_CHECKING:
    from airflow.sdk import Context


class CleanUp(BaseOperator):
    """Kills jobs that still run, lets go of sandboxes, deletes transient files and unverified outputs.

    What has been verified but could not be ingested stays, so that clearing the ingest goes on with it.
    It asks the run's other tasks for what they left instead of being handed it: any of them may be missing.

    :param facility: id of the task that chose the facility.
    :param steps: ids of the tasks that submit jobs.
    :param claim: id of the task that claimed the product.
    :param verify: id of the task that verified it.
    """

    def __init__(
        self, *, facility: str, steps: Sequence[str], claim: str, verify: str, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.facility = facility
        self.steps = steps
        self.claim = claim
        self.verify = verify

    def execute(self, context: Context) -> None:
        chosen = context["ti"].xcom_pull(task_ids=self.facility)
        if chosen is None:
            self.log.info("no facility was chosen, nothing to clean up")
        else:
            self._clean(context, Site.of(chosen["facility"], owner_of(context)))

    def _clean(self, context: Context, site: Site) -> None:
        run = context["dag_run"]
        groups = [group_name(run.dag_id, run.run_id, step) for step in self.steps]
        for group in groups:
            site.backend.cancel(group)
            site.backend.clean_up(group)
            states = sorted(site.backend.counts([group])[group].items())
            told = ", ".join(f"{n} {state.lower()}" for state, n in states) or "never submitted"
            self.log.info("batch %s: jobs %s; sandboxes let go", group, told)
        for lfn, pfn in site.pfns(self._disposable(context, site, groups)).items():
            self.log.info("%s: %d files deleted", lfn, site.storage.delete_tree(pfn))

    def _disposable(self, context: Context, site: Site, groups: Sequence[str]) -> list[str]:
        product = context["ti"].xcom_pull(task_ids=self.claim)
        verdict = context["ti"].xcom_pull(task_ids=self.verify)
        work = [work_lfn(group) for group in groups]
        if site.lake.is_published(product["dataset"]):
            return work
        if not verdict:
            return [*work, product["dataset"]]
        self.log.warning("verified but not ingested: all files stay; clear the ingest to go on")
        return []
