from __future__ import annotations

from tests.unit.runner.conftest import Node, is_alive, sh


def test_memory_limit(node: Node) -> None:
    outcome = node.run(node.noop("too_much_memory", config={"memory_mb": 400}, limits={"memory_mb": 150}))
    assert (outcome.code, outcome.report["reason"]) == (32, "MEMORY_LIMIT")
    assert outcome.report["peak_memory_mb"] > 150
    assert "the job may take 150 MB" in outcome.report["message"]


def test_time_limit(node: Node) -> None:
    outcome = node.run(node.noop("too_long", limits={"wall_time_s": 1}))
    assert (outcome.code, outcome.report["reason"]) == (33, "TIME_LIMIT")
    assert "1 s" in outcome.report["message"]


def test_time_limit_of_a_payload_that_ignores_sigterm(node: Node) -> None:
    script = "trap '' TERM; echo $$ > pid; while :; do sleep 0.1; done"
    outcome = node.run(node.job(sh(script), limits={"wall_time_s": 1}))
    assert outcome.code == 33
    assert not is_alive(node.pid_of())


def test_disk_limit_while_the_payload_runs(node: Node) -> None:
    script = "dd if=/dev/zero of=big bs=1M count=30 2>/dev/null; sleep 300"
    outcome = node.run(node.job(sh(script), limits={"disk_mb": 20}))
    assert (outcome.code, outcome.report["reason"]) == (34, "DISK_LIMIT")


def test_disk_limit_when_the_payload_has_ended(node: Node) -> None:
    outcome = node.run(node.job(sh("dd if=/dev/zero of=big bs=1M count=30"), limits={"disk_mb": 20}))
    assert outcome.code == 34
