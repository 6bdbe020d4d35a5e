from __future__ import annotations

from datetime import timedelta

import pytest

from broker import measures
from broker.measures import measure_credentials
from esap_batch.metrics import CREDENTIAL_LIFE, CREDENTIALS, Metric
from store.sessions import now
from store.tables import Credential
from tests.unit.broker.conftest import Database


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, ...], float]:
    values: dict[tuple[str, ...], float] = {}

    def gauge(metric: Metric, value: float, **labels: str) -> None:
        values[(metric.name, *metric.tags(labels).values())] = value

    monkeypatch.setattr(measures, "gauge", gauge)
    monkeypatch.setattr(measures, "_seen", set())
    return values


def row(owner: str, hours: float, lost: str | None = None) -> Credential:
    moment = now()
    return Credential(
        owner=owner, system="iam", kind="oauth", secret=b"", issued_at=moment,
        expires_at=moment + timedelta(hours=hours), lost_at=moment if lost else None, lost_why=lost,
    )  # fmt: skip


def test_numbers_by_system_and_the_one_that_ends_first(
    database: Database, sent: dict[tuple[str, ...], float]
) -> None:
    with database.transaction() as session:
        session.add_all([row("alice", 2), row("bob", 1), row("carol", -1), row("dave", 9, "revoked")])
    measure_credentials()
    assert sent[CREDENTIALS.name, "iam", "good"] == sent[CREDENTIALS.name, "iam", "ended"] == 2
    assert 3590 < sent[CREDENTIAL_LIFE.name, "iam"] <= 3600
    assert not {"alice", "bob", "carol", "dave"} & {part for key in sent for part in key}


def test_the_last_one_of_a_system_leaves_zeros(
    database: Database, sent: dict[tuple[str, ...], float]
) -> None:
    with database.transaction() as session:
        session.add(row("alice", 2))
    measure_credentials()
    with database.transaction() as session:
        session.delete(session.get(Credential, ("alice", "iam")))
    measure_credentials()
    assert sent[CREDENTIALS.name, "iam", "good"] == 0
