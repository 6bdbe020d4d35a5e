from __future__ import annotations

from typing import Any

import pytest

from esap_batch.irf_matching import Fit, Irf, NoIrfFits, best_irf
from esap_batch.jobs import InputFile

OBSERVATION: dict[str, Any] = {
    "start_time": "2026-11-30T22:00:00",
    "site": "LaPalma",
    "array_layout": "alpha",
    "model_version": "prod6-v1.1",
    "zenith_deg": 25.0,
    "azimuth_deg": 180.0,
}
REQUEST: dict[str, Any] = {
    "period_start": "2026-11-01",
    "period_end": "2026-11-30",
    "site": "LaPalma",
    "array_layout": "alpha",
    "model_version": "prod6-v1.1",
    "particle": "gamma",
    "zenith_deg": 20.0,
    "azimuth_deg": 180.0,
    "energy_min_tev": 0.02,
    "energy_max_tev": 200.0,
}


FIT = Fit(zenith_deg=10, azimuth_deg=90, energies_tev=(0.05, 25))


def irf(name: str = "a", created: str = "2026-11-01", **request: Any) -> Irf:
    metadata = {f"request_{k}": v for k, v in {**REQUEST, **request}.items()}
    file = InputFile("irf.fits.gz", f"/ctao/irf/{name}/irf.fits.gz", 1, "00000001")
    return Irf(f"/ctao/irf/{name}", {**metadata, "product_creation_time": created}, file)


def best(*irfs: Irf, **observation: Any) -> str:
    return best_irf({**OBSERVATION, **observation}, irfs, FIT).dataset.rsplit("/", 1)[-1]


def test_the_last_day_of_a_period_belongs_to_it() -> None:
    assert best(irf()) == "a"


def test_the_nearest_direction_wins_and_of_equal_ones_the_newest() -> None:
    assert best(irf("far", zenith_deg=33.0, created="2027-01-01"), irf("near")) == "near"
    assert best(irf("old"), irf("new", created="2026-11-02")) == "new"
    assert best(irf("new", created="2026-11-02"), irf("old")) == "new"


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ({"period_end": "2026-11-29"}, "its period is 2026-11-01 to 2026-11-29, not 2026-11-30"),
        ({"period_start": "2026-12-01", "period_end": "2026-12-31"}, "its period is 2026-12-01"),
        ({"site": "Paranal"}, "site is Paranal, not LaPalma"),
        ({"array_layout": "beta"}, "array_layout is beta, not alpha"),
        ({"model_version": "prod5-v2.0"}, "model_version is prod5-v2.0, not prod6-v1.1"),
        ({"zenith_deg": 40.0}, "its zenith angle is 15 deg off, allowed 10"),
        ({"particle": "electron"}, "it is for electrons"),
        ({"azimuth_deg": 0.0}, "its azimuth is 180 deg off, allowed 90"),
        ({"azimuth_deg": 271.0}, "its azimuth is 91 deg off, allowed 90"),
        ({"energy_min_tev": 0.1}, "it is for 0.1 to 200 TeV, needed is 0.05 to 25"),
        ({"energy_max_tev": 20}, "it is for 0.02 to 20 TeV"),
    ],
)
def test_what_does_not_fit_is_told(request_: dict[str, Any], told: str) -> None:
    with pytest.raises(NoIrfFits, match="nearest is /ctao/irf/a: ") as refusal:
        best(irf(**request_))
    assert told in str(refusal.value)


def test_the_nearest_miss_is_the_one_with_the_fewest_faults() -> None:
    with pytest.raises(NoIrfFits, match="nearest is /ctao/irf/close"):
        best(irf("far off", site="Paranal", array_layout="beta"), irf("close", zenith_deg=70.0))


@pytest.mark.parametrize(
    ("azimuth", "chosen"), [(0.0, "north"), (350.0, "north"), (89.0, "north"), (91.0, "south")]
)
def test_the_azimuth_decides_before_age(azimuth: float, chosen: str) -> None:
    north = irf("north", azimuth_deg=0.0)
    south = irf("south", azimuth_deg=180.0, created="2027-01-01")
    assert best(south, north, azimuth_deg=azimuth) == chosen


def test_near_the_zenith_the_azimuth_says_nothing() -> None:
    assert best(irf(zenith_deg=2.0), zenith_deg=1.0, azimuth_deg=0.0) == "a"


def test_zenith_and_azimuth_count_as_one_angle() -> None:
    steeper, turned = irf("steeper", zenith_deg=28.0), irf("turned", zenith_deg=25.0, azimuth_deg=190.0)
    assert best(steeper, turned) == "steeper"  # 3 deg, and 4.2
    assert best(steeper, turned, azimuth_deg=186.0) == "turned"


def test_of_equal_directions_the_most_precise_wins() -> None:
    precise = irf("precise", statistical_uncertainty=0.01)
    coarse = irf("coarse", created="2027-01-01", statistical_uncertainty=0.5)
    assert best(coarse, precise) == "precise"
    assert best(irf("unknown", created="2027-01-01"), coarse) == "coarse"


def test_an_energy_range_that_only_just_covers_fits() -> None:
    assert best(irf(energy_min_tev=0.05, energy_max_tev=25.0)) == "a"


def test_without_any_it_says_so() -> None:
    with pytest.raises(NoIrfFits, match="no IRF is published"):
        best()


def test_without_an_azimuth_the_zenith_angle_decides() -> None:
    known = {k: v for k, v in OBSERVATION.items() if k != "azimuth_deg"}
    north, steep = irf("north", zenith_deg=24.0, azimuth_deg=0.0), irf("steep", zenith_deg=30.0)
    assert best_irf(known, [steep, north], FIT) is north
    assert (north.angle(known), north.azimuth_distance(known)) == (1.0, None)
    with pytest.raises(NoIrfFits, match="its zenith angle is 15 deg off, allowed 10"):
        best_irf(known, [irf(zenith_deg=40.0, azimuth_deg=0.0)], FIT)


def test_an_observation_that_lacks_metadata_gets_none() -> None:
    known = {k: v for k, v in OBSERVATION.items() if k not in ("zenith_deg", "start_time")}
    with pytest.raises(NoIrfFits, match="no metadata start_time, zenith_deg"):
        best_irf(known, [irf()], FIT)
