"""Campaigns: what a file in config/campaigns says, and what is still to be done of one."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any

from esap_batch.configuration import read_mapping
from esap_batch.errors import ConfigurationError
from esap_batch.products import Claim, generation_name
from esap_batch.retries import FINAL_REASONS

DAG_PREFIX = "campaign_"
FOLDER, SCHEMA = "campaigns", "campaign.schema.json"
QUARTERLY = "@quarterly"  # of Airflow's names for schedules the only one that croniter has not


@dataclass(frozen=True)
class Campaign:
    """A campaign as its file describes it.

    `request` has fields of the workflow's request; `owner` is the user it runs as; `budget_bytes` what all
    its runs together may recall; `priority` 1 to 5, of the recalls; `schedule` as Airflow has it, or nothing.
    """

    name: str
    title: str
    workflow: str
    owner: str
    request: Mapping[str, Any]
    budget_bytes: int
    priority: int = 3
    schedule: str | None = None
    start: str = "2026-01-01"
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dag_id(self) -> str:
        return f"{DAG_PREFIX}{self.name}"


def load_campaigns(config_dir: Path, workflow: str = "") -> list[Campaign]:
    """Read all campaigns, or those of one workflow; one whose file is wrong is left out (`wrong_files`)."""
    return [c for c in _read(config_dir)[0] if workflow in ("", c.workflow)]


def wrong_files(config_dir: Path) -> list[ConfigurationError]:
    """Say of each campaign's file that cannot be used what is wrong with it."""
    return _read(config_dir)[1]


def _read(config_dir: Path) -> tuple[list[Campaign], list[ConfigurationError]]:
    found, wrong = [], []
    for path in sorted((config_dir / FOLDER).glob("*.yaml")):
        try:
            found.append(_campaign(path))
        except ConfigurationError as error:
            wrong.append(error)
    return found, wrong


def _campaign(path: Path) -> Campaign:
    campaign = Campaign(name=path.stem, **read_mapping(path, path.with_name(SCHEMA)))
    if faults := list(_faults(campaign)):
        raise ConfigurationError(path, "; ".join(faults))
    return campaign


def _faults(campaign: Campaign) -> Iterator[str]:
    """Say what the schema cannot: what no DAG could be made of."""
    from croniter import croniter

    if not re.match(r"^[\w.-]{1,100}$", campaign.name, re.ASCII):
        yield f"name of the file = {campaign.name!r}: allowed are up to 100 letters, digits and ._-"
    if campaign.schedule not in (None, QUARTERLY) and not croniter.is_valid(campaign.schedule):
        allowed = f"a cron expression, @hourly, @daily, @weekly, @monthly, {QUARTERLY} and @yearly"
        yield f"$.schedule = {campaign.schedule!r}: allowed are {allowed}"
    try:
        date.fromisoformat(campaign.start)
    except ValueError:
        yield f"$.start = {campaign.start!r}: allowed is a day as YYYY-MM-DD"


class Verdict(StrEnum):
    """What is to be done about an observation."""

    NEW = "new"
    AGAIN = "again"  # it has failed, and another try is worth it
    OWN = "own"  # this run has begun with it
    DONE = "done"
    HOPELESS = "hopeless"
    ELSEWHERE = "elsewhere"  # another run is at it

    @property
    def is_todo(self) -> bool:
        return self in (Verdict.NEW, Verdict.AGAIN, Verdict.OWN)


@dataclass(frozen=True)
class Standing:
    """A verdict, why, and the dataset to claim where there is something to do."""

    verdict: Verdict
    message: str = ""
    product: str = ""


def standing_of(
    base: str,
    claims: Sequence[tuple[Claim, Mapping[str, Any]]],
    run: str,
    alive: Collection[str],
    max_tries: int | None,
    allowed_missing: int,
) -> Standing:
    """Decide about one observation from the claims on its product.

    `run` is this run, `alive` are other runs that have not ended. A published product that lacks more files
    than `allowed_missing` is made again. With `max_tries` None nothing is hopeless.
    """
    known = sorted(claims, key=lambda pair: pair[0].generation)
    own = [c for c, _ in known if c.run == run]
    published = [(c, m) for c, m in known if c.is_published]
    enough = [c for c, m in published if int(m.get("esap_missing_files", 0)) <= allowed_missing]
    if enough:
        return Standing(Verdict.DONE, f"{enough[-1].dataset} is published, by {enough[-1].run}")
    if own and not own[-1].is_published:
        return Standing(Verdict.OWN, "", own[-1].dataset)
    following = generation_name(base, known[-1][0].generation + 1 if known else 1)
    if not known:
        return Standing(Verdict.NEW, "", following)
    last, meta = known[-1]
    if not last.is_published and last.run in alive:
        return Standing(Verdict.ELSEWHERE, f"run {last.run} makes {last.dataset}")
    return _after_failures(following, [m for c, m in known if not c.is_published], meta, max_tries)


def _after_failures(
    following: str, failed: Sequence[Mapping[str, Any]], last: Mapping[str, Any], max_tries: int | None
) -> Standing:
    reason, words = str(last.get("esap_reason", "")), str(last.get("esap_message", ""))
    tries = sum(1 for m in failed if m.get("esap_state") == "failed")
    if max_tries is not None and reason in FINAL_REASONS:
        return Standing(Verdict.HOPELESS, f"it failed with {reason}, which no other try can heal: {words}")
    if max_tries is not None and tries >= max_tries:
        return Standing(
            Verdict.HOPELESS, f"it failed in {tries} runs, allowed are {max_tries}: {reason}: {words}"
        )
    if last.get("esap_state") == "published":
        return Standing(Verdict.AGAIN, f"its product lacks {last['esap_missing_files']} files", following)
    return Standing(Verdict.AGAIN, f"it failed with {reason}" if reason else "its run ended early", following)
