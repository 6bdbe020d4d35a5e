from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esap_batch.errors import ConfigurationError
from esap_batch.request import MAX_BYTES, examine, resolve, validate
from esap_batch.use_cases import cta_irf
from esap_batch.workflows import Workflow, load_workflow

CONFIG = Path(__file__).parents[3] / "config"
IRF = load_workflow(CONFIG, "cta_irf")


def told(conf: object, workflow: Workflow = IRF) -> list[str]:
    return [str(p) for p in validate(conf, workflow)]


def workflow_of(schema: dict[str, Any], **more: Any) -> Workflow:
    settings = {
        "steering": {"software": [{"name": "s", "version": "1"}]},
        "product": {"lfn": "/ctao/x/{production}", "copies": [], "metadata": {}, "checks": {}},
    }
    return Workflow("small", "Small", schema, **{**settings, **more})


@pytest.mark.parametrize("name", ["cta_irf", "hello_world"])
def test_an_empty_request_is_a_good_one(name: str) -> None:
    assert validate({}, load_workflow(CONFIG, name)) == []


def test_airflows_form_sends_every_field_and_null_for_empty_ones() -> None:
    form = {name: prop.get("default") for name, prop in IRF.properties.items()}
    assert form["job_name"] is None
    assert validate(form, IRF) == []
    sent = resolve(form, IRF, "alice", "r")
    assert sent == resolve({}, IRF, "alice", "r")
    assert "job_name" not in sent["request"]


@pytest.mark.parametrize(
    ("conf", "expected"),
    [
        (
            {"particel": "gamma"},
            'particel = "gamma": allowed is particle (there is no such field: did you mean particle?)',
        ),
        ({"zenith_deg": "20"}, 'zenith_deg = "20": allowed a number from 0 to 70 deg (it is text)'),
        ({"zenith_deg": True}, "zenith_deg = true: allowed a number from 0 to 70 deg (it is true or false)"),
        ({"zenith_deg": 71}, "zenith_deg = 71: allowed a number from 0 to 70 deg (above the maximum)"),
        ({"zenith_deg": -1}, "zenith_deg = -1: allowed a number from 0 to 70 deg (below the minimum)"),
        ({"force": 1}, "force = 1: allowed true or false (it is a number)"),
        ({"site": "LaPlama"}, 'site = "LaPlama": allowed LaPalma, Paranal (did you mean LaPalma?)'),
        ({"model_version": "prod9"}, 'model_version = "prod9": allowed prod5-v2.0, prod6-v1.1'),
        (
            {"facility": "moon"},
            'facility = "moon": allowed auto, lapalma, cscs, fair-slurm, cta-dirac, egi-dirac',
        ),
        ({"site": ["LaPalma"]}, 'site = ["LaPalma"]: allowed LaPalma, Paranal'),
        (
            {"period_start": "2026-02-30"},
            'period_start = "2026-02-30": allowed a date as YYYY-MM-DD (it is no date)',
        ),
    ],
)
def test_bad_input_is_refused_with_a_message_to_act_on(conf: dict[str, Any], expected: str) -> None:
    assert any(message.startswith(expected) for message in told(conf)), told(conf)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "20261101", "2026-W45-1", "2026-11-01T00:00:00", "01.11.2026"]
)
def test_a_date_that_is_no_date_is_refused(text: str) -> None:
    assert [p.field for p in validate({"period_end": text}, IRF)] == ["period_end"]


def test_a_far_unknown_field_is_told_which_fields_there_are() -> None:
    (message,) = told({"qqqq": 1})
    assert "are the fields array_layout, azimuth_deg" in message


@pytest.mark.parametrize("conf", [[], [{}], "text", 7, None, True])
def test_json_that_is_no_object_is_refused(conf: object) -> None:
    (problem,) = validate(conf, IRF)
    assert problem.allowed == "a JSON object"


def test_a_megabyte_is_refused_before_a_closer_look() -> None:
    (problem,) = validate({"job_name": "x" * 1_000_000, "zenith_deg": "x"}, IRF)
    assert problem.allowed == f"at most {MAX_BYTES} bytes of JSON"
    assert len(str(problem)) < 300


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_numbers_that_are_none_are_refused(number: float) -> None:
    (problem,) = validate({"zenith_deg": number}, IRF)
    assert "zenith_deg" in str(problem)


def test_a_document_nested_without_end_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    (problem,) = validate({"job_name": deep}, IRF)
    assert "nested too deeply" in str(problem)


def test_all_errors_come_at_once_and_in_a_stable_order() -> None:
    bad = {"zenith_deg": 99, "azimuth_deg": "x", "site": "Moon", "what": 1, "period_end": "x", "force": 0}
    problems = validate(bad, IRF)
    assert [p.field for p in problems] == ["azimuth_deg", "force", "period_end", "site", "what", "zenith_deg"]
    assert validate(dict(reversed(bad.items())), IRF) == problems


def test_missing_fields_are_named_one_by_one() -> None:
    schema = {
        "type": "object",
        "required": ["a", "b"],
        "properties": {"a": {"type": "integer", "minimum": 1}},
    }
    messages = told({}, workflow_of(schema))
    assert messages == [
        "a = (not given): allowed a whole number of at least 1 (it is required)",
        "b = (not given) (it is required)",
    ]


def test_null_for_a_required_field_is_refused() -> None:
    schema = {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}
    assert told({"a": None}, workflow_of(schema)) == ["a = null: allowed text (it is null)"]


def test_a_problem_within_a_field_has_its_path() -> None:
    items = {"type": "array", "items": {"type": "number", "exclusiveMinimum": 0}}
    schema = {"type": "object", "properties": {"range": items}}
    (problem,) = validate({"range": [1, 0]}, workflow_of(schema))
    assert problem.field == "range.1"
    assert problem.message == "not above the minimum"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from(sorted(IRF.properties)) | st.text(max_size=5), anything, max_size=4))
def test_whatever_comes_is_judged_or_resolved(conf: dict[str, Any]) -> None:
    if not validate(conf, IRF):
        json.dumps(resolve(conf, IRF, "alice", "r"), allow_nan=False)


def test_the_steering_file_is_complete_and_the_request_untouched() -> None:
    conf = {"zenith_deg": 40, "job_name": "mine"}
    before = copy.deepcopy(conf)
    steering = resolve(conf, IRF, "alice", "cta_irf/run 1")
    assert conf == before
    assert set(steering["request"]) == set(IRF.properties)
    assert list(steering["request"]) == sorted(steering["request"])
    assert steering["software"] == [{"name": "esap-fits", "version": "0.2.0"}]
    assert (steering["owner"], steering["run_id"]) == ("alice", "cta_irf/run 1")
    assert steering["product_lfn"] == (
        f"/ctao/irf/prod6-v1.1/LaPalma/alpha/zen40/cta-irf-{steering['fingerprint'][:12]}"
    )
    assert all(c["severity"] in ("error", "warning", "ignore") for c in steering["checks"].values())
    assert json.loads(json.dumps(steering)) == steering


def test_numbers_are_as_the_schema_has_them() -> None:
    hello = load_workflow(CONFIG, "hello_world")
    request = resolve({"n_jobs": 3.0, "duration_s": 1}, hello, "a", "r")["request"]
    assert (type(request["n_jobs"]), type(request["duration_s"])) == (int, float)
    assert str(resolve({"azimuth_deg": -0.0}, IRF, "a", "r")["request"]["azimuth_deg"]) == "0.0"


def test_who_asks_where_to_run_and_how_it_is_called_makes_no_other_product() -> None:
    first = resolve({"facility": "cscs", "force": True, "job_name": "x"}, IRF, "alice", "r1")
    assert resolve({}, IRF, "bob", "r2")["product_lfn"] == first["product_lfn"]
    assert resolve({"zenith_deg": 21}, IRF, "bob", "r2")["product_lfn"] != first["product_lfn"]


def test_of_the_calibration_only_what_the_request_is_about_is_kept() -> None:
    electron = resolve({"particle": "electron"}, IRF, "a", "r")["calibration"]
    gamma = resolve({}, IRF, "a", "r")["calibration"]
    assert [t["zenith_deg"] for t in gamma["tables"]] == [0, 20, 40, 60, 70]
    assert electron["tables"] != gamma["tables"]
    assert len(json.dumps(gamma)) < 4000


def test_a_template_with_an_unknown_field_is_the_administrators_fault() -> None:
    product = {"lfn": "/ctao/x/{nothing}", "copies": [], "metadata": {}, "checks": {}}
    workflow = workflow_of({"type": "object", "properties": {}}, product=product)
    with pytest.raises(ConfigurationError, match=r"product\.yaml: lfn: 'nothing'"):
        resolve({}, workflow, "a", "r")


def test_what_is_wrong_across_fields_is_told_together_with_what_the_schema_refuses() -> None:
    problems = examine({"zenit_deg": 20, "period_start": "2025-01-01", "site": 7}, IRF, cta_irf.check)
    assert {p.field for p in problems} == {"zenit_deg", "site", "period_start"}


def test_a_field_that_the_schema_refuses_is_not_judged_twice() -> None:
    problems = examine({"energy_min_tev": 1000, "energy_max_tev": 0.01}, IRF, cta_irf.check)
    assert sorted(p.field for p in problems) == ["energy_max_tev", "energy_min_tev"]


def test_what_is_no_request_at_all_is_not_looked_into() -> None:
    assert [p.field for p in examine(["a"], IRF, cta_irf.check)] == ["the request"]


def test_the_processor_chooses_its_software_and_settings() -> None:
    schema = {
        "type": "object",
        "properties": {"processor": {"type": "string", "enum": ["a", "b"], "default": "a"}},
    }
    settings = {
        "limits": {"memory_mb": 100, "disk_mb": 10},
        "processors": {
            "a": {"software": [{"name": "light", "version": "1"}]},
            "b": {"software": [{"name": "heavy", "version": "2"}], "limits": {"memory_mb": 900}},
        },
    }
    workflow = workflow_of(schema, steering=settings)
    light, heavy = (resolve({"processor": p}, workflow, "alice", "r") for p in "ab")
    assert light["software"] == [{"name": "light", "version": "1"}]
    assert heavy["software"] == [{"name": "heavy", "version": "2"}]
    assert heavy["limits"] == {"memory_mb": 900, "disk_mb": 10}
    assert light["limits"] == settings["limits"]
    assert light["fingerprint"] != heavy["fingerprint"]


@pytest.mark.parametrize("text", ["a\x00b", "\x1b[31m", "\ud800", {"deep": ["\x7f"]}])
def test_text_that_nothing_can_store_is_refused(text: object) -> None:
    (problem,) = validate({"job_name": text}, IRF)
    assert str(problem).startswith("job_name") or "job_name" in problem.field
    assert "control characters" in str(problem)


def test_backslashes_tabs_and_other_scripts_are_text() -> None:
    assert validate({"job_name": "é\\u0000\\b\t漢"}, IRF) == []


@pytest.mark.parametrize("text", ["first\nsecond", "first\n", "\n", "first\r\nsecond", "first\u2028second"])
def test_a_line_break_is_refused_where_one_line_is_wanted(text: str) -> None:
    (problem,) = validate({"job_name": text}, IRF)
    assert (problem.field, problem.message) == ("job_name", "it has to be on one line")


def test_a_line_break_in_a_list_is_refused_although_its_pattern_lets_it_through() -> None:
    cube = load_workflow(CONFIG, "ska_hi_cube")
    (problem,) = validate({"workflow_outputs": ["map.fits", "map.png\n"]}, cube)
    assert (problem.field, problem.message) == ("workflow_outputs.1", "it has to be on one line")


def test_scripts_and_json_text_may_have_lines() -> None:
    conf = {"script": "a = 1\nb = 2\n", "parameters": "{\n}", "basket": ['{\n"archive": "rucio"}']}
    assert validate(conf, load_workflow(CONFIG, "fair_analysis")) == []


def test_lines_are_told_together_with_what_else_is_wrong() -> None:
    problems = validate({"job_name": "a\nb", "site": "Moon"}, IRF)
    assert [p.field for p in problems] == ["job_name", "site"]
