from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from hooks.lake_bulk import RECALL_LIFETIME_S, BulkLake
from hooks.rucio_lake import RucioLake, RucioSettings

RULE = {"id": "r1", "name": "/ctao/acada/o", "comments": "tag", "state": "OK", "error": None,
        "updated_at": "", "rse_expression": "DISK"}  # fmt: skip


def lake(**client: Any) -> BulkLake:
    made = RucioLake(RucioSettings("http://lake", "esap"))
    made.__dict__["client"] = SimpleNamespace(**client)
    return BulkLake(made)


def in_days(days: float | None) -> datetime | None:
    """Give a time as Rucio does: UTC, without saying so."""
    return None if days is None else datetime.now(UTC).replace(tzinfo=None) + timedelta(days=days)


@pytest.mark.parametrize(("days", "found"), [(None, [False]), (6, [False]), (2, [True]), (-1, [])])
def test_a_recall_is_to_be_renewed_when_half_of_its_life_is_over(
    days: float | None, found: list[bool]
) -> None:
    rows = [{**RULE, "expires_at": in_days(days)}]
    recalls = lake(list_replication_rules=lambda _filters: rows).recalls("tag")
    assert [r.expires_soon for r in recalls] == found


def test_a_renewed_recall_stands_as_long_as_a_new_one() -> None:
    told: list[Any] = []
    lake(update_replication_rule=lambda *given: told.append(given)).renew("r1")
    assert told == [("r1", {"lifetime": RECALL_LIFETIME_S})]


@pytest.mark.parametrize(
    ("expression", "days", "is_pinned"),
    [
        ("LAPALMA-DISK", None, True),
        ("rse_type=DISK", 1, True),
        ("LAPALMA-DISK", -1, False),  # released: it goes as soon as Rucio comes to it
        ("LAPALMA-TAPE", None, False),
    ],
)
def test_a_file_is_pinned_by_a_rule_that_stands_at_the_place(
    expression: str, days: float | None, is_pinned: bool
) -> None:
    places = {"rse_type=DISK": ["CSCS-DISK", "LAPALMA-DISK"]}
    bulk = lake(
        list_associated_rules_for_file=lambda scope, _: [
            {"rse_expression": expression, "expires_at": in_days(days), "scope": scope}
        ],
        list_rses=lambda where: [{"rse": rse} for rse in places.get(where, [where])],
    )
    lfn = "/ctao/acada/o/f"
    assert bulk.pinned([lfn], "LAPALMA-DISK") == ({lfn} if is_pinned else set())
