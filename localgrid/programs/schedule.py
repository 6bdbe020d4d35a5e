"""When which of Rucio's daemons has work to do."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

PAUSE = timedelta(seconds=3)
SHORTEST_REST_S, LONGEST_REST_S = 0.25, 1.0  # between two looks for work
AT_LEAST_EVERY_S = 20.0  # a daemon that finds no work still says hello to the others
NOW = "(now() at time zone 'utc')"
TRANSFERS = "requests"
# For each daemon: where its work lies, and the shortest time between two rounds in seconds.
WORK: dict[str, tuple[str, float]] = {
    "evaluator": ("updated_dids", 0),
    "submitter": (TRANSFERS, 0),
    "poller": (TRANSFERS, 0),
    "finisher": (TRANSFERS, 0),
    "cleaner": (f"rules where expires_at < {NOW}", 0.5),
    "repairer": ("rules where state = 'S'", 5),
    "injector": ("rules where state = 'I'", 1),
    "abacus-account": ("updated_account_counters", 2),
    "abacus-rse": ("updated_rse_counters", 2),
    "abacus-collection": ("updated_col_rep", 1),
    "undertaker": (f"dids where expired_at < {NOW}", 2),
    "reaper": (f"replicas where tombstone < {NOW}", 1),
}


def work_query() -> str:
    """One cheap query with a column of true or false for each daemon."""
    parts = (f'exists(select 1 from dev.{where}) as "{name}"' for name, (where, _) in WORK.items())  # noqa: S608  constants
    return f"select {', '.join(parts)}"


class Pauses(dict[Any, datetime]):
    """What a daemon leaves alone for a while, because somebody else held its rows: until when (UTC).

    Rucio says 10 to 40 minutes, which the rest of a large deployment's work takes. Meanwhile a rule that has
    expired stays, and a new one for the same files waits with it.
    """

    def __setitem__(self, key: Any, until: datetime) -> None:
        super().__setitem__(key, min(until, datetime.now(UTC).replace(tzinfo=None) + PAUSE))


@dataclass
class Schedule:
    """Which daemon is due, and how long all of them may rest."""

    last: dict[str, float] = field(default_factory=dict)
    rest_s: float = SHORTEST_REST_S

    def saw(self, any_work: bool) -> None:
        """Rest longer from look to look, up to a limit, as long as there is nothing to do."""
        self.rest_s = SHORTEST_REST_S if any_work else min(1.5 * self.rest_s, LONGEST_REST_S)

    def due(self, name: str, has_work: bool) -> bool:
        """Whether a daemon's round should run now."""
        since = time.monotonic() - self.last.get(name, -AT_LEAST_EVERY_S)
        return since >= (WORK[name][1] if has_work else AT_LEAST_EVERY_S)

    def done(self, name: str) -> None:
        self.last[name] = time.monotonic()
