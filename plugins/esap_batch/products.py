"""Products in the data lake: names, claims and verdicts.

A product is a Rucio dataset named by workflow and fingerprint, with a generation number. Creating the
dataset is the claim (Rucio refuses a second one), closing it is the publication.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

_GENERATION = re.compile(r"^(?P<base>.+)-g(?P<n>\d+)$")
FINGERPRINT_DIGITS = 12
WORK_AREA = "/ctao/esap/work"
QUARANTINE_AREA = "/ctao/quarantine"


def scope_of(lfn: str) -> str:
    """Give the Rucio scope of an LFN: its second component, as CTAO's policy package has it."""
    parts = lfn.split("/")
    if not lfn.startswith("/") or len(parts) < 4 or not all(parts[1:]):  # noqa: PLR2004 - /vo/scope/name
        raise ValueError(f"LFN {lfn!r}: allowed is /<vo>/<scope>/<path>")
    return parts[2]


def production_name(workflow: str, fingerprint: str) -> str:
    """Name a production for ever by what it is."""
    return f"{workflow.replace('_', '-')}-{fingerprint[:FINGERPRINT_DIGITS]}"


def generation_name(base: str, generation: int) -> str:
    """Name the n-th production of the same thing, counted from 1."""
    return f"{base}-g{generation}"


def generation_of(name: str) -> int:
    """Give the generation of a dataset's LFN; ValueError when it has none."""
    match = _GENERATION.match(name)
    if match is None:
        raise ValueError(f"no generation in {name!r}")
    return int(match["n"])


def work_lfn(group: str) -> str:
    """Give the directory of a batch's transient files."""
    return f"{WORK_AREA}/{group}"


class RunState(StrEnum):
    """What is known of the run that holds a claim."""

    ALIVE = "alive"
    ENDED = "ended"


@dataclass(frozen=True)
class Claim:
    """A product dataset as it stands in the lake. `run` is `dag_id/run_id` of the run that made it.

    Of a published one `missing` says how many of its `jobs` it lacks the outputs of.
    """

    dataset: str
    run: str
    is_published: bool
    missing: int = 0
    jobs: int = 0

    @property
    def generation(self) -> int:
        return generation_of(self.dataset)


class ClaimAction(StrEnum):
    """What a run does about its product."""

    USE = "use"  # it is published: finish with it
    CONTINUE = "continue"  # the claim is this run's own
    WAIT = "wait"  # another run makes it
    CREATE = "create"  # claim the named dataset


@dataclass(frozen=True)
class ClaimDecision:
    """What to do, with which dataset, whose run made it, and how many of its jobs are missing in it."""

    action: ClaimAction
    dataset: str
    run: str = ""
    missing: int = 0
    jobs: int = 0


def newest_open(claims: Iterable[Claim]) -> Claim | None:
    """Give the newest claim that is not published."""
    return max((c for c in claims if not c.is_published), key=lambda c: c.generation, default=None)


def decide_claim(
    base: str, claims: Iterable[Claim], run: str, holder: RunState | None, *, force: bool
) -> ClaimDecision:
    """Decide what run `run` does about product `base`.

    `holder` is the state of the run that holds the newest open claim, None without one. Of any number of
    runs deciding at the same time exactly one succeeds in creating the dataset a CREATE names; the others
    look again.
    """
    known = sorted(claims, key=lambda c: c.generation)
    own = [c for c in known if c.run == run]
    if own:
        newest = own[-1]
        action = ClaimAction.USE if newest.is_published else ClaimAction.CONTINUE
        return ClaimDecision(action, newest.dataset, newest.run, newest.missing, newest.jobs)
    published = [c for c in known if c.is_published]
    if published and not force:
        last = published[-1]
        return ClaimDecision(ClaimAction.USE, last.dataset, last.run, last.missing, last.jobs)
    standing = newest_open(known)
    if standing and holder is RunState.ALIVE and not force:
        return ClaimDecision(ClaimAction.WAIT, standing.dataset, standing.run)
    following = known[-1].generation + 1 if known else 1
    return ClaimDecision(ClaimAction.CREATE, generation_name(base, following))


def own_claims(claims: Iterable[Claim], run: str) -> list[Claim]:
    """Give the generations that a run has made, the oldest first: more than one after a partial product."""
    return sorted((c for c in claims if c.run == run), key=lambda c: c.generation)


def is_complete(claims: Iterable[Claim], run: str) -> bool:
    """Say whether a run has published all that it was asked for."""
    own = own_claims(claims, run)
    return bool(own) and own[-1].is_published and not own[-1].missing


def next_generation(claims: Iterable[Claim]) -> str:
    """Name the dataset that comes after all that there are of a product."""
    newest = max(claims, key=lambda c: c.generation)
    return generation_name(base_of(newest.dataset), newest.generation + 1)


def base_of(dataset: str) -> str:
    """Give a dataset's LFN without its generation; ValueError when it has none."""
    return dataset.removesuffix(f"-g{generation_of(dataset)}")


def incomplete(dataset: str, run: str, missing: int, jobs: int) -> str:
    """Say what a partial product lacks and how to get it."""
    return (
        f"{missing} of {jobs} jobs are missing in {dataset}. To complete it, clear the task that awaits the "
        f"jobs, with all that follows it, in run {run}: finished jobs are not repeated."
    )


def claim_metadata(steering: Mapping[str, Any], run: str) -> dict[str, Any]:
    """Describe a claim: whose it is and what for."""
    return {
        "esap_run": run,
        "esap_owner": steering["owner"],
        "esap_workflow": steering["workflow"],
        "esap_fingerprint": steering["fingerprint"],
        "esap_state": "claimed",
    }


@dataclass(frozen=True)
class ProductFile:
    """A file of a product as it was made. `size` in bytes, `adler32` eight hex digits."""

    name: str
    lfn: str
    pfn: str
    size: int
    adler32: str
    sha256: str = ""


class Severity(StrEnum):
    """How much a failed check weighs."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """One thing a check has found."""

    file: str
    check: str
    target: str
    severity: Severity
    message: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.file}: {self.check} ({self.target}): {self.message}"


@dataclass(frozen=True)
class Verdict:
    """Outcome of all checks of a product. Files that were never checked are errors, not successes."""

    checks: int
    findings: tuple[Finding, ...] = field(default=())

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity is Severity.ERROR)

    @property
    def passed(self) -> bool:
        return not self.errors

    def document(self) -> dict[str, Any]:
        """Give the verdict as JSON, as it is shown and kept."""
        return {
            "passed": self.passed,
            "checks": self.checks,
            "findings": [
                {
                    "file": f.file,
                    "check": f.check,
                    "target": f.target,
                    "severity": str(f.severity),
                    "message": f.message,
                }
                for f in self.findings
            ],
        }


def judge(
    validations: Iterable[Mapping[str, Any]], must_be_checked: Iterable[str], severities: Mapping[str, str]
) -> Verdict:
    """Weigh the validators' reports (entries of `validation` in job reports) by the workflow's profile.

    `severities` maps a check's name to error, warning or ignore; unnamed checks are errors.
    """
    findings: list[Finding] = []
    seen: set[str] = set()
    checks = 0
    for one in validations:
        name = str(one["output"])
        seen.add(name)
        report = one.get("report") or {}
        failed = [c for c in report.get("checks", []) if not c["passed"]]
        checks += len(report.get("checks", []))
        for check in failed:
            severity = severities.get(check["name"], "error")
            if severity != "ignore":
                findings.append(_finding(name, check, Severity(severity)))
        if one["verdict"] != "valid" and not failed:
            message = f"the validator says {one['verdict']} and names no check"
            findings.append(Finding(name, "validator", name, Severity.ERROR, message))
    findings += [
        Finding(name, "validator", name, Severity.ERROR, "no validator's report came with it")
        for name in must_be_checked
        if name not in seen
    ]
    return Verdict(checks, tuple(findings))


def _finding(name: str, check: Mapping[str, Any], severity: Severity) -> Finding:
    message = str(check.get("message") or f"is {check.get('value')}, allowed {check.get('allowed')}")
    return Finding(name, str(check["name"]), str(check.get("target", "")), severity, message)
