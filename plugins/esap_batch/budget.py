"""How many bytes may be recalled from tape, and how runs share that without overdrawing it.

A budget is an append-only ledger in the lake. Entry n+1 can be created once only, and by nobody who has not
seen entries 1 to n: of two runs that reserve at the same time one succeeds, the other looks again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esap_batch.configuration import read_mapping

LEDGERS = "/ctao/esap/budget"


@dataclass(frozen=True)
class Budget:
    """`limit` bytes for all entries of the ledger `account`; `who` and `period` say it in words."""

    account: str
    limit: int
    who: str
    period: str


@dataclass(frozen=True)
class Entry:
    """What one run has reserved, or has recalled in the end. `number` counts from 1."""

    number: int
    run: str
    size: int


class BudgetExceeded(Exception):  # noqa: N818 - says what happened
    """There is not enough left."""


def user_budget(path: Path, user: str, month: str) -> Budget:
    """Give the budget of a user in a calendar month (`2026-11`) from budgets.yaml."""
    document = read_mapping(path, path.with_name("budgets.schema.json"))
    limit = int(document["users"].get(user, document["default_bytes_per_month"]))
    return Budget(f"user/{user}/{month}", limit, f"user {user}", month)


def campaign_budget(name: str, limit: int) -> Budget:
    """Give the budget of a campaign over its whole life."""
    return Budget(f"campaign/{name}", limit, f"campaign {name}", "all its runs")


def entry_lfn(account: str, number: int) -> str:
    """Name an entry for ever by its ledger and number."""
    return f"{LEDGERS}/{account}/{number:06d}"


def number_of(lfn: str) -> int:
    """Give the number of an entry."""
    return int(lfn.rsplit("/", 1)[-1])


def taken(entries: Iterable[Entry]) -> int:
    """Sum what is reserved and recalled, in bytes."""
    return sum(e.size for e in entries)


def next_number(budget: Budget, entries: Sequence[Entry], size: int) -> int:
    """Give the number of the entry to create for `size` bytes; BudgetExceeded when they are too many."""
    used = taken(entries)
    if used + size > budget.limit:
        largest = sorted(entries, key=lambda e: -e.size)[:3]
        holders = "; ".join(f"{e.run}: {in_words(e.size)}" for e in largest if e.size) or "nobody"
        raise BudgetExceeded(
            f"recall of {in_words(size)} is over the budget of {budget.who} for {budget.period}: allowed are "
            f"{in_words(budget.limit - used)} more of {in_words(budget.limit)} (taken by {holders})"
        )
    return max((e.number for e in entries), default=0) + 1


def entry_of(lfn: str, metadata: Mapping[str, Any]) -> Entry:
    """Read an entry from the lake's metadata."""
    return Entry(number_of(lfn), str(metadata["esap_run"]), int(metadata["esap_bytes"]))


def in_words(size: float) -> str:
    """Write a number of bytes as people do: `12.3 GB`."""
    units = ("B", "kB", "MB", "GB", "TB", "PB")
    power = 0
    while abs(size) >= 1000 and power < len(units) - 1:  # noqa: PLR2004
        size, power = size / 1000, power + 1
    return f"{size:.0f} {units[power]}" if power == 0 else f"{size:.1f} {units[power]}"
