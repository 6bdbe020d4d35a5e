"""Rucio's daemons, unmodified, one after the other in one process.

A real deployment runs each as a process of its own that sleeps 10 to 600 s between rounds; here each round follows
the former at once when there was work, so that a rule on small files is done in seconds. Needs RUCIO_HOME.
"""
# ruff: noqa: TID253  this runs in the Rucio server's environment

from __future__ import annotations

import argparse
import logging
import signal
import threading
import time
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

from localgrid.programs.beat import write_beat

LOG = logging.getLogger("localgrid.rucio_daemons")
REPAIR_AFTER_S = 5


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
        return self.memories.setdefault(name, {})

    def close(self) -> None:
        for handler in self.handlers.values():
            handler.__exit__(None, None, None)

    def rounds(self) -> dict[str, tuple[float, Callable[[], object]]]:
        """Each daemon's shortest time between rounds in seconds, and its round."""
        conveyor = {"once": True, "partition_wait_time": 0}
        reaping = {
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
        return {
            "evaluator": (0, lambda: self.once(evaluator, paused_dids=self.memory("evaluator"), did_limit=100)),
            "submitter": (
                0,
                lambda: submitter.submitter(**conveyor, transfertools=["fts3"], group_bulk=100),
            ),
            "poller": (0, lambda: poller.poller(**conveyor, older_than=0, transfertool="fts3")),
            "finisher": (0, lambda: finisher.finisher(**conveyor)),
            "cleaner": (0.5, lambda: self.once(cleaner, paused_rules=self.memory("cleaner"))),
            "repairer": (
                5,
                lambda: self.once(repairer, paused_rules=self.memory("repairer"), delta=REPAIR_AFTER_S),
            ),
            "injector": (1, lambda: self.once(injector, paused_rules=self.memory("injector"))),
            "abacus-account": (2, lambda: self.once(abacus_account)),
            "abacus-rse": (2, lambda: self.once(abacus_rse)),
            "abacus-collection": (1, lambda: self.once(abacus_collection, limit=1000)),
            "undertaker": (
                2,
                lambda: self.once(undertaker, paused_dids=self.memory("undertaker"), chunk_size=10),
            ),
            "reaper": (1, lambda: self.once(reaper, **reaping)),
        }


def run_round(rounds: dict[str, tuple[float, Callable[[], object]]], last: dict[str, float]) -> list[str]:
    """Run what is due; return the names of the daemons that failed, as their own loops would log and go on."""
    failed = []
    for name, (every, once) in rounds.items():
        if time.monotonic() - last.get(name, -every) < every:
            continue
        try:
            once()
        except Exception:  # whatever it is, the other daemons work on and the health check shows it
            LOG.exception("%s failed", name)
            failed.append(name)
        last[name] = time.monotonic()
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--beat", type=Path, required=True, help="heartbeat file to write")
    parser.add_argument("--interval", type=float, default=0.3, help="rest between rounds, in seconds")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    # A killed predecessor's heartbeats would count as living partners and keep their share of the work for ever.
    cardiac_arrest()
    daemons, last = Daemons(), {}  # type: tuple[Daemons, dict[str, float]]
    rounds = daemons.rounds()
    while not stop.is_set():
        failed = run_round(rounds, last)
        write_beat(options.beat, failed=failed)
        stop.wait(options.interval)
    daemons.close()


if __name__ == "__main__":
    main()
