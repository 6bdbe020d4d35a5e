"""What is deleted when nobody has come back for it: the files of runs that have made no complete product."""

from __future__ import annotations

from dataclasses import dataclass

from esap_batch.products import RunState

RUN_FILE = "run.json"  # in each work area: whose it is
REPORTS_FILE = "reports.json"  # in a work area: the reports of its jobs
DAY_S = 86400
# What a site's config/housekeeping.yaml does not say, as one that is older than these.
DEFAULT_DAYS = {"run_days": 180, "log_days": 90, "audit_days": 730}


@dataclass(frozen=True)
class Leftover:
    """A folder on storage. `run` is `dag_id/run_id`, empty when it is not known; `changed` is Unix time.

    `registered` files of it are known to the lake.
    """

    pfn: str
    run: str
    changed: float
    registered: int = 0


def reason_to_keep(leftover: Leftover, holder: RunState, now: float, retention_days: int) -> str:
    """Say why a folder has to stay; nothing when it may go."""
    age = (now - leftover.changed) / DAY_S
    if age < retention_days:
        return f"changed {age:.1f} days ago, kept for {retention_days}"
    if not leftover.run:
        return "nobody knows whose it is"
    if holder is RunState.ALIVE:
        return f"run {leftover.run} is alive"
    if leftover.registered:
        return f"{leftover.registered} files of it are registered in the lake: clear the ingest to go on"
    return ""
