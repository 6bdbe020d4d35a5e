"""Leaves nothing behind that nobody needs, however a run has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from esap_batch.housekeeping import REPORTS_FILE, RUN_FILE
from esap_batch.jobs import JobState, group_name
from esap_batch.products import Claim, base_of, is_complete, own_claims, work_lfn
from esap_batch.retries import known_attempts, latest_attempts
from hooks.broker import LoginNeeded
from operators.reports import all_reports, keep_reports, kept_reports
from operators.results import result_of
from operators.site import Site, owner_of, run_key
from operators.submission import end_submission

if TYPE_CHECKING:
    from airflow.sdk import Context


class CleanUp(BaseOperator):
    """Kills jobs that still run, lets go of sandboxes, deletes transient files and unfinished outputs.

    After a complete product all work files go but the jobs' reports, which the portal shows. Else what
    finished jobs have made stays too, so that clearing the task that awaits them runs again only what is
    missing. The DAG `housekeeping` deletes what stays after a while. It asks the run's other tasks for what
    they left instead of being handed it: any of them may be missing.

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
            self._clean(context, Site.of(chosen, owner_of(context), closing=True))

    def _clean(self, context: Context, site: Site) -> None:
        run, dataset = context["dag_run"], context["ti"].xcom_pull(task_ids=self.claim)["dataset"]
        claims = own_claims(site.lake.claims(base_of(dataset)), run_key(context))
        complete = is_complete(claims, run_key(context))
        groups = [group_name(run.dag_id, run.run_id, step) for step in self.steps]
        if not complete:
            self._end_submissions(site, groups)
        reached = [group for group in groups if self._clean_batch(site, group, claims, complete=complete)]
        for group in () if complete else reached:
            if late := site.backend.cancel(group):  # they were just being started while they were cancelled
                self.log.warning("batch %s: %d jobs ran on and are killed", group, late)
        if result_of(context, self.verify) and not any(c.is_published for c in claims):
            self.log.warning("verified but not ingested: clear the ingest to go on")

    def _end_submissions(self, site: Site, groups: Sequence[str]) -> None:
        """Let no task that is just being ended submit jobs behind our back."""
        areas = site.pfns(work_lfn(group) for group in groups)
        for group in groups:
            if not end_submission(site.storage, areas[work_lfn(group)]):
                self.log.warning("batch %s: a task was killed while it submitted jobs", group)

    def _clean_batch(self, site: Site, group: str, claims: Sequence[Claim], *, complete: bool) -> bool:
        """Kill a batch's jobs and delete what nobody needs; False when the jobs cannot be reached."""
        try:
            site.backend.cancel(group)
        except LoginNeeded as needed:
            self.log.error("batch %s is left: its jobs go on until their own limits: %s", group, needed)
            return False
        if complete:
            deleted = site.storage.delete_tree(site.area(group), keep=(RUN_FILE, REPORTS_FILE))
        else:
            deleted = self._trim(site, group, [c.dataset for c in claims if c.is_published])
        site.backend.clean_up(group)
        if places := site.places(group):
            places.give_back()
        told = _told(site, group)
        self.log.info("batch %s: jobs %s; %d files deleted; sandboxes let go", group, told, deleted)
        return True

    def _trim(self, site: Site, group: str, published: Sequence[str]) -> int:
        """Keep what finished jobs have made, and all reports; delete the outputs of the other jobs."""
        kept = kept_reports(site, group)
        attempts = known_attempts(site.backend.attempts(group), kept)
        keep_reports(site, group, attempts, all_reports(site, attempts, kept))
        finished = {i for i, a in latest_attempts(attempts).items() if a.state is JobState.DONE}
        in_lake = {f["name"] for dataset in published for f in site.lake.files(dataset)}
        owed = [o for job in site.jobs(group) if job.index not in finished for o in job.outputs]
        return site.storage.delete(o.pfn for o in owed if o.lfn not in in_lake)


def _told(site: Site, group: str) -> str:
    states = sorted(site.backend.counts([group])[group].items())
    return ", ".join(f"{n} {state.lower()}" for state, n in states) or "never submitted"
