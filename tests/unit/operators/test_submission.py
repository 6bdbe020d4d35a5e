from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from hooks.storage_element import StorageElement
from operators import submission
from operators.submission import ENDED, SUBMITTING, end_submission, submitting

STORAGE = StorageElement()


def context(began: timedelta = timedelta()) -> Any:
    return {"ti": SimpleNamespace(start_date=datetime.now(UTC) + began)}


@pytest.fixture
def area(tmp_path: Path) -> str:
    return f"file://{tmp_path}/batch"


def names(area: str) -> set[str]:
    return {name for name in (SUBMITTING, ENDED) if STORAGE.exists([f"{area}/{name}"])}


def test_it_says_that_jobs_are_on_their_way_and_takes_it_back(area: str) -> None:
    with submitting(STORAGE, area, context()):
        assert names(area) == {SUBMITTING}
    assert names(area) == set()


def test_it_takes_it_back_when_the_submission_breaks(area: str) -> None:
    with pytest.raises(OSError, match="down"), submitting(STORAGE, area, context()):
        raise OSError("down")
    assert names(area) == set()


def test_nothing_is_submitted_for_a_run_that_has_ended_since_the_task_began(area: str) -> None:
    before = context(-timedelta(seconds=5))
    assert end_submission(STORAGE, area)
    with (
        pytest.raises(AirflowFailException, match="the run was ended meanwhile"),
        submitting(STORAGE, area, before),
    ):
        raise AssertionError("it submits")
    assert names(area) == {ENDED}


def test_a_task_that_is_run_again_later_submits(area: str) -> None:
    end_submission(STORAGE, area)
    with submitting(STORAGE, area, context(timedelta(seconds=5))):
        assert SUBMITTING in names(area)


def test_whoever_cleans_up_waits_for_whoever_submits(area: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, order = threading.Event(), []
    monkeypatch.setattr("operators.submission.time.sleep", lambda _s: asked.set())
    with submitting(STORAGE, area, context()):
        cleaner = threading.Thread(target=lambda: order.append(("clean", end_submission(STORAGE, area))))
        cleaner.start()
        asked.wait()
        order.append(("submit", True))
    cleaner.join()
    assert order == [("submit", True), ("clean", True)]


def test_a_mark_that_was_left_is_taken_away_in_the_end(area: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "LINGER_S", 0.0)
    STORAGE.mark(f"{area}/{SUBMITTING}")
    assert not end_submission(STORAGE, area)
    assert names(area) == {ENDED}
