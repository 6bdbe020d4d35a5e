from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.esap_runner import processes
from tests.unit.runner.conftest import HOG, Node, is_alive, sh, wait_until


def test_background_processes_do_not_outlive_the_job(node: Node) -> None:
    node.run(node.job(sh("setsid sleep 300 & echo $! > pid")))
    assert not is_alive(node.pid_of())


def test_memory_of_all_processes_counts(node: Node) -> None:
    hogs = " ".join(
        f'setsid {sys.executable} -c "{HOG.format(mb=128)}" & echo $! > pid{n};' for n in range(2)
    )
    outcome = node.run(node.job(sh(hogs + " wait"), limits={"memory_mb": 220}))
    assert outcome.code == 32
    assert not any(is_alive(node.pid_of(f"pid{n}")) for n in range(2))


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="this kernel tells no shares")
def test_memory_that_processes_share_counts_once(node: Node) -> None:
    script = (
        "import os, time; x = bytearray(b'x') * 2**27\n"
        "for _ in range(3): os.fork() or (time.sleep(1), os._exit(0))\n"
        "time.sleep(1)"
    )
    outcome = node.run(node.job([sys.executable, "-c", script], limits={"memory_mb": 250}))
    assert (outcome.report["reason"], outcome.code) == ("OK", 0)
    assert 128 <= outcome.report["peak_memory_mb"] <= 250


def test_where_no_share_is_told_the_whole_process_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    me = os.getpid()
    table = {me + 1: (me, 3 << 20), me + 2: (me + 1, 4 << 20)}
    monkeypatch.setattr(processes, "process_table", lambda: table)
    monkeypatch.setattr(processes, "share_of", {me + 1: 1 << 20, me + 2: None}.get)
    assert processes.memory_mb() == 7
    assert processes.shared_once_mb() == 5


def test_a_process_that_has_ended_takes_nothing() -> None:
    ended = subprocess.Popen(["true"])
    wait_until(lambda: not is_alive(ended.pid), "it has ended")
    assert processes.share_of(ended.pid) == 0  # and nobody has collected it
    ended.wait()
    assert processes.share_of(ended.pid) == 0


def test_killed_runner_takes_its_payload_with_it(node: Node) -> None:
    process = node.start(node.job([sys.executable, "-c", HOG.format(mb=16)]))
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    pid = int(wait_until(lambda: children.read_text().split(), "the payload has started")[0])
    log = node.directory / "payload.log"
    wait_until(
        lambda: log.exists() and b"python" in Path(f"/proc/{pid}/cmdline").read_bytes(), "it is the payload"
    )
    process.kill()
    process.wait()
    wait_until(lambda: not is_alive(pid), "the payload has ended")
