"""The reports of a batch's jobs, kept beside its files: they outlive the sandboxes that they came in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from esap_batch.housekeeping import REPORTS_FILE
from esap_batch.jobs import Attempt, JobState
from esap_batch.products import work_lfn
from esap_batch.retries import latest_attempts
from operators.site import Site

KEPT_SCHEMA = 1
Reports = dict[str, dict[str, Any]]


def kept_reports(site: Site, group: str, name: str = REPORTS_FILE) -> Reports:
    """Read the reports that `keep_reports` wrote, by job id; none where it never did."""
    lfn = f"{work_lfn(group)}/{name}"
    pfn = site.pfns([lfn])[lfn]
    if not site.storage.exists([pfn]):
        return {}
    document = json.loads(site.storage.read(pfn))
    if document.get("schema") != KEPT_SCHEMA:
        raise ValueError(f"schema of {lfn} = {document.get('schema')!r}: allowed {KEPT_SCHEMA}")
    reports: Reports = document["reports"]
    return reports


def all_reports(site: Site, attempts: Sequence[Attempt], kept: Reports) -> Reports:
    """Give kept reports and, from the back end, those of the latest attempt of every other job.

    Where the latest attempt has none, earlier attempts are asked for theirs: they know the job's limits.
    """
    latest = latest_attempts(attempts)
    fresh = site.backend.reports([a for a in latest.values() if a.job_id not in kept])
    known = {**kept, **fresh}
    silent = {i for i, a in latest.items() if a.job_id not in known}
    earlier = [
        a for a in attempts if a.index in silent and a is not latest[a.index] and a.job_id not in known
    ]
    return {**known, **site.backend.reports(earlier)} if earlier else known


def keep_reports(
    site: Site,
    group: str,
    attempts: Sequence[Attempt],
    reports: Mapping[str, Any],
    name: str = REPORTS_FILE,
) -> None:
    """Write into the batch's work area what the reports say of the latest attempt of each job.

    A report that contradicts the back end (content, but the job was killed) is not kept.
    """
    latest = latest_attempts(attempts).values()
    told = {a.job_id: reports[a.job_id] for a in latest if a.job_id in reports}
    states = {a.job_id: a.state for a in latest}
    agreed = {j: r for j, r in told.items() if (r["reason"] == "OK") == (states[j] is JobState.DONE)}
    if agreed:
        site.keep(group, name, {"schema": KEPT_SCHEMA, "reports": agreed})
