"""The reports of a run's jobs (docs/runner.md), as they are kept on the facility's storage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from esap_batch.facilities import load_facilities
from esap_batch.housekeeping import REPORTS_FILE
from esap_batch.products import work_lfn
from hooks.settings import config_dir
from hooks.storage_element import StorageElement, is_served
from portal.results.files import lake

if TYPE_CHECKING:
    from portal.results.run import Run, Submission


def report_places(run: Run) -> dict[str, str]:
    """Give the PFN of the kept reports of each task that has submitted jobs, by task id."""
    storage_of = {f.name: f.storage_rse for f in load_facilities(config_dir() / "facilities.yaml")}
    by_rse: dict[str, dict[str, Submission]] = {}
    for one in run.submissions:
        if rse := one.storage_rse or storage_of.get(one.facility):
            by_rse.setdefault(rse, {})[f"{work_lfn(one.group)}/{REPORTS_FILE}"] = one
    found: dict[str, str] = {}
    for rse, steps in by_rse.items():
        pfns = lake().lake.pfns(rse, list(steps))
        found |= {steps[lfn].task: pfn for lfn, pfn in pfns.items()}
    return {one.task: found[one.task] for one in run.submissions if one.task in found}


def kept_reports(run: Run) -> dict[str, int]:
    """Give the size of the reports of each task that has submitted jobs, where there are any."""
    storage = StorageElement()
    sizes = {task: storage.size(pfn) for task, pfn in report_places(run).items() if is_served(pfn)}
    return {task: size for task, size in sizes.items() if size is not None}


def read_reports(pfn: str) -> list[dict[str, Any]]:
    """Read the reports of a batch's jobs in the order of the jobs; none when nobody has kept any."""
    storage = StorageElement()
    if storage.size(pfn) is None:
        return []
    reports = json.loads(storage.read(pfn))["reports"]
    return sorted(reports.values(), key=lambda r: int(r["index"]))


def report_text(report: Mapping[str, Any]) -> str:
    """Write what a job's report says, with the last lines of its output."""
    head = f"job {report['index']}, attempt {report['attempt']}, at {report.get('host') or 'an unknown host'}"
    told = f"{report['reason']}: {report['message']}"
    return f"{head}\n{told}\n\n{report.get('payload_log_tail') or '(no output)'}\n"
