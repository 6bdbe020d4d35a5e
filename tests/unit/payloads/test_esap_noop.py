"""The no-op payload, called as a job calls it. Its limits are tested with the runner."""

from __future__ import annotations

import ast
import json
import os
import sys
from pathlib import Path

import pytest

from .conftest import PROJECT, Json, Result, failed, run

BIN = PROJECT / "payloads" / "noop" / "bin"


def noop(directory: Path, config: Json, attempt: int = 1) -> Result:
    (directory / "config.json").write_text(json.dumps(config))
    command: list[str | Path] = [BIN / "esap-noop", "run", "--config", "config.json"]
    return run(command, directory, ESAP_ATTEMPT=str(attempt), ESAP_GROUP="g")


def validate(directory: Path, name: str = "hello.json") -> Result:
    return run([BIN / "esap-noop", "validate", name], directory)


def config(behaviour: str, **more: object) -> Json:
    return {"behaviour": behaviour, "outputs": ["hello.json"], "message": "hello", "index": 7, **more}


def test_is_a_program_that_python_3_6_can_read() -> None:
    assert os.access(BIN / "esap-noop", os.X_OK)
    tree = ast.parse((BIN / "esap_noop.py").read_text(), feature_version=(3, 6))
    imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert imported <= sys.stdlib_module_names


def test_ok_writes_what_validate_accepts(tmp_path: Path) -> None:
    assert noop(tmp_path, config("ok")).code == 0
    result = validate(tmp_path)
    assert result.code == 0
    assert result.document["verdict"] == "valid"
    assert result.document["summary"] == {"message": "hello", "index": 7}
    assert {c["name"] for c in result.document["checks"]} == {
        "file.readable",
        "hello.format",
        "hello.checksum",
        "hello.message",
    }


def test_output_does_not_depend_on_the_attempt(tmp_path: Path) -> None:
    contents = []
    for attempt in (1, 2):
        noop(tmp_path, config("ok"), attempt)
        contents.append((tmp_path / "hello.json").read_bytes())
    assert contents[0] == contents[1]


def test_slow_takes_its_time_and_succeeds(tmp_path: Path) -> None:
    assert noop(tmp_path, config("slow", duration_s=0.1)).code == 0
    assert validate(tmp_path).code == 0


def test_fail_once_and_always(tmp_path: Path) -> None:
    assert noop(tmp_path, config("fail_once"), 1).code == 1
    assert not (tmp_path / "hello.json").exists()
    assert noop(tmp_path, config("fail_once"), 2).code == 0
    assert noop(tmp_path, config("fail_once", failing_attempts=3), 3).code == 1
    assert noop(tmp_path, config("fail_once", failing_attempts=3), 4).code == 0
    assert noop(tmp_path, config("always_fail"), 5).code == 1


def test_memory_is_held_and_let_go(tmp_path: Path) -> None:
    assert noop(tmp_path, config("memory", memory_mb=20, duration_s=0)).code == 0
    assert (tmp_path / "hello.json").exists()


def test_corrupt_output_is_refused(tmp_path: Path) -> None:
    assert noop(tmp_path, config("corrupt_output")).code == 0
    result = validate(tmp_path)
    assert (result.code, result.document["verdict"]) == (1, "invalid")
    assert failed(result.document) == {"hello.checksum"}


def test_partial_output_writes_the_first_only(tmp_path: Path) -> None:
    assert noop(tmp_path, config("partial_output", outputs=["a.json", "b.json"])).code == 0
    assert (tmp_path / "a.json").exists()
    assert not (tmp_path / "b.json").exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"behaviour": "dance"}, 'behaviour = "dance"'),
        ({"behaviour": ["ok"]}, "behaviour"),
        ({"outputs": []}, "outputs = []"),
        ({"outputs": ["../x"]}, "outputs"),
        ({"colour": "red"}, "colour is unknown"),
        ({"duration_s": -1}, "duration_s = -1"),
        ({"index": "3"}, 'index = "3"'),
    ],
)
def test_wrong_configuration_is_named(tmp_path: Path, change: Json, named: str) -> None:
    result = noop(tmp_path, config("ok") | change)
    assert result.code == 3
    assert named in result.stderr


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"[]", b"{"])
def test_validate_of_what_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "hello.json").write_bytes(content)
    result = validate(tmp_path)
    assert (result.code, result.document["verdict"]) == (2, "unreadable")
    assert failed(result.document) == {"file.readable"}


def test_validate_of_another_json_document(tmp_path: Path) -> None:
    (tmp_path / "hello.json").write_text('{"a": 1}')
    result = validate(tmp_path)
    assert result.code == 1
    assert failed(result.document) == {"hello.format", "hello.checksum", "hello.message"}
