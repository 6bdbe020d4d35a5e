"""Deletes what is known of runs that have ended long ago."""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from esap_batch.configuration import read_mapping
from esap_batch.housekeeping import DAY_S, DEFAULT_DAYS
from esap_batch.metrics import HOUSEKEEPING
from esap_batch.products import RunState
from hooks.broker import Broker
from hooks.history import History
from hooks.log_files import old_other_logs, old_run_logs, remove
from hooks.metrics import count
from hooks.rucio_lake import RucioLake
from hooks.settings import LAKE_CONNECTION, config_dir
from operators.runs import run_state
from operators.work_areas import open_claims

if TYPE_CHECKING:
    from airflow.sdk import Context


class DeleteHistory(BaseOperator):
    """Deletes old runs with their XComs, log files, and records that belong to no run.

    Never touched: runs that go on, and runs that hold the claim of a product which is not published. The days
    stand in config/housekeeping.yaml. With the run's param `dry_run` it only tells what it would do.

    :returns: `{"runs": [...], "kept": [...], "logs": number of folders and files, "dry_run"}`.
    """

    @cached_property
    def lake(self) -> RucioLake:
        return RucioLake.from_connection(LAKE_CONNECTION)

    @cached_property
    def history(self) -> History:
        broker = Broker.standing()
        if broker is None:
            raise AirflowFailException("There is no connection esap_broker, so no run can be deleted.")
        return History(broker)

    def execute(self, context: Context) -> dict[str, Any]:
        settings = config_dir() / "housekeeping.yaml"
        days = DEFAULT_DAYS | read_mapping(settings, settings.with_suffix(".schema.json"))
        dry_run = bool(context["params"]["dry_run"])
        runs, kept = self._runs(days["run_days"], dry_run)
        logs = self._logs(context, days["log_days"], dry_run)
        if not dry_run:
            self.history.delete_records(days["run_days"], days["audit_days"])
            count(HOUSEKEEPING, len(runs), what="runs")
            count(HOUSEKEEPING, logs, what="logs")
        done = "would be deleted" if dry_run else "deleted"
        self.log.info("%s: %d runs, %d folders and files of logs", done, len(runs), logs)
        return {"runs": runs, "kept": kept, "logs": logs, "dry_run": dry_run}

    def _runs(self, days: int, dry_run: bool) -> tuple[list[str], list[str]]:
        claiming = {run for _, run in open_claims(self.lake)}
        deleted, kept = list[str](), list[str]()
        for page in self.history.old_runs(days):
            kept += [run for run in page if run in claiming]
            chosen = [run for run in page if run not in claiming]
            deleted += chosen if dry_run else self.history.delete_runs(days, chosen)
        for run in kept:
            self.log.info("%s stays: its product is claimed and not published", run)
        return deleted, kept

    def _logs(self, context: Context, days: int, dry_run: bool) -> int:
        from airflow.sdk.configuration import conf

        folder, before = Path(conf.get("logging", "base_log_folder")), time.time() - days * DAY_S
        old = list(
            old_run_logs(folder, before, lambda run: run_state(context, run) is RunState.ALIVE)
        ) + list(old_other_logs(folder, before))
        for path in old:
            self.log.info("%s is old", path)
            if not dry_run:
                remove(path)
        return len(old)
