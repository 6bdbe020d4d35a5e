from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import ParamValidationError

from operators.form import request_form


def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schema: dict[str, Any]) -> None:
    folder = tmp_path / "workflows" / "small"
    folder.mkdir(parents=True)
    (folder / "request.schema.json").write_text(json.dumps(schema))
    monkeypatch.setenv("ESAP_CONFIG_DIR", str(tmp_path))


def accepted(form: dict[str, Any], conf: dict[str, Any]) -> dict[str, Any]:
    """Do with a form what Airflow does with the conf of a trigger."""
    params = ParamsDict(form)
    params.update(conf)
    return dict(params.validate())


@pytest.mark.parametrize("workflow", ["hello_world", "cta_irf"])
def test_a_form_has_every_field_and_may_be_sent_as_it_comes(
    workflow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ESAP_CONFIG_DIR", raising=False)
    form = request_form(workflow)
    schema = json.loads(
        (Path(__file__).parents[3] / "config" / "workflows" / workflow / "request.schema.json").read_text()
    )
    assert list(form) == list(schema["properties"])
    sent = accepted(form, {})
    assert {n: sent[n] for n, p in schema["properties"].items() if "default" in p} == {
        n: p["default"] for n, p in schema["properties"].items() if "default" in p
    }


def test_the_first_wrong_field_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ESAP_CONFIG_DIR", raising=False)
    with pytest.raises(ParamValidationError, match="n_jobs"):
        accepted(request_form("hello_world"), {"n_jobs": 1001})


def test_an_optional_field_without_default_may_stay_empty_or_be_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, monkeypatch, {"properties": {"label": {"type": "string", "maxLength": 3}}})
    assert accepted(request_form("small"), {})["label"] is None
    assert accepted(request_form("small"), {"label": "abc"})["label"] == "abc"
    with pytest.raises(ParamValidationError):
        accepted(request_form("small"), {"label": "abcd"})


def test_several_types_stay_allowed_beside_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, monkeypatch, {"properties": {"x": {"type": ["string", "integer"]}}})
    assert [accepted(request_form("small"), {"x": v})["x"] for v in ("a", 1, None)] == ["a", 1, None]


def test_a_required_field_without_default_must_be_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, monkeypatch, {"properties": {"n": {"type": "integer"}}, "required": ["n"]})
    with pytest.raises(ParamValidationError):
        accepted(request_form("small"), {})
    assert accepted(request_form("small"), {"n": 3}) == {"n": 3}


def test_a_description_is_shown_as_markdown_and_what_airflow_knows_goes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prop = {"type": "string", "default": "a", "description": "**bold**", "section": "S", "title": "T"}
    write(tmp_path, monkeypatch, {"properties": {"x": prop}})
    schema = request_form("small")["x"].schema
    assert schema["description_md"] == "**bold**"
    assert (schema["section"], schema["title"]) == ("S", "T")


def test_a_reference_is_put_in_place_and_its_siblings_win(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = {
        "$defs": {
            "angle": {"type": "number", "minimum": 0, "maximum": 70},
            "word": {"enum": ["a", "b"], "type": "string"},
        },
        "properties": {
            "zenith": {"$ref": "#/$defs/angle", "default": 20, "maximum": 60},
            "words": {"type": "array", "items": {"$ref": "#/$defs/word"}, "default": []},
        },
    }
    write(tmp_path, monkeypatch, schema)
    form = request_form("small")
    assert "$ref" not in json.dumps([p.schema for p in form.values()])
    assert accepted(form, {"zenith": 60})["zenith"] == 60
    with pytest.raises(ParamValidationError):
        accepted(request_form("small"), {"zenith": 61})
    with pytest.raises(ParamValidationError):
        accepted(request_form("small"), {"words": ["c"]})
