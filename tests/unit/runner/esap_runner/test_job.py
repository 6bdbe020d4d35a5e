from __future__ import annotations

import hashlib
import json
import signal
from datetime import datetime

from tests.unit.runner.conftest import GROUP, Node, adler32, sh


def test_ok_uploads_and_reports(node: Node) -> None:
    given = node.give("events.bin", b"abc" * 1000)
    outcome = node.run(node.noop("ok", inputs=[given], digest="0a1b"))
    assert (outcome.code, outcome.report["reason"]) == (0, "OK")
    report = outcome.report
    assert report["digest"] == "0a1b"
    content = node.stored("hello.json").read_bytes()
    assert report["outputs"] == [
        {
            "name": "hello.json",
            "lfn": "/ctao/esap/hello.json",
            "pfn": f"file://{node.stored('hello.json')}",
            "size": len(content),
            "adler32": adler32(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    ]
    assert (report["group"], report["index"], report["attempt"]) == (GROUP, 3, 1)
    assert report["site"] == "ESAP.Test.local"
    assert report["software"] == node.software
    assert report["inputs"] == [{k: given[k] for k in ("name", "lfn", "size", "adler32")}]
    assert [(v["output"], v["verdict"], v["exit_code"]) for v in report["validation"]] == [
        ("hello.json", "valid", 0)
    ]
    assert report["validation"][0]["report"]["checks"]
    assert set(report["timings_s"]) == {"fetch", "payload", "validate", "upload"}
    assert report["peak_memory_mb"] > 1
    assert report["limits"] == {"wall_time_s": 60, "memory_mb": 400, "disk_mb": 200}
    assert datetime.fromisoformat(report["started"]) <= datetime.fromisoformat(report["finished"])
    assert (node.directory / "events.bin").read_bytes() == b"abc" * 1000


def test_an_invalid_output_is_uploaded_with_its_verdict(node: Node) -> None:
    outcome = node.run(node.noop("corrupt_output"))
    assert outcome.code == 0
    assert outcome.report["validation"][0]["verdict"] == "invalid"
    assert node.stored("hello.json").exists()


def test_fail_once_succeeds_at_the_second_attempt(node: Node) -> None:
    job = node.noop("fail_once")
    assert node.run(job, attempt=1).report["reason"] == "PAYLOAD_FAILED"
    outcome = node.run(job, attempt=2)
    assert (outcome.report["reason"], outcome.report["attempt"]) == ("OK", 2)


def test_payload_sees_files_and_environment(node: Node) -> None:
    script = 'cat a.txt; printf "%s " "$ESAP_GROUP" "$ESAP_INDEX" "$ESAP_ATTEMPT" "$MINE"'
    files = {"a.txt": "text as it is\n", "b.json": {"k": [1, "ä"]}}
    job = node.job(sh(script), files=files, environment={"MINE": "two words"})
    report = node.run(job, attempt=4).report
    assert report["payload_log_tail"] == f"text as it is\n{GROUP} 3 4 two words "
    assert json.loads((node.directory / "b.json").read_text()) == {"k": [1, "ä"]}


def test_payload_that_fails(node: Node) -> None:
    outcome = node.run(node.noop("always_fail"))
    assert (outcome.code, outcome.report["reason"]) == (30, "PAYLOAD_FAILED")
    assert outcome.report["payload_exit_code"] == 1
    assert "always fails, as asked" in outcome.report["payload_log_tail"]
    assert not node.storage.exists()


def test_payload_killed_by_someone_else(node: Node) -> None:
    outcome = node.run(node.job(sh("kill -SEGV $$")))
    assert (outcome.code, outcome.report["reason"]) == (31, "PAYLOAD_SIGNAL")
    assert outcome.report["payload_exit_code"] == -signal.SIGSEGV
    assert "SIGSEGV" in outcome.report["message"]


def test_inputs_that_cannot_fit_are_not_fetched(node: Node) -> None:
    given = node.give("events.bin", b"abc") | {"size": 30 * 2**20}
    outcome = node.run(node.noop("ok", inputs=[given], limits={"disk_mb": 20}))
    assert outcome.code == 34
    assert not (node.directory / "events.bin").exists()


def test_missing_output_keeps_back_the_others(node: Node) -> None:
    outcome = node.run(node.noop("partial_output", outputs=("a.json", "b.json")))
    assert (outcome.code, outcome.report["reason"]) == (40, "OUTPUT_MISSING")
    assert "b.json" in outcome.report["message"]
    assert outcome.report["outputs"] == []
    assert not node.storage.exists()
