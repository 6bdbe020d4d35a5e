"""Stand-in for Prometheus' statsd_exporter, which no package here has: StatsD packets in, a scrape out.

Of its protocol it knows what Airflow sends: counters, gauges and timers in ms with tags in InfluxDB's way; of
its mapping the names, the time to live of gauges, and the buckets.
"""

from __future__ import annotations

import argparse
import re
import socketserver
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

Labels = tuple[tuple[str, str], ...]
PACKET = re.compile(
    r"(?P<name>[^,:|]+)(?P<tags>(?:,[^=,:|]+=[^,:|]*)*):(?P<value>[+-]?[0-9.e+-]+)\|(?P<kind>c|g|ms)"
)
TTL = re.compile(r"(\d+)m")
MINUTE_S = 60


class Mapping:
    """A mapping file."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.buckets: list[float] = document["defaults"]["histogram_options"]["buckets"]
        self._rules = [(_pattern(one["match"]), one) for one in document["mappings"]]

    def of(self, name: str) -> tuple[str, float | None]:
        """Give a metric's name, and after how many seconds without news it is forgotten."""
        for pattern, rule in self._rules:
            if found := pattern.fullmatch(name):
                ttl = TTL.fullmatch(rule.get("ttl", ""))
                return found.expand(rule["name"].replace("$", "\\")), ttl and int(ttl[1]) * MINUTE_S
        return re.sub(r"[^a-zA-Z0-9_]", "_", name), None


def _pattern(match: str) -> re.Pattern[str]:
    return re.compile(re.escape(match).replace(r"\*", "([^.]+)"))


@dataclass
class Series:
    """One metric with its values by labels."""

    kind: str
    ttl: float | None
    values: dict[Labels, float] = field(default_factory=dict)
    told: dict[Labels, float] = field(default_factory=dict)
    timings: dict[Labels, list[float]] = field(default_factory=dict)


class Exporter:
    """Keeps what packets say, and gives it to whoever scrapes."""

    def __init__(self, mapping: Mapping) -> None:
        self.mapping = mapping
        self._series: dict[str, Series] = {}
        self._lock = threading.Lock()

    def take(self, packet: str) -> None:
        """Take a packet of one line or several; what is no metric is left out, as UDP has no answers."""
        for line in packet.splitlines():
            if found := PACKET.fullmatch(line):
                tags = (tag.split("=", 1) for tag in found["tags"].split(",")[1:])
                labels = tuple(sorted((re.sub(r"\W", "_", k), v) for k, v in tags))
                name, ttl = self.mapping.of(found["name"])
                with self._lock:
                    series = self._series.setdefault(name, Series(found["kind"], ttl))
                    self._add(series, labels, found["value"])

    def _add(self, series: Series, labels: Labels, value: str) -> None:
        series.told[labels] = time.monotonic()
        if series.kind == "ms":
            series.timings.setdefault(labels, []).append(float(value) / 1000)
        elif series.kind == "c" or value[0] in "+-":
            series.values[labels] = series.values.get(labels, 0.0) + float(value)
        else:
            series.values[labels] = float(value)

    def collect(self) -> Iterable[Metric]:
        """Give all metrics, as prometheus_client asks for them."""
        with self._lock:
            return [self._family(name, series) for name, series in sorted(self._series.items())]

    def _family(self, name: str, series: Series) -> Metric:
        old = time.monotonic() - series.ttl if series.ttl else 0.0
        alive = [labels for labels, told in series.told.items() if told >= old]
        if series.kind == "ms":
            histogram = HistogramMetricFamily(name, name)
            for labels in alive:
                self._histogram(histogram, dict(labels), series.timings[labels])
            return histogram
        family: Metric = (GaugeMetricFamily if series.kind == "g" else CounterMetricFamily)(name, name)
        for labels in alive:  # without the _total that the library gives counters: the original gives none
            family.add_sample(name, dict(labels), series.values[labels])
        return family

    def _histogram(self, family: Metric, labels: dict[str, str], timings: list[float]) -> None:
        for bound in (*self.mapping.buckets, float("inf")):
            le = "+Inf" if bound == float("inf") else str(bound)
            count = sum(t <= bound for t in timings)
            family.add_sample(f"{family.name}_bucket", {**labels, "le": le}, count)
        family.add_sample(f"{family.name}_count", labels, len(timings))
        family.add_sample(f"{family.name}_sum", labels, sum(timings))


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--statsd.listen-udp", dest="udp", default="127.0.0.1:9125")
    parser.add_argument("--web.listen-address", dest="web", default="127.0.0.1:9102")
    parser.add_argument("--statsd.mapping-config", dest="mapping", type=Path, required=True)
    given = parser.parse_args()
    exporter = Exporter(Mapping(yaml.safe_load(given.mapping.read_text())))

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            exporter.take(self.request[0].decode(errors="replace"))

    registry = CollectorRegistry()
    registry.register(exporter)
    host, _, port = given.web.rpartition(":")
    start_http_server(int(port), host, registry)
    host, _, port = given.udp.rpartition(":")
    with socketserver.UDPServer((host, int(port)), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
