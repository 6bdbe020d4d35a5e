from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from tests.unit.runner.conftest import Json, Node

SMALL_DISK = """
mount -t tmpfs -o size=2m small "$1" && cp batch.json "$1" && cd "$1" || exit 99
shift
"$@"
code=$?
cp job-report.json ..
exit $code
"""


def may_mount() -> bool:
    command = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "small", "/tmp"]
    return shutil.which("unshare") is not None and subprocess.run(command, check=False).returncode == 0


@pytest.mark.skipif(not may_mount(), reason="no file system can be mounted here: no user namespaces")
@pytest.mark.parametrize(
    "job",
    [
        {"command": ["sh", "-c", "cat /dev/zero >fill || exit 1"]},
        {"command": ["true"], "inputs": 4_000_000},
        {"command": ["sh", "-c", "cat /dev/zero >fill"], "outputs": 1},
    ],
)
def test_a_full_disk_leaves_room_for_the_report(node: Node, job: Json) -> None:
    if "inputs" in job:
        job = job | {"inputs": [node.give("in.bin", b"a" * job["inputs"])]}
    if "outputs" in job:
        job = job | {"outputs": [node.output("out.txt", ["sh", "-c", "cat fill; echo x"])]}
    (node.directory / "disk").mkdir(parents=True)
    (node.directory / "batch.json").write_text(json.dumps(node.document(node.job(**job))))
    started = subprocess.run(
        [
            *("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", SMALL_DISK, "sh", "disk"),
            *(sys.executable, str(node.runner), "--index", "3"),
        ],
        cwd=node.directory,
        env=node.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads((node.directory / "job-report.json").read_text())
    assert report["exit_code"] == started.returncode
    assert report["reason"] == "DISK_LIMIT", started.stdout
    assert "the worker node's disk is full" in report["message"]
