"""Sends the service's own metrics the way Airflow sends its own ([metrics] of its configuration, ADR 14).

Cheap and never in the way: a UDP packet that nobody waits for. Without StatsD or OpenTelemetry configured
nothing is sent, and while monitoring's host cannot be found neither.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from esap_batch.metrics import Kind, Metric

log = logging.getLogger(__name__)
SILENT_S = 30.0  # not to wait for a name server at each packet


def count(metric: Metric, number: int = 1, **labels: str) -> None:
    """Add to a counter."""
    _require(metric, Kind.COUNTER)
    if number:
        _sender.send("incr", metric.stat, number, metric.tags(labels))


def gauge(metric: Metric, value: float, **labels: str) -> None:
    """Say how much there is now."""
    _require(metric, Kind.GAUGE)
    _sender.send("gauge", metric.stat, value, metric.tags(labels))


def timing(metric: Metric, seconds: float, **labels: str) -> None:
    """Say how long something has taken."""
    _require(metric, Kind.TIMER)
    _sender.send("timing", metric.stat, seconds * 1000, metric.tags(labels))  # StatsD's unit is ms


@contextmanager
def timed(metric: Metric, **labels: str) -> Iterator[dict[str, str]]:
    """Measure what is done inside; labels may be set meanwhile."""
    began = time.perf_counter()
    try:
        yield labels
    finally:
        timing(metric, time.perf_counter() - began, **labels)


def _require(metric: Metric, kind: Kind) -> None:
    if metric.kind is not kind:
        raise TypeError(f"{metric.stat} is a {metric.kind}, not a {kind}")


class _Sender:
    """Airflow's client. After a failure nothing is sent for `SILENT_S`: no work fails or waits for it."""

    def __init__(self) -> None:
        self._client: Any = None
        self._silent_until = 0.0  # by time.monotonic

    def send(self, kind: str, stat: str, value: float, tags: dict[str, str]) -> None:
        if time.monotonic() < self._silent_until:
            return
        try:
            if self._client is None:
                self._client = _new_client()
            getattr(self._client, kind)(stat, value, tags=tags)
        except Exception as error:  # whatever: StatsD's client looks up the host's name when it is made
            self._client = None
            self._silent_until = time.monotonic() + SILENT_S
            log.warning("metrics are not sent for %g s: %s", SILENT_S, error)


def _new_client() -> Any:
    # Not Airflow's module of functions: some of its processes never initialise the one for tasks.
    from airflow.sdk.observability.metrics.stats_utils import get_stats_factory

    return get_stats_factory()()


_sender = _Sender()
