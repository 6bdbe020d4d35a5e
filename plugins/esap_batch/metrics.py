"""What this service measures: every metric of its own with kind, unit and labels.

Labels are names that the configuration bounds (facilities, workflows, campaigns, systems) or one of a few
words. Never a user, run, job, file or address: they would make a time series each, and tell who does what.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

PREFIX = "esap"
_UNSAFE = re.compile(r"[^A-Za-z0-9_./-]")  # what no label may hold on its way (Airflow's StatsD client)
LONGEST_LABEL = 80


class Kind(StrEnum):
    """How values add up."""

    COUNTER = "counter"
    GAUGE = "gauge"
    TIMER = "timer"  # a histogram of seconds


class Door(StrEnum):
    """Where a request comes in."""

    UWS = "uws"
    ESAP = "esap"
    PAGES = "pages"
    CREDENTIALS = "credentials"
    AIRFLOW = "airflow"
    LOGIN = "login"


DOORS = {
    "/uws": Door.UWS,
    "/esap-api": Door.ESAP,
    "/batch-broker": Door.CREDENTIALS,
    "/batch": Door.PAGES,
    "/auth": Door.LOGIN,
}


class Outcome(StrEnum):
    """What becomes of a request."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # 4xx: the caller's matter
    LIMITED = "limited"  # 413, 429: a limit of config/limits.yaml
    FAILED = "failed"  # 5xx: ours


@dataclass(frozen=True)
class Metric:
    """A metric: `name` below the prefix, the labels that each value has, and what it says."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str

    @property
    def stat(self) -> str:
        """The name in StatsD packets, after Airflow's own prefix."""
        return f"{PREFIX}.{self.name}"

    @property
    def series(self) -> str:
        """The name in Prometheus (deploy/monitoring/statsd-mapping.yml drops Airflow's prefix)."""
        return f"{PREFIX}_{self.name}"

    def tags(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Give labels as they may be sent; ValueError unless they are exactly the metric's own."""
        if set(labels) != set(self.labels):
            raise ValueError(f"labels of {self.stat} = {sorted(labels)}: allowed are {sorted(self.labels)}")
        return {name: label(labels[name]) for name in self.labels}


def label(value: str) -> str:
    """Make a text into a label's value."""
    return _UNSAFE.sub("_", value)[:LONGEST_LABEL] or "none"


def door_of(path: str) -> Door:
    """Say at which door a request for a path comes in."""
    for prefix, door in DOORS.items():
        if path == prefix or path.startswith(f"{prefix}/"):
            return door
    return Door.AIRFLOW


def outcome_of(status: int) -> Outcome:
    """Say by an HTTP status what has become of a request."""
    if status in (413, 429):
        return Outcome.LIMITED
    if status >= 500:  # noqa: PLR2004 - HTTP's server errors
        return Outcome.FAILED
    return Outcome.REFUSED if status >= 400 else Outcome.ACCEPTED  # noqa: PLR2004


REQUESTS = Metric("requests", Kind.COUNTER, ("door", "outcome"), "Requests of people and their programs")
REQUEST_TIME = Metric("request_seconds", Kind.TIMER, ("door",), "Time until a request is answered")
RUNS = Metric("runs", Kind.COUNTER, ("workflow", "outcome"), "Runs that have come to their last task")
JOBS = Metric(
    "jobs", Kind.GAUGE, ("facility", "state", "triggerer"), "Jobs of the batches that are waited for"
)
JOBS_ENDED = Metric("jobs_ended", Kind.COUNTER, ("facility", "outcome"), "Jobs that ended for good")
POLLS = Metric("poll_seconds", Kind.TIMER, ("what", "connection", "outcome"), "Time that a poll takes")
STAGED = Metric("staged_bytes", Kind.COUNTER, ("rse",), "Bytes of inputs that have arrived for runs")
CREDENTIALS = Metric(
    "credentials", Kind.GAUGE, ("system", "standing"), "Credentials that users have let the service hold"
)
CREDENTIAL_LIFE = Metric(
    "credential_life_seconds", Kind.GAUGE, ("system",), "Life left of the good credential that ends first"
)
OBSERVATIONS = Metric("campaign_observations", Kind.GAUGE, ("campaign", "state"), "Observations of campaigns")
HELD = Metric("campaign_held", Kind.GAUGE, ("campaign",), "1 while a campaign waits for somebody's word")
IN_ORDER = Metric("facility_in_order", Kind.GAUGE, ("facility",), "0 when the last check has found a fault")
LIMITED = Metric("limited", Kind.COUNTER, ("limit",), "Requests that a limit has turned away")
ACTS = Metric("acts", Kind.COUNTER, ("act", "outcome"), "Lines of the audit log")
AUDIT_FAULTS = Metric("audit_faults", Kind.COUNTER, (), "Lines that the audit log could not take")
HOUSEKEEPING = Metric("housekeeping_deleted", Kind.COUNTER, ("what",), "What housekeeping has deleted")

METRICS = (
    REQUESTS,
    REQUEST_TIME,
    RUNS,
    JOBS,
    JOBS_ENDED,
    POLLS,
    STAGED,
    CREDENTIALS,
    CREDENTIAL_LIFE,
    OBSERVATIONS,
    HELD,
    IN_ORDER,
    LIMITED,
    ACTS,
    AUDIT_FAULTS,
    HOUSEKEEPING,
)
