"""Packets as Airflow's own client sends them, received by a real socket."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from esap_batch.metrics import JOBS, POLLS, STAGED
from hooks import metrics
from tests.statsd import Packets, listening

PLACE = {"facility": "cscs", "state": "running", "triggerer": "t1"}


@pytest.fixture
def packets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Packets]:
    with listening() as packets:
        for option, value in {
            "statsd_on": "True",
            "statsd_host": "127.0.0.1",
            "statsd_port": str(packets.port),
            "statsd_influxdb_enabled": "True",
        }.items():
            monkeypatch.setenv(f"AIRFLOW__METRICS__{option.upper()}", value)
        monkeypatch.setattr(metrics, "_sender", metrics._Sender())
        yield packets


def test_a_counter_a_gauge_and_a_timer(packets: Packets) -> None:
    metrics.count(STAGED, 4096, rse="TAPE-1")
    assert packets.next() == "airflow.esap.staged_bytes,rse=TAPE-1:4096|c"
    metrics.gauge(JOBS, 7, **PLACE)
    assert packets.next() == "airflow.esap.jobs,facility=cscs,state=running,triggerer=t1:7|g"
    metrics.timing(POLLS, 0.25, what="jobs", connection="dirac_local", outcome="ok")
    assert packets.next().startswith(
        "airflow.esap.poll_seconds,what=jobs,connection=dirac_local,outcome=ok:250.0"
    )


def test_nothing_is_sent_for_nothing(packets: Packets) -> None:
    metrics.count(STAGED, 0, rse="A")
    metrics.count(STAGED, 1, rse="B")
    assert packets.next() == "airflow.esap.staged_bytes,rse=B:1|c"


def test_what_fails_is_measured_too(packets: Packets) -> None:
    def poll() -> None:
        with metrics.timed(POLLS, what="jobs", connection="c", outcome="silent") as labels:
            if labels["outcome"] != "ok":
                raise ConnectionError("no route")

    with pytest.raises(ConnectionError):
        poll()
    assert re.fullmatch(
        r"airflow\.esap\.poll_seconds,what=jobs,connection=c,outcome=silent:[\d.]+\|ms", packets.next()
    )


def test_a_value_with_the_signs_of_the_protocol_stays_one_value(packets: Packets) -> None:
    metrics.count(STAGED, 1, rse="a,b=c:9|c\nairflow.fake:1|c")
    assert packets.next() == "airflow.esap.staged_bytes,rse=a_b_c_9_c_airflow.fake_1_c:1|c"


def test_a_metric_is_used_as_what_it_is(packets: Packets) -> None:
    with pytest.raises(TypeError, match=r"esap\.jobs is a gauge, not a counter"):
        metrics.count(JOBS, 1, **PLACE)


def test_without_statsd_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW__METRICS__STATSD_ON", raising=False)
    monkeypatch.setattr(metrics, "_sender", metrics._Sender())
    metrics.count(STAGED, 1, rse="A")


def test_monitoring_that_is_not_there_is_in_nobodys_way(
    packets: Packets, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_HOST", "statsd.invalid")
    metrics.gauge(JOBS, 7, **PLACE)
    metrics.timing(POLLS, 0.25, what="jobs", connection="dirac_local", outcome="ok")
    with metrics.timed(POLLS, what="jobs", connection="c", outcome="ok"):
        metrics.count(STAGED, 1, rse="A")
    assert [record.message[:28] for record in caplog.records] == ["metrics are not sent for 30 "]
    with pytest.raises(ValueError, match="labels"):
        metrics.count(STAGED, 1, place="A")

    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_HOST", "127.0.0.1")
    metrics.count(STAGED, 1, rse="A")
    monkeypatch.setattr(metrics._sender, "_silent_until", 0.0)
    metrics.count(STAGED, 2, rse="A")
    assert packets.next() == "airflow.esap.staged_bytes,rse=A:2|c", "tried again, and not before"
