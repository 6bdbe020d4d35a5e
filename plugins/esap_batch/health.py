"""Whether facilities are in order, as their last check has found them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from esap_batch.facilities import Facility

CONNECTION, STORAGE, JOB = "connection", "storage", "job"
CLOCK, SOFTWARE, RUNTIMES = "clock", "software", "runtimes"
CHECKS = (CONNECTION, STORAGE, JOB, CLOCK, SOFTWARE, RUNTIMES)
VARIABLE = "esap_facility_health_"  # prefix of the Airflow variables that keep the results


class Outcome(StrEnum):
    """What a check has found; nothing is held against a facility that is not known."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, and what was seen.

    `lacking` names what only some jobs need: software as `NAME VERSION`, runtimes by their types.
    """

    name: str
    outcome: Outcome
    detail: str = ""
    lacking: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Give it as JSON."""
        told = {"name": self.name, "outcome": self.outcome, "detail": self.detail}
        return {**told, "lacking": list(self.lacking)} if self.lacking else told


@dataclass(frozen=True)
class Health:
    """What a check of a facility has found; `checked_at` is Unix time."""

    facility: str
    checked_at: float
    checks: tuple[Check, ...]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Health:
        """Read what `document` wrote."""
        checks = tuple(
            Check(c["name"], Outcome(c["outcome"]), c["detail"], tuple(c.get("lacking", ())))
            for c in document["checks"]
        )
        return cls(document["facility"], document["checked_at"], checks)

    def document(self) -> dict[str, Any]:
        """Give it as JSON, `fault` with it for those who only read."""
        checks = [check.document() for check in self.checks]
        return {**asdict(self), "checks": checks, "fault": self.fault}

    @property
    def fault(self) -> str:
        """Say what is wrong and since when that is known; nothing when no check has failed.

        Software and runtimes that are missing speak only against jobs that need them.
        """
        failed = [
            f"{c.name} failed ({c.detail})"
            for c in self.checks
            if c.outcome is Outcome.FAILED and not c.lacking
        ]
        return f"{', '.join(failed)}, checked at {self.when}" if failed else ""

    @property
    def lacking(self) -> tuple[str, ...]:
        """Name software and runtimes that are not there."""
        return tuple(one for c in self.checks for one in c.lacking)

    @property
    def when(self) -> str:
        """Give the time of the check in UTC."""
        return datetime.fromtimestamp(self.checked_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

    def outcome(self, name: str) -> Check:
        """Give one check; unknown when it was not made."""
        return next((c for c in self.checks if c.name == name), Check(name, Outcome.UNKNOWN))


def recent(known: Iterable[Health], now: float, trust_s: float) -> list[Health]:
    """Give the results that still say something.

    :param now: Unix time. :param trust_s: results that are older than this say nothing any more.
    """
    return [h for h in known if now - h.checked_at <= trust_s]


def faults(known: Iterable[Health]) -> dict[str, str]:
    """Say what speaks against each facility that is out of order."""
    return {h.facility: f"is out of order: {h.fault}" for h in known if h.fault}


def as_found(facilities: Iterable[Facility], known: Iterable[Health]) -> list[Facility]:
    """Give the facilities without the software that their last checks have not found there."""
    lacking = {h.facility: set(h.lacking) for h in known}
    return [_without(f, lacking[f.name]) if lacking.get(f.name) else f for f in facilities]


def _without(facility: Facility, lacking: set[str]) -> Facility:
    left = {
        name: tuple(v for v in versions if f"{name} {v}" not in lacking)
        for name, versions in facility.software.items()
    }
    runtimes = tuple(r for r in facility.runtimes if r["type"] not in lacking)
    return replace(facility, software=left, runtimes=runtimes)


def table(found: Iterable[Health]) -> str:
    """Show results as a table in Markdown, and below it what has failed or is not known."""
    rows, notes = [], []
    for health in found:
        checks = [health.outcome(name) for name in CHECKS]
        rows.append(f"| {health.facility} | {' | '.join(c.outcome for c in checks)} | {health.when} |")
        notes += [
            f"- {health.facility}: {c.name} {c.outcome}: {c.detail}"
            for c in checks
            if c.outcome is not Outcome.PASSED and c.detail
        ]
    head = f"| facility | {' | '.join(CHECKS)} | at |"
    lines = [head, f"|{'---|' * (len(CHECKS) + 2)}", *rows]
    return "\n".join([*lines, "", *notes] if notes else lines)
