"""The tasks of a campaign's run in the small world of `world.py`."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from hooks.rucio_lake import RucioLake
from operators.campaign import reserve, work
from operators.campaign.work import Work
from tests.unit.conftest import FakeTaskInstance
from tests.unit.operators.campaign.world import DAG_ID, RUN_ID, Json, World


class TaskInstance(FakeTaskInstance):
    """A task instance of a campaign's run."""

    def __init__(self) -> None:
        super().__init__()
        self.id, self.max_tries = "try-1", 7

    def get_task_states(self, dag_id: str, run_ids: Any) -> Json:
        return {run_ids[0]: self.states}


class Tasks:
    """A world with what the tasks of its run are given. Changes of `world` reach all tasks."""

    def __init__(self) -> None:
        self.world = World()
        self.ti = TaskInstance()
        self.user: str | None = "alice"
        self.conf: Json = {}

    @property
    def context(self) -> Any:
        run = SimpleNamespace(
            dag_id=DAG_ID,
            run_id=RUN_ID,
            triggering_user_name=self.user,
            conf=self.conf,
            run_after=datetime(2026, 11, 21, 6, tzinfo=UTC),
        )
        following = [
            SimpleNamespace(task_id="reserve_recall", is_teardown=False),
            SimpleNamespace(task_id="report_end", is_teardown=True),
        ]
        task = SimpleNamespace(get_direct_relatives=lambda **_: following)
        return {"dag_run": run, "ti": self.ti, "task": task, "dag": SimpleNamespace(dag_id=DAG_ID)}


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> Tasks:
    made = Tasks()
    monkeypatch.delenv("ESAP_CONFIG_DIR", raising=False)
    monkeypatch.setattr(Work, "of", lambda *_args, **_options: made.world.worker())
    monkeypatch.setattr(work, "BulkLake", lambda _lake: made.world.lake)
    monkeypatch.setattr(reserve, "BulkLake", lambda _lake: made.world.lake)
    monkeypatch.setattr(RucioLake, "from_connection", lambda _conn_id: None)
    return made
