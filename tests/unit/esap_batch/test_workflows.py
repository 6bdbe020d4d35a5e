from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from esap_batch.errors import ConfigurationError
from esap_batch.facilities import AUTO, load_facilities
from esap_batch.identity import EVERY_WORKFLOW, load_identities
from esap_batch.request import validate
from esap_batch.workflows import load_workflow

CONFIG = Path(__file__).parents[3] / "config"
NAMES = sorted(p.name for p in (CONFIG / "workflows").iterdir() if p.is_dir())


@pytest.fixture
def config(tmp_path: Path) -> Path:
    shutil.copytree(CONFIG, tmp_path / "config")
    return tmp_path / "config"


def test_both_use_cases_are_there() -> None:
    assert {"cta_irf", "hello_world"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_field_is_fit_for_the_trigger_form(name: str) -> None:
    workflow = load_workflow(CONFIG, name)
    for field, prop in workflow.properties.items():
        assert {"title", "description", "section", "type"} <= set(prop), field
    assert workflow.schema["additionalProperties"] is False
    assert workflow.title


@pytest.mark.parametrize("name", NAMES)
def test_the_facilities_of_the_form_are_those_that_its_users_may_use(name: str) -> None:
    groups = load_identities(CONFIG / "identity.yaml").groups.values()
    members = [g for g in groups if EVERY_WORKFLOW not in g.workflows]  # administrators may use any
    experiments = frozenset[str]().union(*(g.experiments for g in members if g.allows(name)))
    open_to_users = [f for f in load_facilities(CONFIG / "facilities.yaml") if f.experiments & experiments]
    offered = load_workflow(CONFIG, name).properties["facility"]["enum"]
    # What is switched off need not be offered, and what is offered keeps the order of the file.
    shown = [f.name for f in open_to_users if f.enabled or f.name in offered]
    assert offered == [AUTO, *shown]


@pytest.mark.parametrize("name", ["cta_irf", "hello_world"])
def test_what_has_no_effect_on_the_result(name: str) -> None:
    assert load_workflow(CONFIG, name).without_effect == ("facility", "force", "job_name")


@pytest.mark.parametrize("name", NAMES)
def test_place_and_label_never_have_an_effect_on_the_result(name: str) -> None:
    assert {"facility", "job_name"} <= set(load_workflow(CONFIG, name).without_effect)


def test_a_form_may_be_another_one_with_other_defaults() -> None:
    own, base = (load_workflow(CONFIG, n).properties for n in ("km3net_concordia", "cta_concordia"))
    assert list(own) == list(base)
    assert own["OBSLEV"]["default"] == [0]
    assert own["OBSLEV"]["items"] == base["OBSLEV"]["items"]
    assert base["OBSLEV"]["default"] == [214700]


def test_a_change_of_the_form_that_another_is_based_on_is_seen(config: Path) -> None:
    load_workflow(config, "km3net_concordia")
    schema = config / "workflows/cta_concordia/request.schema.json"
    schema.write_text(schema.read_text().replace("NSHOW: number of showers", "NSHOW: how many"))
    assert load_workflow(config, "km3net_concordia").properties["NSHOW"]["title"] == "NSHOW: how many"


def test_a_form_may_not_have_fields_that_its_base_has_not(config: Path) -> None:
    schema = config / "workflows/km3net_concordia/request.schema.json"
    schema.write_text(schema.read_text().replace('"OBSLEV"', '"OBSLEVEL"'))
    with pytest.raises(ConfigurationError, match="OBSLEVEL: cta_concordia has no such field"):
        load_workflow(config, "km3net_concordia")


def test_a_default_may_be_the_text_of_a_file(config: Path) -> None:
    script = config / "workflows/fair_analysis/k0s.py"
    properties = load_workflow(config, "fair_analysis").properties
    assert properties["script"]["default"] == script.read_text()
    assert "x-esap-default-from" not in properties["script"]
    script.write_text("print()")
    assert load_workflow(config, "fair_analysis").properties["script"]["default"] == "print()"
    script.unlink()
    with pytest.raises(ConfigurationError, match=r"k0s\.py: cannot be read, and a field's default is in it"):
        load_workflow(config, "fair_analysis")


def test_a_changed_file_is_read_again(config: Path) -> None:
    before = load_workflow(config, "hello_world")
    assert load_workflow(config, "hello_world") is before
    schema = config / "workflows/hello_world/request.schema.json"
    schema.write_text(schema.read_text().replace('"title": "Hello world"', '"title": "Bonjour"'))
    os.utime(schema, (1, 1))
    assert load_workflow(config, "hello_world").title == "Bonjour"


@pytest.mark.parametrize("name", ["nothing", "../hello_world", "", "Hello World", "hello_world/.."])
def test_an_unknown_workflow_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"there are .*cta_irf, .*hello_world"):
        load_workflow(CONFIG, name)


@pytest.mark.parametrize("missing", ["request.schema.json", "steering.json", "product.yaml"])
def test_a_missing_file_is_named(config: Path, missing: str) -> None:
    (config / "workflows/hello_world" / missing).unlink()
    with pytest.raises(ConfigurationError, match=f"{missing}: cannot be read"):
        load_workflow(config, "hello_world")


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("request.schema.json", '{"type": 7}', "is no JSON Schema"),
        ("request.schema.json", '{"type": "object"}', "properties is missing"),
        ("steering.json", "{}", "software is missing"),
        ("product.yaml", "copies: []\nmetadata: {}\nchecks: {}\n", "lfn is missing"),
    ],
)
def test_a_broken_file_is_named(config: Path, file: str, text: str, reason: str) -> None:
    (config / "workflows/hello_world" / file).write_text(text)
    with pytest.raises(ConfigurationError, match=f"{file}: {reason}"):
        load_workflow(config, "hello_world")


def test_a_use_case_may_do_without_a_calibration_table() -> None:
    assert load_workflow(CONFIG, "hello_world").models == {}
    assert load_workflow(CONFIG, "cta_irf").models["versions"]


@pytest.mark.parametrize(
    "example", sorted(CONFIG.glob("workflows/*/example.json")), ids=lambda p: p.parent.name
)
def test_the_example_requests_are_good(example: Path) -> None:
    workflow = load_workflow(CONFIG, example.parent.name)
    assert validate(json.loads(example.read_text()), workflow) == []


def test_the_form_tells_the_dates_that_the_calibration_table_has() -> None:
    irf = load_workflow(CONFIG, "cta_irf")
    told = irf.properties["model_version"]["description"]
    for version, model in irf.models["versions"].items():
        assert f"`{version}` from {model['valid_from']} to {model['valid_to']}" in told
