from __future__ import annotations

import json
from pathlib import Path

import pytest

from esap_batch.configuration import read_mapping
from esap_batch.errors import ConfigurationError


@pytest.mark.parametrize(("name", "text"), [("a.json", '{"a": [1]}'), ("a.yaml", "a: [1]\n")])
def test_json_and_yaml_give_the_same(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_mapping(tmp_path / name) == {"a": [1]}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.json", b"{", "not valid JSON"),
        ("a.yaml", b"a: [", "not valid YAML"),
        ("a.yaml", b"- a\n", "must hold an object, not a list"),
        ("a.yaml", b"", "must hold an object, not a NoneType"),
        ("a.json", b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_broken_file_is_named_with_the_reason(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=reason) as error:
        read_mapping(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"gone\.yaml: cannot be read"):
        read_mapping(tmp_path / "gone.yaml")


def test_everything_against_the_schema_is_told_at_once(tmp_path: Path) -> None:
    schema = {"required": ["b"], "properties": {"a": {"type": "integer"}}}
    (tmp_path / "s.json").write_text(json.dumps(schema))
    (tmp_path / "a.yaml").write_text("a: one\n")
    with pytest.raises(ConfigurationError, match=r"'b' is a required property.*\$\.a: 'one' is not"):
        read_mapping(tmp_path / "a.yaml", tmp_path / "s.json")


def test_yaml_tags_run_no_code(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ConfigurationError, match="not valid YAML"):
        read_mapping(tmp_path / "a.yaml")
