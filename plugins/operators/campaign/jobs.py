"""The jobs of the window: submit what is staged, collect what has ended."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from esap_batch.carousel import Block, Item, Outcome, Phase
from esap_batch.jobs import Attempt, Batch, JobState, Limits
from esap_batch.retries import DIMENSIONS, Diagnosis, cannot_heal, diagnose, known_attempts, raised
from operators.campaign.work import Work
from operators.reports import all_reports, keep_reports, kept_reports

LOG = logging.getLogger(__name__)
RAISE_BY = 2.0
METADATA_MISSING = "METADATA_MISSING"


@dataclass(frozen=True)
class Finished:
    """An observation whose job has ended well, with the runner's report."""

    item: Item
    report: Mapping[str, Any]


def submit(work: Work, block: Block, items: Sequence[Item]) -> Block:
    """Submit the jobs of staged observations, each exactly once."""
    started = [replace(i, phase=Phase.RUNNING, attempt=i.attempt + 1) for i in items]
    if started:
        work.sign(block.number)
        work.site.backend.submit(batch_of(work, block.number, started), {i.index: i.attempt for i in started})
    return block.replaced(started)


def after_earlier(work: Work, block: Block) -> Block:
    """Number the attempts of a new block after those of an earlier plan, which had the same names of jobs."""
    known: dict[int, int] = {}
    for one in work.site.backend.attempts(work.group(block.number)):
        known[one.index] = max(known.get(one.index, 0), one.attempt)
    later = (i for i in block.items if known.get(i.index, 0) > i.attempt)
    return block.replaced(replace(i, attempt=known[i.index], first_attempt=known[i.index] + 1) for i in later)


def without_flawed(work: Work, items: Sequence[Item]) -> list[Item]:
    """End observations of which no product can be made: a version before has planned such, too."""
    required = work.use_case.required(work.steering["request"])
    lacking = {i.index: i.observation.lacks(required) for i in items}
    words = {n: f"the dataset has no metadata {', '.join(names)}" for n, names in lacking.items() if names}
    return [
        i.ended(Outcome.FAILED, METADATA_MISSING, words[i.index]) if i.index in words else i for i in items
    ]


def batch_of(work: Work, number: int, items: Sequence[Item]) -> Batch:
    """Describe the jobs of some of a block's observations: the same every time."""
    group = work.group(number)
    return Batch(
        group=group,
        jobs=work.site.located(work.use_case.job(work.steering, group, i) for i in items),
        runtime=work.site.facility.runtime("plain"),
        software=tuple(work.steering["software"]),
        site=work.site.facility.site,
        job_type="DL0_Reprocessing",
        transfer=work.site.facility.transfer,
    )


def collect(work: Work, block: Block, recalls: Collection[str]) -> tuple[Block, list[Finished]]:
    """See which jobs have ended: the good ones, and the block with the others tried again or given up.

    `recalls` are the rules that stand: where an observation's is gone, a retry needs its files anew.
    """
    running = block.having(Phase.RUNNING)
    if not running:
        return block, []
    latest, reports = _ended(work, block.number, running)
    finished, changed = [], []
    for item in (i for i in running if i.index in latest):
        attempt = latest[item.index]
        report = reports.get(attempt.job_id)
        if attempt.state is not JobState.DONE or not report:
            found = diagnose(attempt, report)
        elif not _is_own(work, block.number, item, report):
            other = "it was another observation's, of an earlier plan."
            found = Diagnosis(item.index, item.attempt, attempt.job_id, "JOB_CHANGED", other)
        else:
            finished.append(Finished(item, report))
            continue
        tried = _failed(work, block.number, item, found, report, has_files=item.rule in recalls)
        changed.append(tried)
    return block.replaced(changed), finished


def _ended(
    work: Work, number: int, running: Sequence[Item]
) -> tuple[dict[int, Attempt], Mapping[str, Mapping[str, Any]]]:
    """Give the attempts of these observations that are over, by index, and their reports.

    Those that `CleanUpCampaign` has kept are as good as the back end's, which may have forgotten its own.
    """
    attempts = work.site.backend.attempts(work.group(number))
    latest = _over(attempts, running)
    reports = work.site.backend.reports(list(latest.values()))
    if all(a.job_id in reports for a in latest.values()):
        return latest, reports
    kept = kept_reports(work.site, work.tag, reports_file(number))
    return _over(known_attempts(attempts, kept), running), {**kept, **reports}


def _over(attempts: Sequence[Attempt], running: Sequence[Item]) -> dict[int, Attempt]:
    known, lost = {a.key: a for a in attempts}, JobState.LOST
    latest = (known.get((i.index, i.attempt), Attempt("none", i.index, i.attempt, lost)) for i in running)
    return {a.index: a for a in latest if a.state.is_terminal}


def _is_own(work: Work, number: int, item: Item, report: Mapping[str, Any]) -> bool:
    """Whether a job has made this observation's product, and not one of an earlier plan."""
    wanted = {o.lfn for o in work.use_case.job(work.steering, work.group(number), item).outputs}
    made = {str(o["lfn"]) for o in report["outputs"]}
    passes = work.use_case.is_transient  # what is not the product's may lie elsewhere with another version
    return {n for n in made if not passes(n)} == {n for n in wanted if not passes(n)}


def keep(work: Work, number: int) -> None:
    """Keep the reports of a block's jobs: they go with the sandboxes, what the jobs have made stays."""
    name, group = reports_file(number), work.group(number)
    kept = kept_reports(work.site, work.tag, name)
    attempts = known_attempts(work.site.backend.attempts(group), kept)
    keep_reports(work.site, work.tag, attempts, all_reports(work.site, attempts, kept), name)


def reports_file(number: int) -> str:
    """Name the reports of a block's jobs, among the documents of its run."""
    return f"reports-{number:05d}.json"


def _failed(
    work: Work,
    number: int,
    item: Item,
    found: Diagnosis,
    report: Mapping[str, Any] | None,
    *,
    has_files: bool,
) -> Item:
    """Let the job be tried again, with more of what it ran out of, or give it up.

    Without a recall that stands its files are to come anew, and may have been missing for that only.
    """
    obs_id, tries = item.observation.obs_id, item.attempt - item.first_attempt + 1
    may_come = found.reason == "INPUT_MISSING" and not has_files
    had = _limits(work, number, item, report)
    more = raised(had, found.reason, work.site.facility, RAISE_BY)
    at_maximum = found.reason in DIMENSIONS and more == had
    hopeless = cannot_heal(found.reason, tries) and not may_come
    final = hopeless or tries >= work.rules.max_attempts or at_maximum
    LOG.warning("observation %d: %s%s", obs_id, found, "" if final else "; trying again")
    for line in found.log_tail:
        LOG.warning("    | %s", line)
    if final:
        said = f": {found.log_tail[-1]}" if found.log_tail else ""
        return item.ended(Outcome.FAILED, found.reason, f"{found.message}{said} ACTION {found.action}")
    again = replace(item, phase=Phase.READY, limits=item.limits if more == had else asdict(more))
    return again if has_files else again.recalled_again()


def _limits(work: Work, number: int, item: Item, report: Mapping[str, Any] | None) -> Limits:
    """Give what a job could use: as its report says, or as it was submitted."""
    if report and report.get("limits"):
        return Limits(**report["limits"])
    return work.use_case.job(work.steering, work.group(number), item).limits
