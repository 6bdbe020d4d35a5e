from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from esap_batch.obscore import PREFIX, obscore
from esap_batch.workflows import load_workflow, workflow_names

CONFIG = Path(__file__).parents[3] / "config"
# Of ObsCore 1.1, sections 3.3.1 and 4.2.
TYPES = {"image", "cube", "spectrum", "sed", "timeseries", "visibility", "event", "measurements"}
MANDATORY = {"dataproduct_type", "calib_level", "obs_collection", "facility_name", "instrument_name"}
CONSTANTS: dict[str, Any] = {"dataproduct_type": "event", "calib_level": 2}
DATASET = "/ctao/dl3/esap-fits/0.2.0/obs_000201-0123456789ab"
EVENTS: dict[str, Any] = {
    "obs_id": 201,
    "target": "Crab (toy)",
    "ra_pnt_deg": 83.633,
    "dec_pnt_deg": 22.7145,
    "start_time": "2026-11-06T22:00:00",
    "stop_time": "2026-11-07T00:00:00+01:00",
    "livetime_s": 1180.5,
    "product_id": "obs_000201-0123456789ab",
}


def columns(**metadata: Any) -> dict[str, Any]:
    return {name.removeprefix(PREFIX): value for name, value in obscore(metadata, CONSTANTS, DATASET).items()}


def test_an_event_list_tells_where_when_and_what() -> None:
    assert columns(**EVENTS) == {
        "dataproduct_type": "event",
        "calib_level": 2,
        "obs_publisher_did": f"ivo://projectescape.eu/esap-batch?{DATASET}",
        "obs_id": "201",
        "target_name": "Crab (toy)",
        "s_ra": 83.633,
        "s_dec": 22.7145,
        "t_min": pytest.approx(61350 + 22 / 24),
        "t_max": pytest.approx(61350 + 23 / 24),
        "t_exptime": 1180.5,
    }


def test_an_analysis_is_where_its_target_is_and_has_its_energies_as_wavelengths() -> None:
    asked = {"request_target_ra_deg": 83.0, "request_target_dec_deg": 22.0, "request_map_width_deg": 5.0}
    energies = {"request_energy_min_tev": 0.1, "request_energy_max_tev": 10.0}
    found = columns(**asked, **energies, ra_pnt_deg=1.0, dec_pnt_deg=2.0, product_id="p-g1")
    assert (found["s_ra"], found["s_dec"], found["s_fov"], found["obs_id"]) == (83.0, 22.0, 5.0, "p-g1")
    assert (found["em_min"], found["em_max"]) == pytest.approx((1.23984e-19, 1.23984e-17), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "value", "column"),
    [
        ("start_time", "last night", "t_min"),
        ("ra_pnt_deg", "5h 34m", "s_ra"),
        ("ra_pnt_deg", float("nan"), "s_ra"),
        ("request_energy_max_tev", 0, "em_min"),
        ("target", "", "target_name"),
    ],
)
def test_what_cannot_be_told_is_left_out(name: str, value: Any, column: str) -> None:
    assert column not in columns(**{**EVENTS, name: value})


def test_what_is_no_observational_data_has_no_columns() -> None:
    assert obscore(EVENTS, {}, DATASET) == {}


@pytest.mark.parametrize("name", workflow_names(CONFIG))
def test_every_workflow_of_observational_data_gives_what_is_mandatory(name: str) -> None:
    constants = load_workflow(CONFIG, name).product.get("obscore")
    if constants is None:
        return
    assert constants.keys() == MANDATORY
    assert constants["dataproduct_type"] in TYPES
    assert constants["calib_level"] in range(5)


def test_the_workflows_of_observational_data_are_known() -> None:
    found = {name for name in workflow_names(CONFIG) if "obscore" in load_workflow(CONFIG, name).product}
    assert found == {"cta_pi_analysis", "cta_reprocessing", "km3net_reduction", "ska_hi_cube"}
