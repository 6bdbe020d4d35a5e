"""Tests whether facilities are in order."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred

from esap_batch.health import CHECKS, CONNECTION, JOB, STORAGE, Check, Health, Outcome, table
from esap_batch.jobs import Attempt, InputFile, JobState, Load, group_name
from esap_batch.metrics import IN_ORDER
from esap_batch.probe import PING, PROGRAM, failure, findings, found_lfn, probe_batch
from hooks import facility_health
from hooks.backends import facility_named
from hooks.broker import LoginNeeded
from hooks.loads import ask_loads
from hooks.metrics import gauge
from hooks.settings import runner_dir
from operators.site import Site, run_key
from triggers.probe import ProbeEnded

if TYPE_CHECKING:
    from airflow.sdk import Context

TROUBLE = (AirflowException, OSError, ValueError)


class CheckFacility(BaseOperator):
    """Tests one facility: connection, storage, and by a small job its clock, software and runtimes.

    The result is kept for `SelectFacility`, which leaves out what is not in order. Settings, and as whom the
    facilities are tested, stand in config/facilities_check.yaml. A job that does not start in time only says
    that the facility is full; one whose user has to log in says nothing either.

    :param facility: name of the facility.
    :returns: `Health.document()`.
    """

    template_fields = ("facility",)

    def __init__(self, *, facility: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.facility = facility

    def execute(self, context: Context) -> dict[str, Any]:
        user = account_for(self.facility)
        if user is None:
            why = "config/facilities_check.yaml names no user of its experiments"
            return self._end([Check(CONNECTION, Outcome.UNKNOWN, why)])
        site, submitted_at = Site.of({"facility": self.facility}, user), time.time()
        if made := self._begun(site, context):
            return self._end(made)
        settings = facility_health.check_settings()
        until = submitted_at + settings["probe_wait_s"]
        raise TaskDeferred(
            trigger=ProbeEnded(
                site.backend_ref, self._group(context), 1, settings["answer_s"], until, self.facility
            ),
            method_name="resume",
            kwargs={"user": user, "submitted_at": submitted_at},
        )

    def _begun(self, site: Site, context: Context) -> list[Check]:
        """Send the job; give what is known without it if it cannot be sent."""
        group, connection = self._group(context), _connection(site)
        if connection.outcome is not Outcome.PASSED:
            return [connection]
        try:
            site.sign(group, run_key(context), self._step)
            batch = probe_batch(site.facility, group, _program(), _ping(site, group))
            batch = replace(batch, jobs=site.located(batch.jobs))
        except TROUBLE as error:
            return [connection, Check(STORAGE, Outcome.FAILED, _short(error))]
        try:
            site.backend.submit(batch, {0: 1})
        except TROUBLE as error:
            return [connection, Check(JOB, _outcome(error), f"it cannot be sent: {_short(error)}")]
        return []

    def resume(
        self, context: Context, event: dict[str, Any], user: str, submitted_at: float
    ) -> dict[str, Any]:
        """Judge the facility by what has become of the job."""
        site, group = Site.of({"facility": self.facility}, user), self._group(context)
        made = [Check(CONNECTION, Outcome.PASSED)]
        try:
            made += self._of_job(site, group, event, submitted_at)
        except TROUBLE as error:
            made = [Check(CONNECTION, _outcome(error), _short(error))]
        self._clean_up(site, group)
        return self._end(made)

    def _clean_up(self, site: Site, group: str) -> None:
        """Leave nothing; what cannot be cleaned up now keeps its signature, for `EndOrphans`."""
        try:
            site.backend.cancel(group)
            site.backend.clean_up(group)
        except TROUBLE as error:  # a job that is just being killed has not ended: no fault of the facility
            self.log.warning("batch %s is left: %s", group, error)
        else:
            site.storage.delete_tree(site.area(group))

    def _of_job(self, site: Site, group: str, event: dict[str, Any], submitted_at: float) -> Iterable[Check]:
        if event["status"] == "waits":
            return [
                Check(JOB, Outcome.UNKNOWN, f"after {time.time() - submitted_at:.0f} s {event['message']}")
            ]
        if event["status"] != "ended":
            return [Check(CONNECTION, Outcome.FAILED, event["message"])]
        attempts = site.backend.attempts(group)
        reports = site.backend.reports(attempts)
        done = [a for a in attempts if a.state is JobState.DONE]
        if not done:
            return failure(next(iter(reports.values()), None), _details(attempts))
        (pfn,) = site.pfns([found_lfn(group)]).values()
        if not site.storage.exists([pfn]):
            return [
                Check(STORAGE, Outcome.FAILED, f"this service does not see {pfn}, which the job has written")
            ]
        tolerance = facility_health.check_settings()["clock_tolerance_s"]
        return findings(json.loads(site.storage.read(pfn)), submitted_at, time.time(), tolerance)

    @property
    def _step(self) -> str:
        """What the group is named by, beside the run: several tasks of one id test one facility each."""
        return f"{self.task_id}/{self.facility}"

    def _group(self, context: Context) -> str:
        run = context["dag_run"]
        return group_name(run.dag_id, run.run_id, self._step)

    def _end(self, checks: Sequence[Check]) -> dict[str, Any]:
        order = {check.name: check for check in checks}
        health = Health(self.facility, time.time(), tuple(order[n] for n in CHECKS if n in order))
        facility_health.remember(health)
        gauge(IN_ORDER, int(not health.fault), facility=self.facility)
        self.log.info("%s\n%s", health.fault or "no fault is known", table([health]))
        return health.document()


class TellHealth(BaseOperator):
    """Shows the results of all facilities as one table; fails when one is out of order.

    :param found: what the tasks `CheckFacility` give.
    :returns: the table, in Markdown.
    """

    template_fields = ("found",)

    def __init__(self, *, found: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.found = found

    def execute(self, context: Context) -> str:
        found = [Health.of(document) for document in self.found]
        shown = table(found)
        self.log.info("\n%s", shown)
        context["ti"].xcom_push("table", shown)
        if wrong := [h.facility for h in found if h.fault]:
            raise AirflowFailException(f"out of order: {', '.join(wrong)}")
        return shown


def account_for(facility: str) -> str | None:
    """Name the user as whom a facility is tested: that of the first of its experiments which has one."""
    users = facility_health.check_settings()["users"]
    return next((users[e] for e in sorted(facility_named(facility).experiments) if e in users), None)


def _connection(site: Site) -> Check:
    try:
        backend = site.backend
    except TROUBLE as error:
        return Check(CONNECTION, _outcome(error), _short(error))
    name = site.facility.name
    answer = ask_loads({name: (backend, site.facility.site)}, facility_health.check_settings()["answer_s"])[
        name
    ]
    if isinstance(answer, Load):
        return Check(CONNECTION, Outcome.PASSED)
    return Check(CONNECTION, _outcome(answer), _short(answer))


def _ping(site: Site, group: str) -> InputFile:
    """Write the file that the job reads, look at it again, and say where it is."""
    kept = site.keep(group, PING, {"for": site.facility.name})
    stored = site.storage.stat(kept["pfn"])
    if stored is None or stored.adler32 != kept["adler32"]:
        raise OSError(f"{kept['pfn']} is not what was written")
    return InputFile(PING, kept["lfn"], stored.size, stored.adler32, kept["pfn"])


def _program() -> str:
    return (runner_dir() / PROGRAM).read_text()


def _details(attempts: Sequence[Attempt]) -> str:
    return "; ".join(f"{a.state} {a.detail}" for a in attempts) or "the back end does not know it"


def _outcome(error: Exception) -> Outcome:
    return Outcome.UNKNOWN if isinstance(error, LoginNeeded) else Outcome.FAILED


def _short(error: Exception) -> str:
    """Leave out what an error advises for tasks of users."""
    return str(error).split(". ", 1)[0]
