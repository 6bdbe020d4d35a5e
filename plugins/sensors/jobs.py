"""Waiting for the jobs of a batch, and trying again those that failed."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from esap_batch.jobs import Attempt, Batch, JobSpec, JobState, digests
from esap_batch.manifest import build_manifest, missing_jobs
from esap_batch.metrics import JOBS_ENDED
from esap_batch.provenance import BatchActivity
from esap_batch.retries import (
    Decision,
    Diagnosis,
    decide,
    diagnose,
    known_attempts,
    latest_attempts,
    limits_of,
)
from hooks import metrics
from operators.login import NeedsLogin, goes_on_after_login
from operators.progress import tell
from operators.reports import all_reports, keep_reports, kept_reports
from operators.site import Site, owner_of
from operators.stage import hold_inputs
from operators.submission import submitting
from triggers.jobs import JobsEnded

if TYPE_CHECKING:
    from airflow.sdk import Context

SHOWN = 20  # failed jobs that are described one by one in the log


class AwaitJobs(NeedsLogin):
    """Waits in the triggerer until a batch has ended; submits failed jobs again up to a limit.

    A job that ran out of memory, time or disk gets more of it at its next attempt. To clear this task is to
    run again what is missing: jobs that failed, were cancelled or never submitted. None that is done is
    repeated, also after the run has ended and `CleanUp` has let go of the sandboxes.

    :param submission: what `SubmitJobs` gives.
    :param max_attempts: submissions of one job before it counts as failed. Each start of this task, so also
        clearing it, grants as many again.
    :param require_valid: a job whose output its validator refuses has failed. For intermediate files; the
        products themselves are judged, and kept, by `VerifyOutputs`.
    :param patience: seconds to bear with a back end that does not answer.
    :param raise_by: factor by which a limit is raised that a job ran into, up to the facility's maximum.
    :returns: `{"group", "facility", "done", "failed", "manifest": {lfn, pfn, adler32}}`.
    """

    template_fields = ("submission",)

    def __init__(
        self,
        *,
        submission: Any,
        max_attempts: int = 3,
        require_valid: bool = False,
        patience: float = 1800,
        raise_by: float = 2.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.submission = submission
        self.max_attempts = max_attempts
        self.require_valid = require_valid
        self.patience = patience
        self.raise_by = raise_by

    @goes_on_after_login
    def begin(self, context: Context) -> dict[str, Any]:
        """Start to wait; jobs that are not well after all their attempts get as many again."""
        self._hold_inputs(context)
        return self._advance(context, None)

    def _hold_inputs(self, context: Context) -> None:
        """Keep the inputs for the jobs to come: an earlier end of the run has let them go in a while."""
        if not (staged := self.submission.get("staged")):
            return
        for dataset in hold_inputs(Site.of(self.submission, owner_of(context)).lake, staged):
            self.log.warning("the inputs %s are gone: clear stage_inputs if jobs are to run again", dataset)

    @goes_on_after_login
    def resume(self, context: Context, event: dict[str, Any], limit: int) -> dict[str, Any]:
        """Go on when the trigger has fired."""
        if event["status"] not in ("ended", "places"):
            raise AirflowException(event["message"])
        return self._advance(context, limit, has_places=event["status"] == "places")

    def _advance(self, context: Context, limit: int | None, *, has_places: bool = False) -> dict[str, Any]:
        site, group = Site.of(self.submission, owner_of(context)), self.submission["group"]
        attempts = site.backend.attempts(group)
        batch, kept = site.batch(self.submission), kept_reports(site, group)
        alive = sum(not a.state.is_terminal for a in attempts)
        # An earlier try of the run may have had more jobs.
        known = [a for a in known_attempts(attempts, kept) if a.index < len(batch.jobs)]
        waiting = self._submit_where_there_are_places(context, site, batch, alive, known)
        if (alive and not has_places) or waiting is not None:
            self._wait(site, limit or self._limit(context, attempts, {}), waiting or 0)
        busy = {a.index for a in attempts if not a.state.is_terminal}
        attempts = [a for a in known if a.index not in busy]
        reports = all_reports(site, attempts, kept)
        if reports.keys() - kept.keys():
            keep_reports(site, group, attempts, reports)
        diagnoses = self._diagnose(site, batch, latest_attempts(attempts), reports)
        limit = limit or self._limit(context, attempts, diagnoses)
        decision = self._decide(site, batch, attempts, diagnoses, reports, limit)
        if busy:  # there are places for jobs that are to be tried again beside those that run
            self._wait(site, limit, self._submit_again(context, site, batch, decision, busy))
        self._show(decision)
        if not decision.is_final:
            self._wait(site, limit, self._submit_again(context, site, batch, decision))
        return self._finish(context, site, batch, decision, reports)

    def _limit(
        self, context: Context, attempts: Sequence[Attempt], diagnoses: Mapping[int, Diagnosis]
    ) -> int:
        """Count from the attempts that an earlier try of this task has spent: failed, or outputs not well."""
        if context["ti"].try_number == 1:
            return self.max_attempts
        spent = [a.attempt for a in attempts if a.state.is_failure or a.index in diagnoses]
        return max(spent, default=0) + self.max_attempts

    def _decide(
        self,
        site: Site,
        batch: Batch,
        attempts: Sequence[Attempt],
        diagnoses: Mapping[int, Diagnosis],
        reports: Mapping[str, Mapping[str, Any]],
        limit: int,
    ) -> Decision:
        return decide(
            len(batch.jobs),
            attempts,
            diagnoses,
            limit,
            self.submission["allowed_failures"],
            before=limit - self.max_attempts,
            limits={job.index: job.limits for job in batch.jobs} | limits_of(reports.values()),
            facility=site.facility,
            factor=self.raise_by,
        )

    def _submit(self, context: Context, site: Site, batch: Batch, attempts: Mapping[int, int]) -> None:
        if attempts:
            with submitting(site.storage, posixpath.dirname(self.submission["journal"]["pfn"]), context):
                site.backend.submit(batch, attempts)

    def _submit_where_there_are_places(
        self, context: Context, site: Site, batch: Batch, alive: int, known: Sequence[Attempt]
    ) -> int | None:
        """Submit jobs that had no place yet; give how many still have none, None when all have had one."""
        places, there = site.places(batch.group), {a.index for a in known}
        coming = [job.index for job in batch.jobs if job.index not in there]
        if places is None or not coming:
            return None
        first = coming[: places.ask(alive, len(coming))]
        self._submit(context, site, batch, dict.fromkeys(first, 1))
        return len(coming) - len(first)

    def _submit_again(
        self,
        context: Context,
        site: Site,
        batch: Batch,
        decision: Decision,
        busy: Collection[int] = (),
    ) -> int:
        """Submit what is to be tried again and is not `busy`; give how many jobs wait for a place."""
        places = site.places(batch.group)
        again = {i: n for i, n in decision.resubmit.items() if i not in busy}
        first = dict(list(again.items())[: places.ask(len(busy), len(again))]) if places else again
        self._submit(context, site, _with_limits(batch, decision), first)
        return len(again) - len(first)

    def _wait(self, site: Site, limit: int, waiting: int) -> None:
        group, total = self.submission["group"], self.submission["count"]
        self.defer(
            trigger=JobsEnded(
                site.backend_ref,
                group,
                total,
                self.patience,
                places=site.places_ref,
                waiting=waiting,
                facility=site.facility.name,
            ),
            method_name="resume",
            kwargs={"limit": limit},
        )

    def _diagnose(
        self,
        site: Site,
        batch: Batch,
        latest: Mapping[int, Attempt],
        reports: Mapping[str, Mapping[str, Any]],
    ) -> dict[int, Diagnosis]:
        """Say of every job that is not well why: failed, changed, invalid, or its outputs are gone."""
        found = {
            i: diagnose(a, reports.get(a.job_id))
            for i, a in latest.items()
            if a.state is not JobState.DONE or a.job_id not in reports
        }
        pfns = {job.index: [o.pfn for o in job.outputs] for job in batch.jobs}
        jobs = {job.index: job for job in batch.jobs}
        wanted = digests(batch.jobs, batch.software)
        there = site.storage.exists(p for one in pfns.values() for p in one)
        for index, attempt in latest.items():
            if index in found:
                continue
            if _was_another(reports[attempt.job_id], wanted[index], jobs[index]):
                message = "its inputs, software or settings were others"
                found[index] = _fault(attempt, "JOB_CHANGED", message)
            elif gone := [p for p in pfns[index] if p not in there]:
                found[index] = _fault(attempt, "OUTPUT_LOST", f"{gone[0]} is not there")
            elif self.require_valid and (bad := _refused(reports[attempt.job_id])):
                found[index] = _fault(attempt, "OUTPUT_INVALID", f"the validator refuses {bad}")
        return found

    def _show(self, decision: Decision) -> None:
        for one in [*decision.failed, *decision.again][:SHOWN]:
            self.log.warning("%s", one)
            for line in one.log_tail:
                self.log.warning("    | %s", line)
        if decision.resubmit and not decision.is_final:
            self.log.info("submitting %d jobs again", len(decision.resubmit))

    def _finish(
        self,
        context: Context,
        site: Site,
        batch: Batch,
        decision: Decision,
        reports: Mapping[str, Mapping[str, Any]],
    ) -> dict[str, Any]:
        count, n_done, n_failed = len(batch.jobs), len(decision.done), len(decision.failed)
        words = f"jobs {n_done} of {count} done" + (f", {n_failed} failed for good" if n_failed else "")
        tell(context, {"text": words, "done": n_done, "of": count, "failed": n_failed})
        for outcome, number in (("done", n_done), ("failed", n_failed)):
            metrics.count(JOBS_ENDED, number, facility=site.facility.name, outcome=outcome)
        if decision.failures_exceeded or (count and not n_done):
            raise AirflowFailException(_summary(decision, count, site.facility.title))
        activity = BatchActivity(
            group=batch.group,
            step=self.submission["task_id"],
            facility=site.facility.name,
            jobs=len(batch.jobs),
            started="",
            finished="",
            runtime=str(batch.runtime["type"]),
            software=batch.software,
        )
        done = [reports[a.job_id] for a in decision.done.values()]
        failed = [str(d) for d in decision.failed]
        missing = missing_jobs(batch.jobs, decision.failed)
        manifest = build_manifest(activity, site.facility.storage_rse, done, failed, missing)
        reference = site.keep(batch.group, "manifest.json", manifest.document())
        self.log.info("%s", words)
        return {
            "group": batch.group,
            **site.where,
            "done": n_done,
            "failed": n_failed,
            "manifest": reference,
        }


def _fault(attempt: Attempt, reason: str, message: str) -> Diagnosis:
    return Diagnosis(attempt.index, attempt.attempt, attempt.job_id, reason, message)


def _was_another(report: Mapping[str, Any], digest: str, job: JobSpec) -> bool:
    """Tell whether a job has done something else than is wanted now; versions before told its inputs only."""
    if report.get("digest"):
        return bool(report["digest"] != digest)
    read = {(str(one["lfn"]), str(one["adler32"]).lower()) for one in report["inputs"]}
    return read != {(i.lfn, i.adler32.lower()) for i in job.inputs}


def _with_limits(batch: Batch, decision: Decision) -> Batch:
    """Give the batch with the limits of the attempts to come; its journal stays as it was submitted."""
    limits = decision.limits
    return replace(
        batch, jobs=tuple(replace(job, limits=limits.get(job.index, job.limits)) for job in batch.jobs)
    )


def _refused(report: Mapping[str, Any]) -> str:
    bad: Sequence[str] = [v["output"] for v in report["validation"] if v["verdict"] != "valid"]
    return ", ".join(bad)


def _summary(decision: Decision, count: int, facility: str) -> str:
    shown = "; ".join(str(d) for d in decision.failed[:3])
    more = f" (and {len(decision.failed) - 3} more, see the log)" if len(decision.failed) > 3 else ""  # noqa: PLR2004
    nothing = "" if decision.failures_exceeded else ", so nothing was made"
    return f"{len(decision.failed)} of {count} jobs failed for good at {facility}{nothing}: {shown}{more}"
