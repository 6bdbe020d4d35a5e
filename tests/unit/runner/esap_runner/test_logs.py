from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.unit.runner.conftest import Node, sh


def test_log_tail_is_the_end_of_both_streams(node: Node) -> None:
    outcome = node.run(node.job(sh("seq 1 5000; echo last >&2")))
    tail = outcome.report["payload_log_tail"].splitlines()
    assert tail == [*(str(n) for n in range(4982, 5001)), "last"]
    assert "\n5000\nlast\n" in outcome.stdout
    assert (node.directory / "payload.log").read_text().startswith("1\n2\n")


def test_a_job_is_well_though_nobody_has_room_for_what_it_says(node: Node) -> None:
    node.directory.mkdir()
    (node.directory / "batch.json").write_text(json.dumps(node.document(node.job(sh("echo hm")))))
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, str(node.runner), "--index", "3"],
            cwd=node.directory,
            env=node.environment,
            stdout=full,
            check=False,
        )
    report = json.loads((node.directory / "job-report.json").read_text())
    assert (done.returncode, report["reason"]) == (0, "OK")
