from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from esap_batch.basket import Entry, Unmatched
from esap_batch.identity import Identity
from esap_batch.irf_matching import Irf
from esap_batch.jobs import InputFile, group_name
from esap_batch.observations import Observation
from esap_batch.partition import Unit
from esap_batch.projects import Projects
from esap_batch.request import resolve
from esap_batch.selection import Chosen, DataSelection, SelectionRefused
from esap_batch.workflows import load_workflow
from hooks.lake_inputs import InputLake
from hooks.settings import config_dir
from operators.select_data import SelectData
from tests.unit.conftest import DAG_ID, RUN_ID, World

EVENTS = InputFile("dl3_1.fits.gz", "/ctao/dl3/a/dl3_1.fits.gz", 10, "00000001")
RESPONSE = InputFile("irf.fits.gz", "/ctao/irf/i/irf.fits.gz", 5, "00000002")
METADATA = {"project": "PI-1", "target": "T", "zenith_deg": 20.0, "azimuth_deg": 180.0}
OBSERVATION = Observation(1, "/ctao/dl3/a", METADATA, (EVENTS,))
IRF_METADATA = {"request_zenith_deg": 21.0, "request_azimuth_deg": 180.0}
SELECTION = DataSelection(
    (Chosen("basket.0", OBSERVATION, Irf("/ctao/irf/i", IRF_METADATA, RESPONSE)),),
    (Unit("observation 1", (OBSERVATION,)),),
    (Unmatched(Entry("basket.1", "zenodo", "7"), "no rule for archive zenodo"),),
)


def steering() -> dict[str, Any]:
    workflow = load_workflow(config_dir(), "cta_pi_analysis")
    return resolve({"project": "PI-1"}, workflow, "alice", "cta_pi_analysis/run")


@pytest.fixture
def lake(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(InputLake, "places", lambda _lake, lfns: {lfn: ["CSCS-DISK"] for lfn in lfns})
    return world


def run(world: World, selection: DataSelection = SELECTION, user: str = "alice") -> dict[str, Any]:
    def choose(given: Any, identity: Identity, projects: Projects, _catalogue: Any) -> DataSelection:
        assert given["request"]["project"] == "PI-1"
        assert identity.user == user
        assert projects.by_id
        return selection

    task = SelectData(task_id="select_data", steering=steering(), choose=choose)
    return task.execute(world.context(user=user))


def test_a_response_without_an_azimuth_is_told(lake: World, capsys: pytest.CaptureFixture[str]) -> None:
    early = replace(OBSERVATION, metadata={k: v for k, v in METADATA.items() if k != "azimuth_deg"})
    chosen = replace(SELECTION.chosen[0], observation=early)
    run(lake, replace(SELECTION, chosen=(chosen,), units=(Unit("observation 1", (early,)),)))
    assert "/ctao/dl3/a has no metadata azimuth_deg" in capsys.readouterr().out
    (observation,) = lake.site().recall(lake.ti.pushed["document"])["observations"]
    assert (observation["irf_zenith_distance_deg"], observation["irf_azimuth_distance_deg"]) == (1.0, None)


def test_the_steering_file_gets_the_data_and_with_them_another_name(lake: World) -> None:
    before, after = steering(), run(lake)
    assert after["selection"] == {"sha256": SELECTION.digest}
    assert after["needs"] == {"jobs": 1, "input_rses": {"CSCS-DISK": 15}}
    assert after["about"]["project"] == "PI-1"
    assert after["fingerprint"] != before["fingerprint"]
    assert after["product_lfn"].endswith(after["fingerprint"][:12])
    assert json.loads(json.dumps(after)) == after


def test_the_selection_is_a_document_on_storage_and_xcom_says_where(lake: World) -> None:
    run(lake)
    reference = lake.ti.pushed["document"]
    area = group_name(DAG_ID, RUN_ID, "select_data")
    assert reference["lfn"] == f"/ctao/esap/work/{area}/selection.json"
    assert lake.site().recall(reference) == json.loads(json.dumps(SELECTION.document()))
    assert json.loads(lake.path(f"/ctao/esap/work/{area}/run.json", "CSCS-DISK").read_text())


def test_a_second_try_gives_the_same(lake: World) -> None:
    first, reference = run(lake), lake.ti.pushed["document"]
    assert run(lake) == first
    assert lake.ti.pushed["document"] == reference


def test_a_refusal_is_final_and_told_in_its_own_words(lake: World) -> None:
    def choose(*_given: Any) -> DataSelection:
        raise SelectionRefused("project = 'PI-1': not permitted")

    task = SelectData(task_id="select_data", steering=steering(), choose=choose)
    with pytest.raises(AirflowFailException, match="project = 'PI-1': not permitted"):
        task.execute(lake.context())
    assert lake.ti.pushed == {}
