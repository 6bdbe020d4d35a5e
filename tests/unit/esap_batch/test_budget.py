from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esap_batch.budget import (
    Budget,
    BudgetExceeded,
    Entry,
    campaign_budget,
    entry_lfn,
    entry_of,
    in_words,
    next_number,
    taken,
    user_budget,
)

CONFIG = Path(__file__).parents[3] / "config"
BUDGET = Budget("user/alice/2026-11", 100, "user alice", "2026-11")


def test_what_fits_gets_the_next_number() -> None:
    entries = [Entry(1, "a", 40), Entry(3, "b", 10)]
    assert next_number(BUDGET, [], 100) == 1
    assert next_number(BUDGET, entries, 50) == 4


def test_what_does_not_fit_is_told_with_what_is_left_and_who_has_taken_it() -> None:
    with pytest.raises(BudgetExceeded) as told:
        next_number(BUDGET, [Entry(1, "dag/run 1", 40)], 61)
    text = "recall of 61 B is over the budget of user alice for 2026-11: allowed are 60 B more of 100 B"
    assert text in str(told.value)
    assert "dag/run 1: 40 B" in str(told.value)


def test_entries_are_named_by_ledger_and_number() -> None:
    lfn = entry_lfn("user/alice/2026-11", 7)
    assert lfn == "/ctao/esap/budget/user/alice/2026-11/000007"
    assert entry_of(lfn, {"esap_run": "d/r", "esap_bytes": 5}) == Entry(7, "d/r", 5)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_runs_that_reserve_at_the_same_time_never_overdraw(sizes: list[int], order: random.Random) -> None:
    """Each run reads the ledger, then tries to create its entry; a number can be created once only."""
    ledger: dict[int, Entry] = {}
    seen: dict[int, list[Entry]] = {}
    pending = list(enumerate(sizes))
    while pending:
        run, size = order.choice(pending)
        if run not in seen:
            seen[run] = list(ledger.values())
            continue
        entries = seen.pop(run)
        try:
            number = next_number(BUDGET, entries, size)
        except BudgetExceeded:
            pending.remove((run, size))
            continue
        if number not in ledger:
            ledger[number] = Entry(number, str(run), size)
            pending.remove((run, size))
    assert taken(ledger.values()) <= BUDGET.limit


def test_limits_come_from_the_configuration() -> None:
    found = user_budget(CONFIG / "budgets.yaml", "alice", "2026-11")
    assert (found.account, found.limit) == ("user/alice/2026-11", 10_000_000_000_000)
    assert campaign_budget("crab", 5).account == "campaign/crab"


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_340_000_000, "12.3 GB"), (7e15, "7.0 PB")],
)
def test_volumes_in_words(size: float, words: str) -> None:
    assert in_words(size) == words
