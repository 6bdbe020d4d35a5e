from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from esap_batch.campaigns import Verdict, load_campaigns, standing_of, wrong_files
from esap_batch.products import Claim
from esap_batch.request import examine
from esap_batch.use_cases import cta_reprocessing
from esap_batch.workflows import load_workflow

CONFIG = Path(__file__).parents[3] / "config"
BASE = "/ctao/dl3/x/obs_1-abc"


def claim(
    generation: int = 1, run: str = "d/r1", *, published: bool = False, **meta: Any
) -> tuple[Claim, dict[str, Any]]:
    return Claim(f"{BASE}-g{generation}", run, published), meta


def verdict(
    *claims: tuple[Claim, dict[str, Any]], max_tries: int | None = 3, missing: int = 0
) -> tuple[Verdict, str]:
    standing = standing_of(BASE, claims, "d/mine", {"d/alive"}, max_tries, missing)
    return standing.verdict, standing.product.rsplit("-", 1)[-1]


FAILED: dict[str, Any] = {"esap_state": "failed", "esap_reason": "TAPE_STUCK", "esap_message": "torn"}


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ([], (Verdict.NEW, "g1")),
        ([claim(published=True)], (Verdict.DONE, "")),
        ([claim(run="d/alive")], (Verdict.ELSEWHERE, "")),
        ([claim(run="d/mine")], (Verdict.OWN, "g1")),
        ([claim()], (Verdict.AGAIN, "g2")),  # its run ended early
        ([claim(**FAILED)], (Verdict.AGAIN, "g2")),
        ([claim(n, **FAILED) for n in (1, 2, 3)], (Verdict.HOPELESS, "")),
        ([claim(1, **FAILED), claim(2, published=True)], (Verdict.DONE, "")),
        ([claim(**{**FAILED, "esap_reason": "INPUT_CORRUPT"})], (Verdict.HOPELESS, "")),
        ([claim(published=True, esap_missing_files=2, esap_state="published")], (Verdict.AGAIN, "g2")),
    ],
)
def test_what_is_to_be_done(
    claims: list[tuple[Claim, dict[str, Any]]], expected: tuple[Verdict, str]
) -> None:
    assert verdict(*claims) == expected


def test_a_product_that_lacks_as_many_files_as_are_allowed_is_done() -> None:
    assert verdict(claim(published=True, esap_missing_files=2), missing=2)[0] is Verdict.DONE


def test_nothing_is_hopeless_for_one_who_asks_again() -> None:
    hopeless = [claim(n, **{**FAILED, "esap_reason": "INPUT_CORRUPT"}) for n in range(1, 9)]
    assert verdict(*hopeless, max_tries=None) == (Verdict.AGAIN, "g9")


@pytest.mark.parametrize("campaign", load_campaigns(CONFIG), ids=lambda c: c.name)
def test_the_campaigns_that_are_shipped_ask_for_something_that_can_be_run(campaign: Any) -> None:
    workflow = load_workflow(CONFIG, campaign.workflow)
    assert examine(campaign.request, workflow, cta_reprocessing.check) == []


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("bad", {"owner": None}, r"bad\.yaml: \$\.owner: None is not of type 'string'"),
        ("bad", {"start": "2026-13-01"}, r"\$\.start = '2026-13-01': allowed is a day as YYYY-MM-DD"),
        (
            "bad",
            {"schedule": "61 * * * *"},
            r"\$\.schedule = '61 [* ]+': allowed are a cron expression",
        ),
        ("bad", {"schedule": "@sometimes"}, r"\$\.schedule = '@sometimes': allowed are .*@daily"),
        ("a b", {}, "name of the file = 'a b': allowed are"),
    ],
)
def test_a_wrong_campaign_is_named_and_the_others_stay(
    tmp_path: Path, name: str, change: dict[str, Any], words: str
) -> None:
    shutil.copytree(CONFIG / "campaigns", tmp_path / "campaigns")
    right = yaml.safe_load((tmp_path / "campaigns" / "crab_2026.yaml").read_text())
    (tmp_path / "campaigns" / f"{name}.yaml").write_text(yaml.safe_dump({**right, **change}))
    (wrong,) = wrong_files(tmp_path)
    assert re.search(words, str(wrong))
    assert [c.name for c in load_campaigns(tmp_path)] == ["crab_2026"]


@pytest.mark.parametrize("schedule", ["30 3 * * *", "@daily", "@quarterly", None])
def test_schedules_are_those_of_airflow(tmp_path: Path, schedule: str | None) -> None:
    shutil.copytree(CONFIG / "campaigns", tmp_path / "campaigns")
    right = yaml.safe_load((tmp_path / "campaigns" / "crab_2026.yaml").read_text())
    (tmp_path / "campaigns" / "crab_2026.yaml").write_text(yaml.safe_dump({**right, "schedule": schedule}))
    assert [c.schedule for c in load_campaigns(tmp_path)] == [schedule]


def test_no_campaign_that_is_shipped_is_wrong() -> None:
    assert wrong_files(CONFIG) == []
