"""Airflow's history as housekeeping sees it: tasks have no database, so the API server deletes for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hooks.broker import SERVICE, Broker

PAGE = 200


@dataclass(frozen=True)
class History:
    """The runs of all users, through the credentials broker's doors for tasks."""

    broker: Broker

    def old_runs(self, days: int) -> Iterator[list[str]]:
        """Give the runs that ended more than so many days ago, page by page, as `dag_id/run_id`."""
        after = 0
        while True:
            wanted = {"days": days, "after": after, "limit": PAGE}
            found = self._ask("GET", "/history/runs", params=wanted)
            if found["runs"]:
                yield [str(run) for run in found["runs"]]
            if len(found["runs"]) < PAGE:
                return
            after = found["last"]

    def delete_runs(self, days: int, runs: Sequence[str]) -> list[str]:
        """Delete runs with all that Airflow knows of them; gives those that were, as none that goes on is."""
        body = {"days": days, "runs": list(runs)}
        return [str(run) for run in self._ask("POST", "/history/delete", json=body)["deleted"]]

    def delete_records(self, days: int, audit_days: int) -> dict[str, int]:
        """Delete old records that belong to no run, and old files of the audit log; gives how many files."""
        body = {"days": days, "audit_days": audit_days}
        found: dict[str, int] = self._ask("POST", "/history/records", json=body)
        return found

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        return self.broker.ask(method, path, SERVICE, **options)
