"""Sends the service's own metrics the way Airflow sends its own ([metrics] of its configuration, ADR 14).

Cheap and never in the way: a UDP packet that nobody waits for. Without StatsD or OpenTelemetry configured
nothing is sent.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from esap_batch.metrics import Kind, Metric


def count(metric: Metric, number: int = 1, **labels: str) -> None:
    """Add to a counter."""
    _require(metric, Kind.COUNTER)
    if number:
        _client().incr(metric.stat, number, tags=metric.tags(labels))


def gauge(metric: Metric, value: float, **labels: str) -> None:
    """Say how much there is now."""
    _require(metric, Kind.GAUGE)
    _client().gauge(metric.stat, value, tags=metric.tags(labels))


def timing(metric: Metric, seconds: float, **labels: str) -> None:
    """Say how long something has taken."""
    _require(metric, Kind.TIMER)
    _client().timing(metric.stat, seconds * 1000, tags=metric.tags(labels))  # StatsD's unit is ms


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


@cache
def _client() -> Any:
    # Not Airflow's module of functions: some of its processes never initialise the one for tasks.
    from airflow.sdk.observability.metrics.stats_utils import get_stats_factory

    return get_stats_factory()()
