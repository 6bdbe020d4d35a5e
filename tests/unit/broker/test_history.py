"""Who may ask the API server to delete, and what of the audit log goes; runs are in e2e/workflows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.history import _delete_audit
from hooks.broker import SERVICE
from tests.unit.broker.conftest import Site
from tests.unit.broker.test_tasks import FORGED, task_token

DOORS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("GET", "/history/runs?days=9", {}),
    ("POST", "/history/delete", {"days": 9, "runs": ["a/b"]}),
    ("POST", "/history/records", {"days": 9, "audit_days": 9}),
)


def ask(site: Site, door: tuple[str, str, dict[str, Any]], token: str | None) -> int:
    method, path, body = door
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return int(site.client.request(method, path, json=body or None, headers=headers).status_code)


@pytest.mark.parametrize("door", DOORS, ids=lambda d: d[1])
def test_a_task_of_a_user_may_not(site: Site, door: tuple[str, str, dict[str, Any]]) -> None:
    assert ask(site, door, task_token("alice")) == 403


@pytest.mark.parametrize("door", DOORS, ids=lambda d: d[1])
@pytest.mark.parametrize("forged", FORGED)
def test_nobody_else_may(site: Site, door: tuple[str, str, dict[str, Any]], forged: str) -> None:
    assert ask(site, door, FORGED[forged]) == 401


@pytest.mark.parametrize("days", [0, -1, 10**9])
def test_an_impossible_age_deletes_nothing(site: Site, days: int) -> None:
    token = task_token(SERVICE)
    assert ask(site, ("POST", "/history/delete", {"days": days, "runs": []}), token) == 400
    assert ask(site, ("POST", "/history/records", {"days": days, "audit_days": 9}), token) == 400


def test_of_the_audit_log_only_days_that_are_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESAP_AUDIT_DIR", str(tmp_path))
    today = datetime.now(UTC).date()
    names = [f"audit-{today - timedelta(days=n)}.jsonl" for n in (0, 5, 20)] + ["audit-x.jsonl", "notes.txt"]
    for name in names:
        (tmp_path / name).write_text("{}\n")
    assert _delete_audit(10) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted({*names} - {names[2]})
