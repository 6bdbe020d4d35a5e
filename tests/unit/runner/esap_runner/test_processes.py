from __future__ import annotations

import sys
from pathlib import Path

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
