from __future__ import annotations

import signal

import pytest

from tests.unit.runner.conftest import Node, is_alive, sh


@pytest.mark.parametrize("arguments", [[], ["--index", "three"], ["--index", "3", "--what"]])
def test_bad_command_line_leaves_a_report(node: Node, arguments: list[str]) -> None:
    outcome = node.finish(node.start_with(arguments))
    assert outcome.code == 10
    assert "command line" in outcome.report["message"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_ends_payload_and_leaves_a_report(node: Node, number: signal.Signals) -> None:
    process = node.start(node.job(sh("echo $$ > pid; echo working; exec sleep 300")))
    pid = node.pid_of()
    process.send_signal(number)
    outcome = node.finish(process)
    assert (outcome.code, outcome.report["reason"]) == (60, "TERMINATED")
    assert number.name in outcome.report["message"]
    assert outcome.report["payload_log_tail"] == "working"
    assert not is_alive(pid)


def test_sigterm_while_a_validator_runs(node: Node) -> None:
    validator = sh("echo $$ > pid; sleep 300")
    process = node.start(node.job(sh("touch a"), outputs=[node.output("a", validator)]))
    pid = node.pid_of()
    process.terminate()
    assert node.finish(process).code == 60
    assert not is_alive(pid)
    assert not node.storage.exists()


def test_a_fault_of_the_runner_itself_leaves_a_report(node: Node) -> None:
    (node.directory / "config.json").mkdir(parents=True)
    outcome = node.run(node.noop("ok"))
    assert (outcome.code, outcome.report["reason"]) == (70, "INTERNAL")
    assert "IsADirectoryError" in outcome.report["message"]
