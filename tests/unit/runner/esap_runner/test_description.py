from __future__ import annotations

from typing import Any

import pytest

from tests.unit.runner.conftest import Json, Node, sh
from tests.unit.runner.esap_runner.contained import contained, shell


def broken(**changes: Any) -> Json:
    return changes


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (broken(command="esap-noop run"), "jobs[1].command"),
        (broken(command=[]), "jobs[1].command"),
        (broken(limits={"wall_time_s": 0}), "jobs[1].limits.wall_time_s = 0"),
        (broken(limits={"memory_mb": "2 GB"}), 'jobs[1].limits.memory_mb = "2 GB"'),
        (broken(files={"../x": "y"}), '"../x"'),
        (broken(files={"job-report.json": "y"}), '"job-report.json"'),
        (broken(files={"config.json": 1, "hello.json": 2}), "hello.json is the name of two files"),
        (broken(environment={"A": 1}), "jobs[1].environment"),
        (broken(inputs=[{"name": "a", "size": 1, "adler32": "0", "pfn": "file:///a"}]), "inputs[0].adler32"),
        (broken(inputs=[{"name": "a", "size": -1, "adler32": "0" * 8, "pfn": "/a"}]), "inputs[0].pfn"),
        (broken(outputs=[{"name": "a/b", "validator": [], "pfn": "file:///a"}]), "outputs[0].name"),
        (broken(outputs=[{"name": "a", "validator": "v", "pfn": "root://h/a"}]), "outputs[0].pfn"),
        (broken(outputs=[{"name": "a", "validator": [], "pfn": ""}]), "outputs[0].pfn"),
    ],
)
def test_bad_job_is_refused_and_named(node: Node, change: Json, named: str) -> None:
    job = node.noop("ok")
    change = {**change, "limits": job["limits"] | change.get("limits", {})}
    outcome = node.run(job | change)
    assert (outcome.code, outcome.report["reason"]) == (10, "BAD_DESCRIPTION")
    assert named in outcome.report["message"]
    assert not node.storage.exists()


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ("{", "cannot be read as JSON"),
        ([], "allowed is an object"),
        ({"schema": 2}, "schema = 2"),
        ({"schema": 1, "group": "g", "runtime": {}, "software": [], "jobs": []}, "runtime = {}"),
        (
            {"schema": 1, "group": "g", "runtime": {"type": "plain"}, "software": [], "jobs": []},
            "no job has index 3",
        ),
    ],
)
def test_bad_batch_is_refused(node: Node, document: Any, named: str) -> None:
    outcome = node.run(None, document=document)
    assert outcome.code == 10
    assert named in outcome.report["message"]


@pytest.mark.parametrize("transfer", [{"max_mb_per_s": 0}, {"max_mb_per_s": "fast"}, 5])
def test_a_wrong_pace_is_told(node: Node, transfer: Any) -> None:
    outcome = node.run(None, document=node.document(node.job(sh("true"))) | {"transfer": transfer})
    assert outcome.report["reason"] == "BAD_DESCRIPTION"
    assert "transfer" in outcome.report["message"]


@pytest.mark.parametrize("cores", [0, 1.5, True, "2"])
def test_cores_are_a_whole_number(node: Node, cores: Any) -> None:
    outcome = node.run(node.job(sh("true"), limits={"cores": cores}))
    assert outcome.report["reason"] == "BAD_DESCRIPTION"
    assert "limits.cores" in outcome.report["message"]


def test_batch_that_is_not_there(node: Node) -> None:
    outcome = node.finish(node.start_with(["--index", "3"]))
    assert outcome.code == 10
    assert "batch.json" in outcome.report["message"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image": "../image.tar.gz"}, "runtime.image"),
        ({"image": "other.tar.gz"}, "allowed is the name of an input"),
        ({"sha256": "short"}, "runtime.sha256"),
    ],
)
def test_a_wrong_description_is_told(node: Node, image: bytes, change: Json, words: str) -> None:
    job = contained(node, image, shell("true"))
    node.runtime |= change
    outcome = node.run(job)
    assert outcome.report["reason"] == "BAD_DESCRIPTION"
    assert words in outcome.report["message"]
