from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from airflow.models.base import Base
from airflow.models.variable import Variable
from sqlalchemy import create_engine, event
from sqlalchemy.orm import Session

from esap_batch.health import CLOCK, Check, Health, Outcome
from esap_batch.jobs import Load
from portal.core import standing as module
from portal.core.standing import health_of_facilities, standing

NOW = time.time()
ILL = Health("ill", NOW, (Check(CLOCK, Outcome.FAILED, "late"),))
WELL = Health("well", NOW, (Check(CLOCK, Outcome.PASSED),))


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine, tables=[Variable.__table__])
    with Session(engine) as opened:
        for health in (ILL, WELL):
            opened.add(Variable(f"esap_facility_health_{health.facility}", json.dumps(health.document())))
        opened.add(Variable("esapXfacility_health_other", "not ours"))
        opened.flush()

        @contextmanager
        def transaction() -> Iterator[Session]:
            yield opened

        monkeypatch.setattr(module, "transaction", transaction)
        monkeypatch.setattr(module, "load_of_facilities", lambda _session: {"well": Load(2, 3)})
        yield opened
    engine.dispose()


def test_the_results_of_all_checks_cost_one_query(session: Session) -> None:
    asked: list[str] = []
    event.listen(session.bind, "before_cursor_execute", lambda *a: asked.append(str(a[2])))
    assert health_of_facilities(session) == {"ill": ILL, "well": WELL}
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("facility", "words"),
    [
        ("well", f"in order, checked at {WELL.when}; 3 jobs run and 2 wait"),
        ("ill", f"is out of order: clock failed (late), checked at {ILL.when}; no jobs are there"),
        ("new", "not checked; no jobs are there"),
    ],
    ids=("well", "ill", "new"),  # the words have the time of day in them
)
def test_how_a_facility_is_doing_in_a_few_words(session: Session, facility: str, words: str) -> None:
    assert standing().words(facility) == words


def test_what_was_found_long_ago_counts_no_more(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"trust_s": 0}
    monkeypatch.setattr(module, "check_settings", lambda: settings)
    assert standing().faults == {}
