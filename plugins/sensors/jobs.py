"""Waiting for the jobs of a batch, and trying again those that failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from esap_batch.jobs import Attempt, Batch, JobState
from esap_batch.manifest import build_manifest
from esap_batch.provenance import BatchActivity
from esap_batch.retries import Decision, Diagnosis, decide, diagnose, latest_attempts
from operators.site import Site, owner_of
from triggers.jobs import JobsEnded

if TYPE_CHECKING:
    from airflow.sdk import Context

SHOWN = 20  # failed jobs that are described one by one in the log


class AwaitJobs(BaseOperator):
    """Waits in the triggerer until a batch has ended; submits failed jobs again up to a limit.

    :param submission: what `SubmitJobs` gives.
    :param max_attempts: submissions of one job before it counts as failed. Each start of this task, so also
        clearing it, grants as many again.
    :param require_valid: a job whose output its validator refuses has failed. For intermediate files; the
        products themselves are judged, and kept, by `VerifyOutputs`.
    :param patience: seconds to bear with a back end that does not answer.
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
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.submission = submission
        self.max_attempts = max_attempts
        self.require_valid = require_valid
        self.patience = patience

    def execute(self, context: Context) -> dict[str, Any]:
        """Start to wait; jobs that are not well after all their attempts get as many again."""
        return self._advance(self._site(context), None)

    def resume(self, context: Context, event: dict[str, Any], limit: int) -> dict[str, Any]:
        """Go on when the trigger has fired."""
        if event["status"] != "ended":
            raise AirflowException(event["message"])
        return self._advance(self._site(context), limit)

    def _site(self, context: Context) -> Site:
        return Site.of(self.submission["facility"], owner_of(context))

    def _advance(self, site: Site, limit: int | None) -> dict[str, Any]:
        attempts = site.backend.attempts(self.submission["group"])
        if any(not a.state.is_terminal for a in attempts):
            self._wait(site, limit or self._limit(attempts, {}))
        batch = site.batch(self.submission)
        latest = latest_attempts(attempts)
        reports = site.backend.reports(list(latest.values()))
        diagnoses = self._diagnose(site, batch, latest, reports)
        limit = limit or self._limit(attempts, diagnoses)
        decision = decide(len(batch.jobs), attempts, diagnoses, limit, self.submission["allowed_failures"])
        self._show(decision, diagnoses)
        if not decision.is_final:
            site.backend.submit(batch, decision.resubmit)
            self._wait(site, limit)
        if decision.failures_exceeded:
            raise AirflowFailException(_summary(decision, len(batch.jobs), site.facility.title))
        return self._finish(site, batch, decision, reports)

    def _limit(self, attempts: Sequence[Attempt], diagnoses: Mapping[int, Diagnosis]) -> int:
        """Count from the attempts that are spent: those that failed, or whose outputs are not well."""
        spent = [a.attempt for a in attempts if a.state.is_failure or a.index in diagnoses]
        return max(spent, default=0) + self.max_attempts

    def _wait(self, site: Site, limit: int) -> None:
        group, total = self.submission["group"], self.submission["count"]
        self.defer(
            trigger=JobsEnded(site.backend_ref, group, total, self.patience),
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
        """Say of every job that is not well why: failed, invalid, or its outputs are gone."""
        found = {
            i: diagnose(a, reports.get(a.job_id))
            for i, a in latest.items()
            if a.state is not JobState.DONE or a.job_id not in reports
        }
        pfns = {job.index: [o.pfn for o in job.outputs] for job in batch.jobs}
        there = site.storage.exists(p for one in pfns.values() for p in one)
        for index, attempt in latest.items():
            if index in found:
                continue
            if gone := [p for p in pfns[index] if p not in there]:
                found[index] = _fault(attempt, "OUTPUT_LOST", f"{gone[0]} is not there")
            elif self.require_valid and (bad := _refused(reports[attempt.job_id])):
                found[index] = _fault(attempt, "OUTPUT_INVALID", f"the validator refuses {bad}")
        return found

    def _show(self, decision: Decision, diagnoses: Mapping[int, Diagnosis]) -> None:
        again = [d for i, d in sorted(diagnoses.items()) if i in decision.resubmit]
        for one in [*decision.failed, *again][:SHOWN]:
            self.log.warning("%s", one)
            for line in one.log_tail:
                self.log.warning("    | %s", line)
        if decision.resubmit and not decision.is_final:
            self.log.info("submitting %d jobs again", len(decision.resubmit))

    def _finish(
        self, site: Site, batch: Batch, decision: Decision, reports: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Any]:
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
        manifest = build_manifest(activity, site.facility.storage_rse, done, failed)
        reference = site.keep(batch.group, "manifest.json", manifest.document())
        self.log.info("jobs %d of %d done, %d failed", len(done), len(batch.jobs), len(failed))
        return {
            "group": batch.group,
            "facility": site.facility.name,
            "done": len(done),
            "failed": len(failed),
            "manifest": reference,
        }


def _fault(attempt: Attempt, reason: str, message: str) -> Diagnosis:
    return Diagnosis(attempt.index, attempt.attempt, attempt.job_id, reason, message)


def _refused(report: Mapping[str, Any]) -> str:
    bad: Sequence[str] = [v["output"] for v in report["validation"] if v["verdict"] != "valid"]
    return ", ".join(bad)


def _summary(decision: Decision, count: int, facility: str) -> str:
    shown = "; ".join(str(d) for d in decision.failed[:3])
    more = f" (and {len(decision.failed) - 3} more, see the log)" if len(decision.failed) > 3 else ""  # noqa: PLR2004
    return f"{len(decision.failed)} of {count} jobs failed for good at {facility}: {shown}{more}"
