from __future__ import annotations

import ast
import signal
import sys
from pathlib import Path

import pytest

from tests.unit.runner.conftest import PROJECT, Node, is_alive, sh

MODULES = sorted((PROJECT / "runner" / "esap_runner").glob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_is_a_program_that_python_3_6_can_read(path: Path) -> None:
    source = path.read_text()
    tree = ast.parse(source, feature_version=(3, 6))
    roots = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    roots |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and not n.level}
    assert {root.split(".")[0] for root in roots} <= sys.stdlib_module_names
    assert "capture_output" not in source  # 3.7
    assert "missing_ok" not in source  # 3.8


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
