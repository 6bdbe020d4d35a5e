"""Phases, states, sizes and times in words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup

PHASES = {
    "PENDING": "not started yet",
    "QUEUED": "starts as soon as there is room",
    "EXECUTING": "is running",
    "COMPLETED": "has its results",
    "ERROR": "has failed",
    "ABORTED": "was ended by its owner, or by a limit",
    "HELD": "waits for an answer",
    "SUSPENDED": "waits for a new login",
    "UNKNOWN": "the facility does not answer",
    "ARCHIVED": "its time is over",
}
STATES = {
    None: "to come",
    "none": "to come",
    "scheduled": "starts soon",
    "queued": "starts soon",
    "running": "running",
    "restarting": "starts again",
    "deferred": "waiting",
    "awaiting_input": "waits for an answer",
    "up_for_retry": "is tried again",
    "up_for_reschedule": "waiting",
    "success": "done",
    "failed": "failed",
    "upstream_failed": "not reached",
    "skipped": "left out",
    "removed": "left out",
}
STEPS = {
    "validate_request": "Check the request and the rights",
    "check_duplicate": "Look for an equal product",
    "estimate_events": "Estimate the number of events",
    "confirm_events": "Have a large production confirmed",
    "select_data": "Find the data",
    "select_container": "Find or build the container",
    "select_facility": "Choose a facility",
    "search_lake": "Search the data lake",
    "reserve_recall": "Reserve budget for the recall",
    "stage_inputs": "Bring the inputs near",
    "await_inputs": "Wait for the inputs",
    "process_observations": "Recall, process and publish",
    "submit_jobs": "Submit the jobs",
    "await_jobs": "Wait for the jobs",
    "verify_outputs": "Check what came out",
    "ingest_products": "Publish the product",
    "release_inputs": "Let go of the inputs",
    "clean_up": "Clean up",
    "report_end": "Report",
}
KINDS = {
    "product": "product",
    "paper": "about the product",
    "archive": "all files in one archive",
    "crate": "description of the run (RO-Crate)",
    "provenance": "provenance (PROV-JSON)",
    "steering": "steering file",
    "reports": "reports of the jobs",
    "log": "log",
}
KB, MINUTE, HOUR, DAY = 1000, 60, 3600, 86_400
_markdown = MarkdownIt("commonmark", {"html": False})


def step(task: str) -> str:
    """Name a task of a run for its user."""
    if task in STEPS:
        return STEPS[task]
    for prefix, text in (("submit_", "Submit the jobs: "), ("await_", "Wait for the jobs: ")):
        if task.startswith(prefix):
            return text + task.removeprefix(prefix).replace("_", " ")
    return task.replace("_", " ").capitalize()


def state(name: str | None) -> str:
    """Say in words what a task is doing."""
    return STATES.get(name, str(name))


def phase(name: str) -> str:
    """Say in words what a phase means."""
    return PHASES.get(name, "")


def size(count: int | None) -> str:
    """Write bytes: 5.8 kB."""
    if count is None:
        return ""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= KB and len(units) > 1:
        value, units = value / KB, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.1f} {units[0]}"


def moment(when: datetime | None) -> Markup:
    """Write a time in UTC."""
    if when is None:
        return Markup("")
    utc = when.astimezone(UTC)
    written = utc.strftime("%Y-%m-%d %H:%M:%S")
    return Markup('<time datetime="{}">{} UTC</time>').format(utc.isoformat(timespec="seconds"), written)


def duration(start: datetime | None, end: datetime | None) -> str:
    """Write how long something took."""
    return lasting((end - start).total_seconds()) if start and end else ""


def lasting(seconds: float) -> str:
    """Write a number of seconds: 1 min 20 s."""
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"


def value(given: Any) -> str:
    """Write a value of a request."""
    if isinstance(given, bool):
        return "yes" if given else "no"
    if isinstance(given, list):
        return ", ".join(value(one) for one in given) or "(empty)"
    return str(given)


def markdown(text: str) -> Markup:
    """Show a description; HTML in it is shown as text."""
    return Markup(_markdown.render(text))  # noqa: S704 - the renderer escapes


FILTERS = {
    "step": step,
    "state": state,
    "size": size,
    "moment": moment,
    "lasting": lasting,
    "value": value,
    "markdown": markdown,
}
