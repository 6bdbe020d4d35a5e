from __future__ import annotations

import pytest

from tests.unit.runner.conftest import Node, adler32, sh, wait_until


def test_input_that_is_not_there(node: Node) -> None:
    given = node.give("events.bin", b"abc")
    (node.storage / "events.bin").unlink()
    outcome = node.run(node.noop("ok", inputs=[given]))
    assert (outcome.code, outcome.report["reason"]) == (20, "INPUT_MISSING")
    assert "events.bin" in outcome.report["message"]


@pytest.mark.parametrize("content", [b"abd", b"abcd", b""])
def test_input_that_differs(node: Node, content: bytes) -> None:
    given = node.give("events.bin", b"abc")
    (node.storage / "events.bin").write_bytes(content)
    outcome = node.run(node.noop("ok", inputs=[given]))
    assert (outcome.code, outcome.report["reason"]) == (21, "INPUT_CORRUPT")
    assert adler32(content) in outcome.report["message"]
    assert outcome.report["inputs"] == []
    assert not (node.directory / "payload.log").exists()


def test_upload_that_cannot_work(node: Node) -> None:
    node.storage.write_text("a file where a directory is needed")
    outcome = node.run(node.noop("ok"))
    assert (outcome.code, outcome.report["reason"]) == (50, "UPLOAD_FAILED")
    assert str(node.storage) in outcome.report["message"]
    assert outcome.report["validation"][0]["verdict"] == "valid"


def test_equal_file_is_adopted(node: Node) -> None:
    node.run(node.noop("ok"))
    before = node.stored("hello.json").stat()
    outcome = node.run(node.noop("ok"), attempt=2)
    assert outcome.code == 0
    assert node.stored("hello.json").stat().st_ino == before.st_ino
    assert outcome.report["outputs"][0]["size"] == before.st_size
    assert "adopted" in outcome.stdout


def test_other_file_is_replaced(node: Node) -> None:
    node.give("ctao/esap/hello.json", b"other")
    outcome = node.run(node.noop("ok"))
    assert outcome.code == 0
    assert adler32(node.stored("hello.json").read_bytes()) == outcome.report["outputs"][0]["adler32"]


def test_runner_killed_during_upload_leaves_no_half_file(node: Node) -> None:
    script = "dd if=/dev/zero of=big bs=1M count=400 2>/dev/null"
    job = node.job(sh(script), outputs=[node.output("big")], limits={"disk_mb": 2000})
    folder = node.stored("big").parent
    process = node.start(job)
    wait_until(lambda: folder.exists() and list(folder.glob(".big~*.part")), "the upload has begun")
    process.kill()
    process.wait()
    assert not node.stored("big").exists()
    assert list(folder.glob(".big~*.part"))
    assert node.run(job, attempt=2).code == 0
    assert [p.name for p in folder.iterdir()] == ["big"]
    assert node.stored("big").stat().st_size == 400 * 2**20
