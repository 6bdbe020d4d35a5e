"""Rucio's daemons, unmodified, one after the other in one process.

A real deployment runs each as a process of its own that sleeps 10 to 600 s between rounds; here a daemon's
round comes as soon as one cheap query says that there is work for it, so that a rule on small files is done
in seconds and an idle grid costs next to nothing. Needs RUCIO_HOME.
"""
# ruff: noqa: TID253  this runs in the Rucio server's environment

from __future__ import annotations

import argparse
import logging
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rucio.core.heartbeat import cardiac_arrest
from rucio.daemons.abacus import account as abacus_account
from rucio.daemons.abacus import collection_replica as abacus_collection
from rucio.daemons.abacus import rse as abacus_rse
from rucio.daemons.common import HeartbeatHandler
from rucio.daemons.conveyor import finisher, poller, submitter
from rucio.daemons.judge import cleaner, evaluator, injector, repairer
from rucio.daemons.reaper import reaper
from rucio.daemons.undertaker import undertaker
from rucio.db.sqla.session import get_engine
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from localgrid.programs.beat import write_beat
from localgrid.programs.schedule import Pauses, Schedule, work_query

LOG = logging.getLogger("localgrid.rucio_daemons")
REPAIR_AFTER_S = 5
REAPING: dict[str, Any] = {
    "rses": [],
    "include_rses": None,
    "exclude_rses": None,
    "vos": None,
    "chunk_size": 100,
    "scheme": None,
    "greedy": False,
    "delay_seconds": 0,
    "auto_exclude_threshold": 100,
    "auto_exclude_timeout": 600,
}


@dataclass
class Daemons:
    """Heartbeat handlers and memories that the daemons' rounds share."""

    handlers: dict[str, Any] = field(default_factory=dict)
    memories: dict[str, dict[Any, Any]] = field(default_factory=dict)

    def once(self, module: Any, **settings: Any) -> None:
        """One round of a daemon, without the wait for partitions that its own loop begins with."""
        name = module.DAEMON_NAME
        if name not in self.handlers:
            self.handlers[name] = HeartbeatHandler(executable=name, renewal_interval=20)
            self.handlers[name].__enter__()
        module.run_once(heartbeat_handler=self.handlers[name], **settings)

    def memory(self, name: str) -> dict[Any, Any]:
        return self.memories.setdefault(name, Pauses())

    def close(self) -> None:
        for handler in self.handlers.values():
            handler.__exit__(None, None, None)

    def rounds(self) -> dict[str, Callable[[], object]]:
        """The round of each daemon."""
        conveyor = {"once": True, "partition_wait_time": 0}
        submitting = {"transfertools": ["fts3"], "group_bulk": 100}
        polling = {"older_than": 0, "transfertool": "fts3"}
        undertaking = {"chunk_size": 10}
        return {
            "evaluator": lambda: self.once(evaluator, paused_dids=self.memory("evaluator"), did_limit=100),
            "submitter": lambda: submitter.submitter(**conveyor, **submitting),
            "poller": lambda: poller.poller(**conveyor, **polling),
            "finisher": lambda: finisher.finisher(**conveyor),
            "cleaner": lambda: self.once(cleaner, paused_rules=self.memory("cleaner")),
            "repairer": lambda: self.once(
                repairer, paused_rules=self.memory("repairer"), delta=REPAIR_AFTER_S
            ),
            "injector": lambda: self.once(injector, paused_rules=self.memory("injector")),
            "abacus-account": lambda: self.once(abacus_account),
            "abacus-rse": lambda: self.once(abacus_rse),
            "abacus-collection": lambda: self.once(abacus_collection, limit=1000),
            "undertaker": lambda: self.once(undertaker, paused_dids=self.memory("undertaker"), **undertaking),
            "reaper": lambda: self.once(reaper, **REAPING),
        }


def find_work() -> dict[str, bool]:
    """For which daemons the database has work, by one query."""
    with get_engine().connect() as connection:
        return dict(connection.execute(text(work_query())).one()._mapping)


def run_round(rounds: dict[str, Callable[[], object]], schedule: Schedule) -> list[str]:
    """Run what is due; log failures and go on, as the daemons' own loops do; return who failed."""
    try:
        work = find_work()
    except SQLAlchemyError:
        LOG.exception("the database does not answer")
        return ["database"]
    schedule.saw(any(work.values()))
    failed = []
    for name, once in rounds.items():
        if not schedule.due(name, work[name]):
            continue
        try:
            once()
        except Exception:  # whatever it is, the other daemons work on and the health check shows it
            LOG.exception("%s failed", name)
            failed.append(name)
        schedule.done(name)
    return failed


def main() -> None:
    """Run the daemons until a signal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--beat", type=Path, required=True, help="heartbeat file to write")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    # A killed predecessor's heartbeats would count as living partners, and keep their share of the work.
    cardiac_arrest()
    daemons, schedule = Daemons(), Schedule()
    rounds = daemons.rounds()
    while not stop.is_set():
        failed = run_round(rounds, schedule)
        write_beat(options.beat, failed=failed)
        stop.wait(schedule.rest_s)
    daemons.close()


if __name__ == "__main__":
    main()
